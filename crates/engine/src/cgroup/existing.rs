//! Sets connections that existed before the policy (`--existing`): by the kernel's iterators, which need no
//! access to processes, or else by duplicates of descriptors, as in `keepalive attach`.
//!
//! Listening sockets are not set: what they accept would inherit the values, which a later policy or a rule for the peer
//! would then take for the program's own. The policy sets each connection that they accept.

use super::Obstacle;
use crate::attach::{Plan, apply, plan};
use crate::policy::{Part, Policy};
use crate::sockets::{Kernel, Namespace, Process, Selection, Socket};
use keepalive_bpf::assembler::Map;
use keepalive_bpf::existing::{self, FUNCTION, ORDER_SIZE, Seen};
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::sock_settings::{SOCK_SETTINGS_SIZE, UNSET, persistent};
use keepalive_policy::option::BY_EBPF;
use keepalive_policy::{Keepalive, Settings, SocketOption, Source};
use keepalive_sys::bpf::call::{
    Attached, Hook, MapKind, create_map, iterate, load_program, program_by_id, program_info, programs, set_value,
};
use keepalive_sys::sock_diag::{Row, State};
use keepalive_sys::{cgroup, netns, sockopt};
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The result of [`set`].
#[derive(Debug, Default)]
pub struct Done {
    /// The sockets of the cgroup that were found.
    pub sockets: usize,
    /// The sockets on which an option was set and has the new value.
    pub changed: usize,
    /// The sockets whose values differ from those that were set: another program changes them, or the kernel
    /// refuses them.
    pub resisting: usize,
    /// Open sockets that their network namespace does not list, so that their cgroup is unknown.
    pub unseen: usize,
    /// Why the kernel does not list the sockets of a network namespace (`sock_diag(7)`).
    pub unlisted: Option<io::Error>,
    /// The number of network namespaces or processes that could not be accessed, with the first reason.
    pub out_of_reach: Option<(usize, io::Error)>,
    /// Processes that this pid namespace does not show.
    pub hidden: usize,
    /// Why descriptors were used instead of iterators, if they were.
    pub by_descriptor: Option<String>,
}

/// Sets `policy` on the sockets that belong to the cgroup in `directory` or to one below it. `sock_settings`
/// is the map of the active programs, if they have one.
pub fn set(directory: &Path, policy: &Policy, sock_settings: Option<&OwnedFd>) -> Done {
    let parts = policy.parts();
    let sources = parts.each_ref().map(Part::source);
    let (processes, hidden) = cgroup::processes(directory);
    let work = Work {
        sources: &sources,
        cgroups: counting(directory),
        processes,
        sock_settings,
    };
    let done = match Iterators::load(sock_settings) {
        Ok(iterators) => work.by_iterator(&iterators),
        Err(obstacle) => work.by_descriptor(obstacle.clause()),
    };
    Done { hidden, ..done }
}

/// Returns the numbers of the cgroup and of those below it, except where a nearer policy applies.
fn counting(directory: &Path) -> HashSet<u64> {
    let mut counting = cgroup::ids_with_all_below(directory);
    for below in cgroup::with_all_below(directory) {
        if below != directory && has_policy(&below) {
            for nearer in cgroup::ids_with_all_below(&below) {
                counting.remove(&nearer);
            }
        }
    }
    counting
}

/// Returns whether a policy of keepalive is active for exactly this cgroup.
fn has_policy(directory: &Path) -> bool {
    let attached =
        cgroup::open_directory(directory).and_then(|cgroup| programs(&cgroup, Hook::SockOps, Attached::Here));
    let is_ours = |id: &u32| {
        program_by_id(*id)
            .and_then(program_info)
            .is_ok_and(|info| info.name == super::NAME)
    };
    attached.is_ok_and(|attached| attached.ids.iter().any(is_ours))
}

struct Work<'a> {
    sources: &'a [Source<'a>],
    cgroups: HashSet<u64>,
    processes: Vec<u32>,
    sock_settings: Option<&'a OwnedFd>,
}

impl Done {
    fn miss(&mut self, error: io::Error) {
        match &mut self.out_of_reach {
            Some((count, _)) => *count += 1,
            missed => *missed = Some((1, error)),
        }
    }
}

