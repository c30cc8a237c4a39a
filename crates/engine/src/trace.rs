//! Follows every TCP connection of the machine, in all network namespaces, and reports each end with its cause.

mod cause;
mod cgroups;
pub mod ending;
mod holders;
mod record;
pub mod summary;

pub use record::{Ended, Record, Task};

use crate::cgroup::Limits;
use crate::container::id_of;
use crate::error::{Error, describe};
use cgroups::Cgroups;
use ending::{Ending, Owner};
use holders::Holders;
use keepalive_bpf::assembler::Map;
use keepalive_bpf::fields::{ReadTask, jiffies_per_second};
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::tracing::record::Positions;
use keepalive_bpf::tracing::{CHANGES, CONNECTION_SIZE, RETRANSMISSIONS, Tracer};
use keepalive_sys::bpf::Ring;
use keepalive_sys::bpf::call::{
    CallError, Hook, MapKind, Refusal, create_map, link_to_tracepoint, load_program, program_info, value,
};
use keepalive_sys::{capability, clock, proc};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// A running trace. Nothing of it outlives this value, or the process.
#[derive(Debug)]
pub struct Trace {
    ring: Ring,
    lost: OwnedFd,
    programs: Vec<OwnedFd>,
    _links: Vec<OwnedFd>,
    hz: u32,
    min_idle: Duration,
    holders: Holders,
    /// Ends that were read, with the time of that.
    waiting: VecDeque<(Instant, Ended)>,
    wait: Option<Duration>,
    cgroups: Cgroups,
}

/// The number of connections whose beginning is remembered at a time.
const CONNECTIONS: u32 = 1 << 17;
/// The size of the ring in bytes, for ends of idle connections and for all ends.
const RING: u32 = 1 << 20;
const RING_FOR_ALL: u32 = 1 << 24;

/// The time between two looks at a ring whose programs wake nobody ([`Tracer::min_idle`]).
const PAUSE: Duration = Duration::from_millis(100);

/// What an ordinary user can do.
const WITHOUT_ROOT: &str = "without root: keepalive list --watch shows keepalive and unanswered probes, KEEPALIVE_LOG what \
                            the library sets, keepalive probe HOST:PORT when the path forgets";

impl Trace {
    /// Starts to trace. Ends of connections that were idle for less than `min_idle` are not recorded.
    ///
    /// # Errors
    /// What this process or the kernel lacks.
    pub fn start(min_idle: Duration) -> Result<Self, Error> {
        check_rights()?;
        let types = KernelTypes::read().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unsupported("it does not publish its types (BTF, CONFIG_DEBUG_INFO_BTF)"),
            _ => failed("/sys/kernel/btf/vmlinux", &error),
        })?;
        let hz = jiffies_per_second().map_err(|error| failed("clock_getres", &error))?;
        let hz = u32::try_from(hz).unwrap_or(1).max(1);
        let positions =
            Positions::find(&types).map_err(|field| unsupported(&format!("its types do not contain {field}")))?;
        let _limits = Limits::raise();
        let ring_size = if min_idle.is_zero() { RING_FOR_ALL } else { RING };
        let ring = create_map(MapKind::Ring, "ka_ended", 0, ring_size).map_err(|error| of_map(&error))?;
        let lost = create_map(MapKind::Single, "ka_lost", 8, 1).map_err(|error| of_map(&error))?;
        let connections = create_map(MapKind::Recent, "ka_connections", CONNECTION_SIZE, CONNECTIONS);
        let connections = connections.map_err(|error| of_map(&error))?;
        let tracer = Tracer {
            positions,
            read: ReadTask::Typed,
            connections: Map(connections.as_raw_fd()),
            ring: Map(ring.as_raw_fd()),
            lost: Map(lost.as_raw_fd()),
            min_idle: if min_idle.is_zero() {
                0
            } else {
                in_jiffies(min_idle, hz)
            },
        };
        let copying = Tracer {
            read: ReadTask::Copied,
            ..tracer
        };
        let programs = load(&types, &tracer).or_else(|_| load(&types, &copying))?;
        let links = programs
            .iter()
            .map(|program| link_to_tracepoint(program).map_err(|error| failed("bpf: BPF_RAW_TRACEPOINT_OPEN", &error)));
        let links = links.collect::<Result<_, _>>()?;
        Ok(Self {
            ring: Ring::new(ring, ring_size).map_err(|error| failed("mmap", &error))?,
            lost,
            programs,
            _links: links,
            hz,
            min_idle,
            holders: Holders::read(),
            waiting: VecDeque::new(),
            wait: None,
            cgroups: Cgroups::read(),
        })
    }

    /// Returns ends that have not been returned yet, in the kernel's order. An end whose owner must be looked for waits,
    /// with those that follow it, for a fraction of a second, or for a call with `is_last`.
    pub fn endings(&mut self, is_last: bool) -> Vec<Ending> {
        let (waiting, hz, reported) = (&mut self.waiting, self.hz, Instant::now());
        // The counter and the times of packets may differ by a jiffy or two.
        let min_idle = self.min_idle.saturating_sub(Duration::from_secs(2) / hz);
        self.ring.read(|bytes| {
            let ended = Record::decode(bytes).and_then(|record| record.ended(hz));
            let ended = ended.filter(|ended| ended.idle >= min_idle);
            waiting.extend(ended.map(|ended| (reported, ended)));
        });
        let (now, monotonic) = (SystemTime::now(), clock::monotonic().unwrap_or(0));
        let time = |nanoseconds| {
            let age = Duration::from_nanos(monotonic.saturating_sub(nanoseconds));
            now.checked_sub(age).unwrap_or(now)
        };
        let mut endings = Vec::new();
        self.wait = None;
        while let Some((reported, ended)) = self.waiting.pop_front() {
            let owner = match self.holders.owner(&ended, reported) {
                Ok(owner) => owner,
                Err(_) if is_last => self.holders.owner_now(&ended),
                Err(wait) => {
                    self.wait = Some(wait);
                    self.waiting.push_front((reported, ended));
                    break;
                }
            };
            endings.push(self.ending(&ended, owner, time(ended.time)));
        }
        endings
    }

    /// Returns the time after which [`Self::endings`] must be called even if this is not readable, if there is one.
    pub fn wait(&self) -> Option<Duration> {
        self.wait.or(self.min_idle.is_zero().then_some(PAUSE))
    }

    /// Reads again which processes hold which sockets, if it is time to. Call this about once a second.
    pub fn refresh(&mut self) {
        if self.holders.refresh_if_due() {
            self.cgroups.refresh();
        }
    }

    /// Returns the number of ends that were not recorded: because [`Self::endings`] was not called in time, or because
    /// the kernel did not run the program.
    ///
    /// # Errors
    /// Any error of the kernel.
    pub fn lost(&self) -> io::Result<u64> {
        let unread = value(&self.lost, 8)?;
        let unread = unread.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let missed = self.programs.last().map(program_info).transpose()?;
        Ok(unread.saturating_add(missed.map_or(0, |info| info.missed)))
    }

    fn ending(&mut self, ended: &Ended, owner: Option<Owner>, time: SystemTime) -> Ending {
        let cgroup = ended.cgroup.and_then(|id| self.cgroups.path(id));
        Ending {
            time,
            owner,
            container: cgroup.as_deref().and_then(id_of).map(str::to_owned),
            cgroup,
            local: ended.local,
            peer: ended.peer,
            direction: ended.direction,
            cause: ended.cause,
            idle: ended.idle,
            lived: ended.lived,
            settings: ended.settings,
            unanswered_probes: ended.unanswered_probes,
            retransmits: ended.retransmits,
            errno: ended.errno,
        }
    }
}

