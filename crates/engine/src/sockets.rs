//! The TCP sockets of running processes, as far as the kernel shows them to this user.
//!
//! `sock_diag(7)` shows every user all sockets of a network namespace, but not their options. With ptrace
//! access to a process, its sockets can be duplicated (`pidfd_getfd(2)`) and all options read.

mod hidden;
mod namespace;
mod obstacle;
mod process;
mod reading;
mod worker_pool;

pub use hidden::hidden;
pub use namespace::Namespace;
pub use obstacle::{Obstacle, YAMA_1, YAMA_2, YAMA_3, is_gone, is_sandboxed, may_trace, yama_scope};
pub use process::{Process, Selection};
pub use reading::Missed;
pub use worker_pool::{Send, WorkerPool};

use crate::timeline::Times;
use keepalive_policy::SocketOption;
use keepalive_sys::netns;
use keepalive_sys::sock_diag::{self, Row, State, Timer, TimerKind};
use keepalive_sys::sockopt::{Numbers, Protocol};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;

/// A TCP socket, and one of the descriptors that refer to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// The holder; absent if this user may not see it.
    pub holder: Option<Holder>,
    /// The inode of the socket, unique while it exists.
    pub inode: u64,
    /// The protocol: TCP or MPTCP.
    pub protocol: Protocol,
    /// The local address.
    pub local: Option<SocketAddr>,
    /// The peer's address, if the socket is connected.
    pub peer: Option<SocketAddr>,
    /// The state; absent if the kernel reports one that a process's socket cannot have.
    pub state: Option<State>,
    /// The values of the options; absent without ptrace access to a holder.
    pub numbers: Option<Numbers>,
    /// The running timer.
    pub timer: TimerState,
    /// The number of consecutive probes without an answer.
    pub unanswered: Option<u8>,
    /// The number of the cgroup in which the socket was created, if known.
    pub cgroup: Option<u64>,
    /// The index of the socket's network namespace in [`Kernel::namespaces`], if that namespace could be entered.
    namespace: Option<usize>,
}

/// The timer of a socket, if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerState {
    /// The timer could not be observed.
    Unknown,
    /// No timer runs.
    Stopped,
    /// This timer runs.
    Running(Timer),
}

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The thread, if it has its own table of descriptors; otherwise the number of the process.
    pub tid: u32,
    /// The descriptor.
    pub fd: i32,
}

/// What `sock_diag(7)` requires.
pub const SOCK_DIAG_HINT: &str =
    "it requires the kernel's module tcp_diag (modprobe tcp_diag), and a sandbox that allows netlink(7)";

/// A snapshot of what the kernel shows of all sockets.
pub struct Kernel {
    /// The network namespaces; that of this process comes first.
    namespaces: Vec<Namespace>,
    /// The rows of `sock_diag`, by inode, each with the index of its namespace.
    rows: HashMap<u64, (Row, usize)>,
    /// The values that were read from sockets with several descriptors.
    exact: HashMap<u64, Exact>,
    /// Why `sock_diag` shows nothing, if it fails.
    blind: Option<io::Error>,
}

/// The values that only a descriptor of the socket shows.
#[derive(Clone, Copy)]
struct Exact {
    protocol: Protocol,
    numbers: Numbers,
}

impl Kernel {
    /// Reads the network namespace of this process. Other namespaces are read when one of their sockets is found.
    pub fn of_own_namespace() -> Self {
        let mut kernel = Self {
            namespaces: Vec::new(),
            rows: HashMap::new(),
            exact: HashMap::new(),
            blind: None,
        };
        let (namespace, rows) = Namespace::read();
        kernel.blind = kernel.add(namespace, rows).err();
        kernel
    }

    /// Returns why `sock_diag` shows nothing, if it fails: then timers, listeners and other users' sockets
    /// are unknown.
    pub fn unlisted(&self) -> Option<&io::Error> {
        self.blind.as_ref()
    }

    /// Returns why `sock_diag` does not list the sockets of a network namespace, if it fails.
    pub fn into_unlisted(self) -> Option<io::Error> {
        self.blind
    }

    fn add(&mut self, namespace: Namespace, rows: io::Result<Vec<Row>>) -> io::Result<()> {
        let index = self.namespaces.len();
        self.namespaces.push(namespace);
        let rows = rows?;
        self.rows.reserve(rows.len());
        for row in rows.into_iter().filter(|row| row.inode != 0) {
            // The first subflow of an MPTCP socket represents all its subflows.
            self.rows.entry(row.inode).or_insert((row, index));
        }
        Ok(())
    }

    /// Returns the TCP sockets among those that a process holds, with only the values in the kernel's table.
    pub fn seen(&self, held: &[(Holder, u64)]) -> Vec<Socket> {
        let seen = held
            .iter()
            .filter_map(|(holder, inode)| Some((self.row(*inode)?, *holder)));
        seen.map(|((row, namespace), holder)| Socket {
            namespace: Some(*namespace),
            ..Socket::seen(row, Some(holder))
        })
        .collect()
    }

