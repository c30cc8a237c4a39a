//! `keepalive probe --pid`: measures on a connection that a program has open.
//!
//! The connection belongs to the program. This command holds a duplicate of it for moments only, since a duplicate would keep
//! the connection open when the program closes it; reads no data; and never reads `SO_ERROR`, which would take the error from
//! the program.

mod ask;
mod gaps;
mod report;

use super::conclusion::Conclusion;
use super::progress::Progress;
use super::roughly;
use super::search::Outcome;
use crate::error::{Error, FAILED, REFUSED};
use crate::output::{WIDTH, print, wrap, write_stderr};
use ask::{Asker, Restraint};
use gaps::{End, Gaps};
use keepalive_engine::sockets::{Holder, Kernel, Process, Socket};
use keepalive_sys::signal::{SignalFd, block_interrupts};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{self, Activity, Protocol};
use report::Report;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A process, and its descriptor if one is named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pid: u32,
    fd: Option<i32>,
}

/// The time between two looks at the connection.
const LOOK: Duration = Duration::from_millis(100);
/// Each idle time is this much longer than the one before.
const GROWTH: f64 = 1.5;
/// The measurement ends after this many times the longest idle time: a program that uses its connection never lets it be idle
/// for so long.
const PATIENCE: f64 = 4.0;

impl Place {
    /// Parses `PID` or `PID:FD`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (pid, fd) = text.split_once(':').map_or((text, None), |(pid, fd)| (pid, Some(fd)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let pid = Some(pid).filter(|pid| is_number(pid)).and_then(|pid| pid.parse().ok());
        let fd = fd.map(|fd| Some(fd).filter(|fd| is_number(fd)).and_then(|fd| fd.parse().ok()));
        match (pid, fd) {
            (Some(pid @ 1..), None) => Ok(Self { pid, fd: None }),
            (Some(pid @ 1..), Some(Some(fd))) => Ok(Self { pid, fd: Some(fd) }),
            _ => Err(String::from(
                "not a process id, nor one with a descriptor\nhint: expected 4242, or 4242:7",
            )),
        }
    }
}

/// An open connection of a process.
struct Connection {
    process: Process,
    holder: Holder,
    inode: u64,
    peer: SocketAddr,
    /// Whether a connection from here to the peer takes the same path.
    is_near: bool,
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.holder.pid, self.holder.fd)
    }
}

impl Connection {
    /// Finds the connection at `place`.
    fn find(place: Place) -> Result<Self, Error> {
        let pid = place.pid;
        let refused = |reason: String| Error::new(FAILED, format!("cannot measure on process {pid}: {reason}"));
        let process = Process::find(pid).map_err(|obstacle| obstacle.error("measure on", pid))?;
        let held = process
            .sockets()
            .map_err(|obstacle| obstacle.error("measure on", pid))?;
        let (sockets, obstacle) = Kernel::look().sockets(&process, &held);
        if let Some(obstacle) = obstacle {
            return Err(obstacle.error("measure on", pid).into());
        }
        let is_open = |socket: &&Socket| {
            socket.state == Some(State::Established) && socket.protocol == Protocol::Tcp && socket.peer.is_some()
        };
        let is_meant = |socket: &&Socket| {
            place
                .fd
                .is_none_or(|fd| socket.holder.is_some_and(|holder| holder.fd == fd))
        };
        let mut open: Vec<&Socket> = sockets.iter().filter(is_open).filter(is_meant).collect();
        open.dedup_by_key(|socket| socket.inode);
        let (socket, holder, peer) = match (open.as_slice(), place.fd) {
            ([socket], _) => match (socket.holder, socket.peer) {
                (Some(holder), Some(peer)) => (*socket, holder, peer),
                _ => return Err(refused(String::from("it has no open connection"))),
            },
            ([], Some(fd)) => return Err(refused(format!("descriptor {fd} is no open TCP connection"))),
            ([], None) => return Err(refused(String::from("it has no open TCP connection"))),
            (several, _) => {
                let names: Vec<String> = several
                    .iter()
                    .filter_map(|socket| Some(format!("{pid}:{} to {}", socket.holder?.fd, socket.peer?)))
                    .collect();
                return Err(Error::new(
                    REFUSED,
                    format!("process {pid} has {} open TCP connections: name one", names.len()),
                )
                .hint(format!("--pid {}", names.join("\n      --pid "))));
            }
        };
        Ok(Self {
            holder,
            inode: socket.inode,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            is_near: socket.is_in_own_namespace(),
            process,
        })
    }

