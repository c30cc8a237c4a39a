//! Which processes hold which sockets: read from /proc when tracing starts, and again while it runs.
//!
//! The kernel tells exactly who closes a socket and who called connect(2). Who has accepted a connection, and who
//! holds it since, only /proc shows.

use super::ending::Owner;
use super::record::{Ended, Task};
use keepalive_sys::{clock, proc};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// The holders of sockets.
#[derive(Debug)]
pub(super) struct Holders {
    /// By inode, which no two sockets have at the same time.
    current: HashMap<u64, Vec<Holder>>,
    /// The previous reading, for sockets that were closed meanwhile.
    previous: HashMap<u64, Vec<Holder>>,
    /// Whether the numbers of processes in the kernel's records are those of /proc.
    has_same_pids: bool,
    /// When the last reading began.
    read_at: Instant,
    /// The processor time of the last reading: on a busy machine a reading lasts longer, but costs no more.
    cost: Duration,
}

/// A process that held a socket when /proc was read.
#[derive(Debug)]
struct Holder {
    owner: Owner,
    /// The thread whose table of descriptors has the socket.
    tid: u32,
    fd: i32,
}

/// The shortest time between two readings.
const PERIOD: Duration = Duration::from_secs(2);
/// Reading takes at most one part of this many of the time.
const SHARE: u32 = 100;
/// The same for readings that an unknown socket causes.
const PAUSE: Duration = Duration::from_millis(100);
const SHARE_IF_UNKNOWN: u32 = 20;
/// The longest time for which an end waits for a reading, on a machine with so many processes that readings cost much.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Holders {
    pub(super) fn read() -> Self {
        let mut holders = Self {
            current: HashMap::new(),
            previous: HashMap::new(),
            has_same_pids: proc::is_in_first_pid_namespace() && proc::shows_own_namespace(),
            read_at: Instant::now(),
            cost: Duration::ZERO,
        };
        holders.refresh();
        holders
    }

    /// Reads the holders again if it is time to.
    pub(super) fn refresh_if_due(&mut self) -> bool {
        let is_due = self.read_at.elapsed() >= PERIOD.max(SHARE * self.cost);
        if is_due {
            self.refresh();
        }
        is_due
    }

    fn refresh(&mut self) {
        let (begin, cpu_time) = (Instant::now(), thread_cpu_time());
        let mut found: HashMap<u64, Vec<Holder>> = HashMap::new();
        let mut pids = proc::processes().unwrap_or_default();
        pids.sort_unstable();
        for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
            let mut owner = None;
            for tid in proc::tables(pid).unwrap_or_default() {
                for (fd, inode) in proc::sockets(pid, tid).unwrap_or_default() {
                    let owner = owner.get_or_insert_with(|| Owner {
                        pid,
                        program: program(pid).unwrap_or_default(),
                    });
                    let holders = found.entry(inode).or_default();
                    if holders.last().is_none_or(|last| last.owner.pid != pid) {
                        let owner = owner.clone();
                        holders.push(Holder { owner, tid, fd });
                    }
                }
            }
        }
        self.previous = std::mem::replace(&mut self.current, found);
        self.cost = thread_cpu_time().saturating_sub(cpu_time);
        self.read_at = begin;
    }

    /// Returns the process that held the socket of a connection, whose end was reported at `reported`; `None` rather than a
    /// wrong one.
    ///
    /// # Errors
    /// The time to wait, if only reading the holders again can show it and that costs too much now.
    pub(super) fn owner(&mut self, ended: &Ended, reported: Instant) -> Result<Option<Owner>, Duration> {
        let opener = ended.opener.as_ref().filter(|_| self.has_same_pids);
        let closer = ended.closer.as_ref().filter(|_| self.has_same_pids);
        // Subflows of MPTCP may have no inode any more.
        let inode = ended.inode.unwrap_or(0);
        if let Some(closer) = closer {
            // The kernel may end a connection for want of memory, while any process runs; then its holder still has it.
            let holder = self.seen(inode, Some(closer));
            let other = holder.filter(|holder| holder.owner.pid != closer.pid && holder.holds(inode));
            return Ok(Some(match other {
                Some(holder) => holder.owner.clone(),
                None => self.named(closer, inode),
            }));
        }
        let seen = self.seen(inode, opener);
        let is_sure = |holder: &Holder| {
            opener.is_some_and(|opener| opener.pid == holder.owner.pid)
                || holder.holds(inode)
                || self.read_at > reported
        };
        if let Some(holder) = seen.filter(|holder| is_sure(holder)) {
            return Ok(Some(holder.owner.clone()));
        }
        if inode == 0 || self.read_at > reported || seen.is_none() && opener.is_some() {
            return Ok(opener.map(|opener| self.named(opener, inode)));
        }
        let pause = PAUSE.max(SHARE_IF_UNKNOWN * self.cost);
        match pause.saturating_sub(self.read_at.elapsed()) {
            Duration::ZERO => Ok(self.owner_now(ended)),
            wait if wait <= LONGEST_WAIT => Err(wait),
            // What was read last may be wrong by now: a process that forks hands its sockets on.
            _ => Ok(None),
        }
    }

    /// Reads the holders again, and returns the process that holds or last held the socket of a connection that the kernel
    /// has not named.
    pub(super) fn owner_now(&mut self, ended: &Ended) -> Option<Owner> {
        self.refresh();
        let holder = self.seen(ended.inode?, None)?;
        Some(holder.owner.clone())
    }

    /// Returns the process that held a socket when the holders were read: if several did, the one that called connect(2),
    /// or else the first.
    fn seen(&self, inode: u64, opener: Option<&Task>) -> Option<&Holder> {
        let holders = self.current.get(&inode).or_else(|| self.previous.get(&inode))?;
        let is_opener = |holder: &&Holder| opener.is_some_and(|opener| opener.pid == holder.owner.pid);
        let holder = holders.iter().find(is_opener).or(holders.first())?;
        Some(holder).filter(|holder| !holder.owner.program.is_empty())
    }

    /// Returns a process that the kernel has named.
    fn named(&self, task: &Task, inode: u64) -> Owner {
        let holders = [&self.current, &self.previous]
            .into_iter()
            .filter_map(|read| read.get(&inode));
        let mut seen = holders
            .flatten()
            .map(|holder| &holder.owner)
            .filter(|owner| owner.pid == task.pid && !owner.program.is_empty());
        if let Some(owner) = seen.next() {
            return owner.clone();
        }
        Owner {
            pid: task.pid,
            program: whole_name(task.pid, &task.name),
        }
    }
}

/// Returns the processor time of this thread.
fn thread_cpu_time() -> Duration {
    Duration::from_nanos(clock::thread_cpu_time().unwrap_or(0))
}

impl Holder {
    /// Returns whether the process still holds the socket by the same descriptor.
    fn holds(&self, inode: u64) -> bool {
        proc::socket_at(self.owner.pid, self.tid, self.fd) == Some(inode)
    }
}

/// Returns the name of a process's program. The memory of the process is not read, since it may belong to a file or
/// process that never answers.
fn program(pid: u32) -> Option<OsString> {
    let name = proc::status(pid).ok()?.comm;
    (!name.is_empty()).then(|| whole_name(pid, OsStr::new(&name)))
}

/// Returns the name of a program from the name of its process, of which the kernel has kept 15 bytes.
fn whole_name(pid: u32, name: &OsStr) -> OsString {
    const KEPT: usize = 15;
    let whole = (name.len() == KEPT).then(|| proc::executable(pid)).flatten();
    whole
        .filter(|whole| whole.as_bytes().starts_with(name.as_bytes()))
        .unwrap_or_else(|| name.to_owned())
}