    /// Returns the sockets whose inodes are not among the `known`: those of processes that this user cannot see.
    pub fn unknown(&self, known: &HashSet<u64>) -> Vec<Socket> {
        let rows = self.rows.values().map(|(row, _)| row);
        let mut unknown: Vec<&Row> = rows.filter(|row| !known.contains(&row.inode)).collect();
        // Their holders may have closed them before they were read.
        if !unknown.is_empty()
            && let Ok(now) = sock_diag::dump()
        {
            let open: HashSet<u64> = now.iter().map(|row| row.cookie).collect();
            unknown.retain(|row| open.contains(&row.cookie));
        }
        unknown.into_iter().map(|row| Socket::seen(row, None)).collect()
    }

    fn row(&self, inode: u64) -> Option<&(Row, usize)> {
        self.rows.get(&inode)
    }

    fn namespace_of(&self, socket: &OwnedFd) -> Option<usize> {
        let cookie = netns::cookie(socket).ok()?;
        let mut namespaces = self.namespaces.iter();
        namespaces.position(|namespace| namespace.cookie == Some(cookie))
    }

    /// Reads the namespace of `socket`, unless it is known already. Without the right to enter it, only the listeners among
    /// the sockets that are read are known of it.
    fn look_into_namespace_of(&mut self, socket: &OwnedFd) {
        if self.namespace_of(socket).is_some() {
            return;
        }
        if let Ok(namespace) = netns::of_socket(socket)
            && let Ok((namespace, rows)) = netns::within(&namespace, Namespace::read)
            && namespace.cookie.is_some()
        {
            if let Err(error) = self.add(namespace, rows) {
                self.blind.get_or_insert(error);
            }
        } else if let Ok(cookie) = netns::cookie(socket) {
            self.namespaces.push(Namespace::unseen(cookie));
        }
    }

    /// Notes a socket that no namespace lists, if it listens: then it tells which connections were accepted.
    fn note_listener(&mut self, socket: &Socket) {
        if let (Some(State::Listen), Some(local), Some(index)) = (socket.state, socket.local, socket.namespace)
            && let Some(namespace) = self.namespaces.get_mut(index)
        {
            namespace.add_listener(local);
        }
    }

    /// Returns the timer of the socket `inode`, if the socket is in the namespace of this process.
    pub fn timer(&self, inode: u64) -> TimerState {
        self.row(inode).map_or(TimerState::Unknown, |(row, _)| row.timer.into())
    }

    /// Returns the network namespace of `socket`, if known.
    pub fn namespace(&self, socket: &Socket) -> Option<&Namespace> {
        self.namespaces.get(socket.namespace?)
    }
}

impl TimerState {
    /// Returns the running timer, if known.
    pub fn timer(self) -> Option<Timer> {
        match self {
            Self::Running(timer) => Some(timer),
            Self::Unknown | Self::Stopped => None,
        }
    }
}

impl From<Option<Timer>> for TimerState {
    fn from(timer: Option<Timer>) -> Self {
        timer.map_or(Self::Stopped, Self::Running)
    }
}

impl Socket {
    /// Returns whether keepalive is on, from the option; otherwise from the timer. An established connection
    /// shows the keepalive timer, unless a timer for data hides it (`net/ipv4/inet_diag.c`).
    pub fn keepalive(&self) -> Option<bool> {
        if let Some(numbers) = &self.numbers {
            return Some(numbers.is_on());
        }
        match (self.timer, self.state?) {
            (TimerState::Running(timer), _) => (timer.kind == TimerKind::Keepalive).then_some(true),
            (TimerState::Stopped, State::Established | State::CloseWait) => Some(false),
            _ => None,
        }
    }

    /// Returns whether the socket is in the namespace of this process.
    pub fn is_in_own_namespace(&self) -> bool {
        self.namespace == Some(0)
    }

    /// Returns the times that decide when a dead peer is detected, if all are known.
    pub fn times(&self) -> Option<Times> {
        Some(Times {
            idle: self.number(SocketOption::Idle)?,
            interval: self.number(SocketOption::Interval)?,
            count: self.number(SocketOption::Count)?,
            user_timeout: self.number(SocketOption::UserTimeout).unwrap_or(0),
        })
    }

    /// Returns the value of `option`, if known.
    pub fn number(&self, option: SocketOption) -> Option<u32> {
        self.numbers?.get(option)
    }

    /// Returns the seconds until a dead peer is detected; `None` also if it never is.
    pub fn dead_after(&self) -> Option<u64> {
        self.times()
            .filter(|_| self.keepalive() == Some(true))
            .map(Times::dead_after)
    }

    /// Returns a socket with only what every user may see.
    pub fn seen(row: &Row, holder: Option<Holder>) -> Self {
        Self {
            holder,
            inode: row.inode,
            protocol: Protocol::Tcp,
            local: Some(row.local),
            peer: row.peer,
            state: Some(row.state),
            numbers: None,
            timer: row.timer.into(),
            unanswered: row.unanswered,
            cgroup: row.cgroup,
            namespace: Some(0),
        }
    }

    fn exact(row: &Row, namespace: usize, holder: Holder, exact: Exact) -> Self {
        Self {
            protocol: exact.protocol,
            numbers: Some(exact.numbers),
            namespace: Some(namespace),
            ..Self::seen(row, Some(holder))
        }
    }
}
