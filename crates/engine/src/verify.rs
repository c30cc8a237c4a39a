//! Compares what a policy wants with what the kernel has on every TCP socket of a process and its descendants, and
//! finds the reason of each difference. Everything is read from outside; nothing is changed.

mod reach;
mod summary;
mod verdict;
mod view;

pub use reach::{Engines, PolicyOrigin, Reach, is_supervised, mapped_library};
pub use summary::summary;
pub use verdict::{Missing, Outcome, Own, Verdict};

use crate::policy::{Part, Policy};
use crate::sockets::{Kernel, Obstacle, Process, Selection, Send, Socket, WorkerPool};
use keepalive_policy::Source;
use keepalive_sys::proc;
use keepalive_sys::sock_diag::State;
use reach::Known;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use view::View;

/// The largest number of processes that are compared: more belong to a fork bomb, not to a program.
const MOST: usize = 4096;

/// What the caller knows about the policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The policy that takes precedence over all others: that of the command line.
    pub overriding: Option<&'a Policy>,
    /// The policy of processes that do not show theirs, and the engine that applies it: those of `keepalive run`.
    pub started_with: Option<(&'a Policy, Engines)>,
}

/// The sockets of a process and its descendants, compared with their policy.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The processes, parents first.
    pub processes: Vec<Examined>,
    /// The connections and listeners, each once. Sockets that are neither connected nor listening are not compared.
    pub sockets: Vec<Compared>,
    /// Why some processes could not be examined completely.
    pub obstacles: Vec<(u32, Obstacle)>,
}

/// A process, and how keepalive reaches it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Examined {
    /// The number of the process.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// The engines that reach it, and its policy.
    pub reach: Reach,
}

/// A socket, and how it compares with the policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// The socket, with the process and descriptor under which it was found first.
    pub socket: Socket,
    /// The name of the program of that process.
    pub program: String,
    /// The result.
    pub verdict: Verdict,
}

impl Compared {
    /// Returns whether the socket listens; otherwise it is connected.
    pub fn is_listener(&self) -> bool {
        self.socket.state == Some(State::Listen)
    }
}

/// A result of a worker for one process.
#[derive(Serialize, Deserialize)]
enum Found {
    Process(Box<Examined>),
    Socket(Box<Compared>),
    Obstacle(Obstacle),
}

/// Compares the sockets of the processes `roots` and their descendants with the policies that apply to them.
///
/// # Errors
/// No worker can be started.
pub fn compare(pool: &mut WorkerPool, roots: &[u32], given: Given<'_>) -> io::Result<Comparison> {
    let mut pids: Vec<u32> = Vec::new();
    for root in roots {
        pids.extend(proc::tree(*root, MOST + 1));
    }
    // A root may be a descendant of another one.
    let mut seen = HashSet::from([std::process::id()]);
    pids.retain(|pid| seen.insert(*pid));
    let mut comparison = Comparison::default();
    if let Some(first_left_out) = pids.get(MOST) {
        comparison.obstacles.push((*first_left_out, Obstacle::too_many(MOST)));
        pids.truncate(MOST);
    }
    let (selection, missing) = Selection::named(&pids);
    let is_root = |pid: u32| roots.contains(&pid);
    // A descendant that has ended meanwhile has no sockets.
    let missing = missing
        .into_iter()
        .filter(|(pid, obstacle)| is_root(*pid) || !obstacle.is_gone);
    comparison.obstacles.extend(missing);
    let known = Known::read();
    let mut kernel = Kernel::of_own_namespace();
    let mut seen = HashSet::new();
    let mut answer = |process: &Process, send: &mut Send<'_, Found>| {
        examine(process, &mut kernel, &known, given, &mut seen, send);
    };
    let mut compared = HashSet::new();
    let mut take = |pid, found| match found {
        Found::Process(examined) => comparison.processes.push(*examined),
        // Several workers may have read the same socket.
        Found::Socket(socket) if compared.insert(socket.socket.inode) => comparison.sockets.push(*socket),
        Found::Socket(_) => {}
        Found::Obstacle(obstacle) if obstacle.is_gone => {}
        Found::Obstacle(obstacle) => comparison.obstacles.push((pid, obstacle)),
    };
    let asked = selection.ask(pool, &mut answer, &mut take)?;
    let unanswered = asked.unanswered.into_iter();
    comparison
        .obstacles
        .extend(unanswered.map(|process| (process.pid, Obstacle::unanswered())));
    let place = |pid| pids.iter().position(|other| *other == pid);
    comparison.processes.sort_by_key(|examined| place(examined.pid));
    comparison.sockets.sort_by_key(|compared| {
        let holder = compared.socket.holder;
        holder.map(|holder| (place(holder.pid), holder.tid, holder.fd))
    });
    Ok(comparison)
}

/// Examines one process, in a worker.
fn examine(
    process: &Process,
    kernel: &mut Kernel,
    known: &Known,
    given: Given<'_>,
    seen: &mut HashSet<u64>,
    send: &mut Send<'_, Found>,
) {
    let program = process.name().to_owned();
    let (reach, policies) = known.reach(process.pid, given);
    let name = program.to_string_lossy().into_owned();
    send(Found::Process(Box::new(Examined {
        pid: process.pid,
        program: name.clone(),
        reach: reach.clone(),
    })));
    let mut held = match process.sockets() {
        Ok(held) => held,
        Err(obstacle) => return send(Found::Obstacle(obstacle)),
    };
    // A socket that several processes share is compared once, as that of the first.
    held.retain(|(_, inode)| seen.insert(*inode));
    let (sockets, obstacle) = kernel.sockets(process, &held);
    if let Some(obstacle) = obstacle {
        send(Found::Obstacle(obstacle));
    }
    let parts: Vec<Part<'_>> = policies.iter().flat_map(Policy::parts).collect();
    let sources: Vec<Source<'_>> = parts.iter().map(Part::source).collect();
    let parent = Parent::of(process.pid);
    for socket in sockets {
        let view = View {
            socket: &socket,
            sources: &sources,
            program: program.as_bytes(),
            namespace: kernel.namespace(&socket),
            reach: &reach,
            parent: &parent,
        };
        if let Some(verdict) = view.verdict() {
            send(Found::Socket(Box::new(Compared {
                program: name.clone(),
                verdict,
                socket,
            })));
        }
    }
}

/// The process that started a process.
struct Parent {
    /// The number of the process that it started.
    child: u32,
    found: OnceCell<(u32, HashSet<u64>)>,
}

impl Parent {
    fn of(child: u32) -> Self {
        Self {
            child,
            found: OnceCell::new(),
        }
    }

    /// Returns the number of the parent, if the parent holds the socket and does not have the library.
    fn passed(&self, inode: u64) -> Option<u32> {
        let (pid, sockets) = self.found.get_or_init(|| {
            let parent = proc::status(self.child).map_or(0, |status| status.parent);
            if !matches!(mapped_library(parent), Ok(None)) {
                return (0, HashSet::new());
            }
            let held = Process::find(parent).and_then(|parent| parent.sockets());
            let inodes = held.unwrap_or_default().into_iter().map(|(_, inode)| inode);
            (parent, inodes.collect())
        });
        sockets.contains(&inode).then_some(*pid)
    }
}