/// The descriptor is readable when a connection has ended ([`Trace::wait`]).
impl AsFd for Trace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Returns whether the kernel has what a trace requires, according to its types.
pub fn is_traceable(types: &KernelTypes) -> bool {
    let has_tracepoints = [CHANGES, RETRANSMISSIONS]
        .iter()
        .all(|name| types.tracepoint(name).is_some());
    has_tracepoints && types.offset("bpf_ringbuf", "consumer_pos").is_some() && Positions::find(types).is_ok()
}

/// Returns a time in jiffies, at least 1.
fn in_jiffies(time: Duration, hz: u32) -> u32 {
    let jiffies = time.as_millis().saturating_mul(hz.into()) / 1000;
    // The kernel's counter and the time of a packet may differ by one.
    u32::try_from(jiffies.saturating_sub(1)).unwrap_or(u32::MAX).max(1)
}

/// Loads the programs; that for changes comes last.
fn load(types: &KernelTypes, tracer: &Tracer) -> Result<Vec<OwnedFd>, Error> {
    let programs = [
        ("ka_retransmit", RETRANSMISSIONS, tracer.retransmissions()),
        ("ka_change", CHANGES, tracer.changes()),
    ];
    let loaded = programs.into_iter().map(|(name, tracepoint, instructions)| {
        let instructions = instructions.map_err(|error| failed("assembler", &error))?;
        let number = types
            .tracepoint(tracepoint)
            .ok_or_else(|| unsupported(&format!("it does not have the tracepoint {tracepoint}")))?;
        load_program(Hook::Tracepoint(number), name, &instructions).map_err(|refusal| refused(&refusal))
    });
    loaded.collect()
}

fn refused(refusal: &Refusal) -> Error {
    let error = failed("bpf: BPF_PROG_LOAD", &refusal.error);
    match refusal.end_of_log() {
        log if log.is_empty() => error,
        log => Error::new(format!("{error}\n{log}")),
    }
}

fn check_rights() -> Result<(), Error> {
    let has = |set| capability::is_effective(set) || capability::is_effective(CapabilitySet::SYS_ADMIN);
    let needed = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(set, _)| !has(*set))
        .map(|(_, name)| *name)
        .collect();
    let reason = if !missing.is_empty() {
        format!("it requires root; this process lacks {}", missing.join(" and "))
    } else if !proc::is_in_first_user_namespace() {
        String::from("it requires root; this process is in a user namespace, whose capabilities do not count for eBPF")
    } else {
        return Ok(());
    };
    Err(Error::new(format!("cannot trace: {reason}")).with_hint(WITHOUT_ROOT))
}

fn unsupported(why: &str) -> Error {
    let message = format!("cannot trace: this kernel does not support it: {why}");
    Error::new(message).with_hint(
        "it requires Linux 5.8 with CONFIG_DEBUG_INFO_BTF; without: keepalive list --watch shows keepalive and unanswered \
         probes, keepalive probe HOST:PORT when the path forgets",
    )
}

fn of_map(error: &CallError) -> Error {
    if Errno::from_io_error(&error.error) == Some(Errno::INVAL) {
        return unsupported(&format!("bpf: {}: {}", error.call, describe(&error.error)));
    }
    failed(&format!("bpf: {}", error.call), &error.error)
}

fn failed(call: &str, error: &io::Error) -> Error {
    let message = format!("cannot trace: {call}: {}", describe(error));
    if Errno::from_io_error(error) != Some(Errno::PERM) {
        return Error::new(message);
    }
    Error::new(message)
        .with_hint("a container, a security module, the kernel's lockdown or a limit of locked memory is in the way")
}