impl Work<'_> {
    fn is_ours(&self, cgroup: Option<u64>) -> bool {
        cgroup.is_some_and(|cgroup| self.cgroups.contains(&cgroup))
    }

    fn by_iterator(&self, iterators: &Iterators) -> Done {
        let mut done = Done::default();
        let names = self.names();
        let mut known = HashSet::new();
        for pid in &self.processes {
            let namespace = match File::open(format!("/proc/{pid}/ns/net")) {
                Ok(namespace) => namespace,
                // A process that has ended meanwhile has no connections.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    done.miss(error);
                    continue;
                }
            };
            if !namespace.metadata().is_ok_and(|about| known.insert(about.ino())) {
                continue;
            }
            let inside = netns::within(&namespace.into(), || self.in_namespace(iterators, &names));
            match inside.and_then(|result| result) {
                Ok(counts) => {
                    done.sockets += counts.sockets;
                    done.changed += counts.changed;
                    done.resisting += counts.resisting;
                    done.unlisted = done.unlisted.or(counts.unlisted);
                }
                Err(error) => done.miss(error),
            }
        }
        done
    }

    /// Sets the sockets in the network namespace of the calling thread. Returns how many sockets were found,
    /// and how many were changed.
    fn in_namespace(&self, iterators: &Iterators, names: &HashMap<u64, OsString>) -> io::Result<Done> {
        let (namespace, rows) = Namespace::read();
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                return Ok(Done {
                    unlisted: Some(error),
                    ..Done::default()
                });
            }
        };
        let rows: HashMap<u64, Row> = rows
            .into_iter()
            .filter(|row| row.state != State::Listen && self.is_ours(row.cgroup))
            .map(|row| (row.cookie, row))
            .collect();
        if rows.is_empty() {
            return Ok(Done::default());
        }
        let seen = iterators.dump()?;
        let seen = seen.iter().filter_map(|seen| Some((seen, rows.get(&seen.cookie)?)));
        let count = u32::try_from(rows.len()).map_err(io::Error::other)?;
        let orders = create_map(MapKind::Hash, "ka_orders", ORDER_SIZE, count)?;
        let mut done = Done::default();
        let mut set = HashMap::new();
        for (seen, row) in seen {
            done.sockets += 1;
            let socket = Socket::seen(row, None);
            let program = names.get(&row.inode).map_or(&b""[..], |name| name.as_bytes());
            let current = |option| number(seen, option);
            let plan = plan(self.sources, &socket, &current, program, Some(&namespace));
            let now = BY_EBPF.map(|option| step(&plan, option).unwrap_or(UNSET));
            if now != [UNSET; BY_EBPF.len()] {
                set.insert(seen.cookie, now);
            }
            set_value(
                &orders,
                seen.cookie,
                &existing::order(now, &sock_settings(&plan, &socket, &current)),
            )?;
        }
        iterators.set(&orders, self.sock_settings)?;
        for seen in iterators.dump()? {
            let Some(numbers) = set.remove(&seen.cookie) else {
                continue;
            };
            let mut pairs = numbers.iter().zip(&seen.numbers);
            if pairs.all(|(set, now)| *set == UNSET || set == now) {
                done.changed += 1;
            } else {
                done.resisting += 1;
            }
        }
        Ok(done)
    }

    /// Returns the names of the programs that hold sockets, by inode, if a rule matches names.
    fn names(&self) -> HashMap<u64, OsString> {
        let rules = self.sources.iter().flat_map(|source| source.rules);
        if !rules.into_iter().any(|rule| rule.program.is_some()) {
            return HashMap::new();
        }
        let mut names = HashMap::new();
        for process in self.processes.iter().filter_map(|pid| Process::find(*pid).ok()) {
            for (_, inode) in process.sockets().unwrap_or_default() {
                names.entry(inode).or_insert_with(|| process.name().to_owned());
            }
        }
        names
    }

    /// Stores the persistent settings of a socket, if the policy has any. Returns whether that succeeded.
    fn note(&self, socket: &OwnedFd, settings: &[u8; SOCK_SETTINGS_SIZE as usize]) -> bool {
        let key = u64::try_from(socket.as_raw_fd()).unwrap_or(u64::MAX);
        self.sock_settings
            .is_none_or(|sock_settings| set_value(sock_settings, key, settings).is_ok())
    }

    fn by_descriptor(&self, why: String) -> Done {
        let mut done = Done {
            by_descriptor: Some(why),
            ..Done::default()
        };
        let mut kernel = Kernel::of_own_namespace();
        let mut seen = HashSet::new();
        let (selection, _) = Selection::named(&self.processes);
        selection.visit(|process| {
            let mut held = match process.sockets() {
                Ok(held) => held,
                Err(obstacle) if obstacle.is_gone => return,
                Err(obstacle) => return done.miss(io::Error::other(obstacle.reason)),
            };
            held.retain(|(_, inode)| seen.insert(*inode));
            let (sockets, obstacle) = kernel.sockets(process, &held);
            if let Some(obstacle) = obstacle {
                done.miss(io::Error::other(obstacle.reason));
            }
            for socket in sockets {
                if socket.state == Some(State::Listen) {
                    continue;
                }
                if !self.is_ours(socket.cgroup) {
                    let is_open = !matches!(socket.state, None | Some(State::Closed));
                    done.unseen += usize::from(socket.cgroup.is_none() && is_open);
                    continue;
                }
                let Some(duplicate) = socket
                    .holder
                    .and_then(|holder| process.duplicate(holder, socket.inode).ok())
                else {
                    continue;
                };
                let current = |option| sockopt::get(&duplicate, option).ok();
                let program = process.name().as_bytes();
                let plan = plan(self.sources, &socket, &current, program, kernel.namespace(&socket));
                let stored = sock_settings(&plan, &socket, &current);
                // Otherwise the program before setsockopt(2) would apply the previous policy to this process, too.
                self.note(&duplicate, &nothing());
                let failed = apply(&plan, &duplicate);
                let is_noted = self.note(&duplicate, &stored);
                done.sockets += 1;
                if !is_noted || !failed.is_empty() || !has_steps(&plan, &current) {
                    done.resisting += 1;
                } else if !plan.steps.is_empty() {
                    done.changed += 1;
                }
            }
        });
        done.unlisted = kernel.into_unlisted();
        done
    }
}