    /// Returns a duplicate, which must be dropped at once.
    fn borrow(&self) -> io::Result<OwnedFd> {
        self.process.duplicate(self.holder, self.inode)
    }

    fn look(&self) -> io::Result<Activity> {
        sockopt::activity(self.borrow()?)
    }

    /// Returns whether the peer accepts a new connection; `None` if that cannot be tried from here.
    fn is_peer_there(&self) -> Option<bool> {
        const LIMIT: Duration = Duration::from_secs(5);
        self.is_near
            .then(|| TcpStream::connect_timeout(&self.peer, LIMIT).is_ok())
    }
}

/// Measures and prints the result.
///
/// # Errors
/// The connection cannot be reached, or ends for another reason than idleness, or the user interrupts it.
pub(super) fn run(place: Place, max: f64, is_json: bool) -> Result<(), Error> {
    let connection = Connection::find(place)?;
    block_interrupts();
    let signals = SignalFd::interrupts().ok();
    let failed = |error: &io::Error| connection.process.obstacle(error).error("measure on", place.pid);
    let first = connection.look().map_err(|error| failed(&error))?;
    let numbers = connection
        .borrow()
        .and_then(sockopt::numbers)
        .map_err(|error| failed(&error))?;
    let mut asker = Asker::new();
    let longest = asker.longest(&numbers, max);
    let _ = writeln!(
        io::stderr(),
        "keepalive: watching {connection} to {} for idle times up to {}; this takes {} at most",
        connection.peer,
        roughly(longest),
        roughly(PATIENCE * longest),
    );
    let mut progress = Progress::new(io::stderr().is_terminal());
    let start = Instant::now();
    let mut gaps = Gaps::new(&first);
    let mut next = (longest / 16.0).clamp(1.0, 10.0).min(longest);
    let end = loop {
        if wait(signals.as_ref()) {
            break End::Interrupted;
        }
        let now = start.elapsed();
        let Ok(activity) = connection.look() else {
            break End::Left;
        };
        if let Some(end) = gaps.note(now, &activity) {
            break end;
        }
        let lived = gaps.lived();
        if lived >= longest - LOOK.as_secs_f64() {
            break End::Enough;
        }
        if now.as_secs_f64() > PATIENCE * longest {
            break End::InUse;
        }
        while next <= lived {
            next = (next * GROWTH).min(longest);
        }
        progress.watch(gaps.quiet(now), next, lived);
        if gaps.quiet(now) >= next && gaps.is_settled() && asker.may_ask(&activity) {
            if let Some(end) = asker.ask(&connection, &mut gaps, start) {
                break end;
            }
            if let Some(reason) = asker.restraint().and_then(Restraint::reason) {
                progress.clear();
                write_stderr(&wrap(&format!("keepalive: it is only watched: {reason}"), WIDTH, 2));
            }
        }
    };
    progress.clear();
    let is_peer_there = match end {
        End::Idle(Outcome::Silence) => connection.is_peer_there(),
        _ => None,
    };
    let mut conclusion = Conclusion::of_one(gaps.lived_at_all(), gaps.died(), end.outcome());
    if end == End::Idle(Outcome::Silence) && is_peer_there != Some(true) {
        // No settings help if the peer is down.
        conclusion.disclaim();
    }
    let report = Report {
        conclusion: &conclusion,
        peer: connection.peer,
        end,
        longest,
        is_peer_there,
        restraint: asker.restraint(),
        unanswered: asker.unanswered(),
        pid: place.pid,
    };
    print(&if is_json {
        report.json(&connection.to_string())
    } else {
        report.text()
    })?;
    match end {
        End::Interrupted => Err(Error::new(FAILED, "interrupted: this is what is known so far")),
        End::Left => Err(Error::new(
            FAILED,
            format!(
                "process {} has closed the connection: this is what is known so far",
                place.pid
            ),
        )),
        End::Enough | End::InUse | End::Idle(_) => Ok(()),
    }
}

/// Waits until the next look. Returns whether the user has interrupted the measurement.
fn wait(signals: Option<&SignalFd>) -> bool {
    let mut fds: Vec<PollFd<'_>> = signals
        .map(|signals| PollFd::new(signals, PollFlags::IN))
        .into_iter()
        .collect();
    let _ = poll(&mut fds, Timespec::try_from(LOOK).ok().as_ref());
    signals.is_some_and(|signals| signals.next().is_some())
}
