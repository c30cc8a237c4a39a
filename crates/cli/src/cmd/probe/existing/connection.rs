//! The connection of a program: which it is, and moments of access to it.

use super::Place;
use crate::error::{Error, FAILED, REFUSED};
use keepalive_engine::sockets::{Holder, Kernel, Process, Socket};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{self, Activity, Protocol};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An open connection of a process.
pub(super) struct Connection {
    process: Process,
    holder: Holder,
    inode: u64,
    /// `SO_COOKIE`, which no other socket has had or will have.
    cookie: u64,
    pub(super) peer: SocketAddr,
    /// Whether a connection from here to the peer takes the same path.
    is_near: bool,
}

/// The longest list of connections in an error.
const LISTED: usize = 10;

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.holder.pid, self.holder.fd)
    }
}

impl Connection {
    /// Finds the connection at `place`.
    pub(super) fn find(place: Place) -> Result<Self, Error> {
        let pid = place.pid;
        let process = Process::find(pid).map_err(|obstacle| obstacle.error("measure on", pid))?;
        let held = process
            .sockets()
            .map_err(|obstacle| obstacle.error("measure on", pid))?;
        let (sockets, obstacle) = Kernel::of_own_namespace().sockets(&process, &held);
        if let Some(obstacle) = obstacle {
            return Err(obstacle.error("measure on", pid).into());
        }
        let meant: Vec<&Socket> = sockets
            .iter()
            .filter(|socket| place.fd.is_none_or(|fd| is_at(socket, fd)))
            .collect();
        let mut known = HashSet::new();
        let open: Vec<(&Socket, Holder, SocketAddr)> = meant
            .iter()
            .filter(|socket| socket.state == Some(State::Established) && socket.protocol == Protocol::Tcp)
            .filter_map(|socket| Some((*socket, socket.holder?, socket.peer?)))
            .filter(|(socket, ..)| known.insert(socket.inode))
            .collect();
        let (socket, holder, peer) = match open.as_slice() {
            [one] => *one,
            [] => return Err(none_open(place, &held, &meant)),
            several => return Err(ambiguous(pid, several)),
        };
        let mut connection = Self {
            holder,
            inode: socket.inode,
            cookie: 0,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            is_near: socket.is_in_own_namespace(),
            process,
        };
        let cookie = connection.process.duplicate(holder, connection.inode);
        connection.cookie = cookie
            .and_then(sockopt::cookie)
            .map_err(|error| connection.error(&error))?;
        Ok(connection)
    }

    /// Returns a duplicate, which must be dropped at once.
    ///
    /// # Errors
    /// `EBADF` if the descriptor refers to another socket now; those of pidfd_getfd(2).
    pub(super) fn borrow(&self) -> io::Result<OwnedFd> {
        let duplicate = self.process.duplicate(self.holder, self.inode)?;
        if sockopt::cookie(&duplicate)? == self.cookie {
            Ok(duplicate)
        } else {
            Err(Errno::BADF.into())
        }
    }

    pub(super) fn look(&self) -> io::Result<Activity> {
        sockopt::activity(self.borrow()?)
    }

    /// Returns the error for a failed access.
    pub(super) fn error(&self, error: &io::Error) -> Error {
        let obstacle = self.process.obstacle(error);
        obstacle.error("measure on", self.process.pid).into()
    }

    /// Returns whether the peer accepts a new connection; `None` if that cannot be tried from here.
    pub(super) fn is_peer_there(&self) -> Option<bool> {
        const LIMIT: Duration = Duration::from_secs(5);
        self.is_near
            .then(|| TcpStream::connect_timeout(&self.peer, LIMIT).is_ok())
    }
}

fn is_at(socket: &Socket, fd: i32) -> bool {
    socket.holder.is_some_and(|holder| holder.fd == fd)
}

/// Returns the error for a place without an open connection, which holds the sockets `held`, and those that are `meant`.
fn none_open(place: Place, held: &[(Holder, u64)], meant: &[&Socket]) -> Error {
    let pid = place.pid;
    let is_mptcp = |socket: &&Socket| socket.protocol == Protocol::Mptcp && socket.state == Some(State::Established);
    let reason = match (place.fd, meant.first()) {
        (None, _) if meant.iter().any(is_mptcp) => String::from("its connections are MPTCP, which is not measured"),
        (None, _) => String::from("it has no open TCP connection"),
        (Some(fd), Some(socket)) if is_mptcp(socket) => format!("descriptor {fd} is MPTCP, which is not measured"),
        (Some(fd), Some(socket)) => match socket.state {
            Some(State::Listen) => format!("descriptor {fd} is a listener, not a connection"),
            Some(state) => format!(
                "descriptor {fd} is no open TCP connection: its state is {}",
                state.name()
            ),
            None => format!("descriptor {fd} is no open TCP connection"),
        },
        (Some(fd), None) if held.iter().any(|(holder, _)| holder.fd == fd) => {
            format!("descriptor {fd} is another socket than TCP")
        }
        (Some(fd), None) => format!("it has no socket at descriptor {fd}"),
    };
    Error::new(FAILED, format!("cannot measure on process {pid}: {reason}"))
        .hint(format!("to see its connections: keepalive list {pid}"))
}

/// Returns the error for a process with several connections, of which none was named.
fn ambiguous(pid: u32, open: &[(&Socket, Holder, SocketAddr)]) -> Error {
    let mut hint: Vec<String> = open
        .iter()
        .take(LISTED)
        .map(|(_, holder, peer)| {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            format!("--pid {pid}:{} to {peer}", holder.fd)
        })
        .collect();
    if let Some(more @ 1..) = open.len().checked_sub(LISTED) {
        hint.push(format!("and {more} more: keepalive list {pid}"));
    }
    Error::new(
        REFUSED,
        format!("process {pid} has {} open TCP connections: name one", open.len()),
    )
    .hint(hint.join("\n      "))
}