/// Returns empty persistent settings.
fn nothing() -> [u8; SOCK_SETTINGS_SIZE as usize] {
    persistent(&Settings::NONE.with_keepalive(Keepalive::Off), 0, 0, 0)
}

/// Returns whether the socket has the values that were set, for the options that this engine sets.
fn has_steps(plan: &Plan, current: &dyn Fn(SocketOption) -> Option<u32>) -> bool {
    let mut steps = plan.steps.iter().filter(|step| BY_EBPF.contains(&step.option));
    steps.all(|step| current(step.option) == Some(step.to))
}

/// Returns the persistent settings of a connection once `plan` has been applied; empty ones for other sockets.
fn sock_settings(
    plan: &Plan,
    socket: &Socket,
    current: &dyn Fn(SocketOption) -> Option<u32>,
) -> [u8; SOCK_SETTINGS_SIZE as usize] {
    let is_connected = socket.peer.is_some() && !matches!(socket.state, Some(State::SynSent | State::SynReceived));
    let settings = if is_connected {
        plan.settings
    } else {
        Settings::NONE.with_keepalive(Keepalive::Off)
    };
    let effective = |option| step(plan, option).or_else(|| current(option)).unwrap_or(0);
    persistent(
        &settings,
        effective(SocketOption::Idle),
        effective(SocketOption::Interval),
        effective(SocketOption::Count),
    )
}

/// Returns the value that `plan` sets for `option`.
fn step(plan: &Plan, option: SocketOption) -> Option<u32> {
    let mut steps = plan.steps.iter();
    steps.find(|step| step.option == option).map(|step| step.to)
}

fn number(seen: &Seen, option: SocketOption) -> Option<u32> {
    let index = BY_EBPF.iter().position(|known| *known == option)?;
    seen.numbers.get(index).copied().filter(|number| *number != UNSET)
}

/// The kernel's iterators over the sockets of a network namespace.
struct Iterators {
    dump: OwnedFd,
    hook: Hook,
}

impl Iterators {
    fn load(sock_settings: Option<&OwnedFd>) -> Result<Self, Obstacle> {
        let function = KernelTypes::read()?.function(FUNCTION);
        let function = function.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let hook = Hook::Iterator(function);
        let dump = load_program(hook, "ka_dump", &existing::dump()?)?;
        let iterators = Self { dump, hook };
        // The kernel must accept the second program, too.
        let orders = create_map(MapKind::Hash, "ka_orders", ORDER_SIZE, 1)?;
        iterators.load_set(&orders, sock_settings)?;
        Ok(iterators)
    }

    fn load_set(&self, orders: &OwnedFd, sock_settings: Option<&OwnedFd>) -> Result<OwnedFd, Obstacle> {
        let program = existing::set(Map(orders.as_raw_fd()), sock_settings.map(|map| Map(map.as_raw_fd())))?;
        Ok(load_program(self.hook, "ka_set", &program)?)
    }

    fn dump(&self) -> io::Result<Vec<Seen>> {
        run(&self.dump).map(|bytes| existing::read(&bytes))
    }

    fn set(&self, orders: &OwnedFd, sock_settings: Option<&OwnedFd>) -> io::Result<()> {
        let program = self
            .load_set(orders, sock_settings)
            .map_err(|obstacle| io::Error::other(obstacle.reason()))?;
        run(&program).map(drop)
    }
}

/// Runs an iterator over the network namespace of the calling thread.
fn run(program: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    File::from(iterate(program)?).read_to_end(&mut written)?;
    Ok(written)
}
