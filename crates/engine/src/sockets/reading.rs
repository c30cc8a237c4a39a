//! Duplicates the sockets of a process and reads their options, on all processors if there are many: this takes most of
//! the time of `list` and `attach`.

use super::obstacle::{Obstacle, is_gone};
use super::process::Process;
use super::{Exact, Holder, Kernel, Socket, TimerState};
use keepalive_sys::sock_diag::{Row, State};
use keepalive_sys::sockopt::{self, Protocol};
use rustix::fd::OwnedFd;
use std::io;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Reading this many sockets takes longer than starting a thread.
const MANY: usize = 256;
/// How often the results of threads are passed on. A thread may never end: a program can keep its sockets locked.
const PERIOD: Duration = Duration::from_millis(5);

/// The sockets that could not be duplicated, and the reason, if any.
#[derive(Default)]
pub struct Missed {
    /// The descriptors. Whether they are TCP sockets is not known.
    pub held: Vec<(Holder, u64)>,
    /// The reason for the first of them.
    pub obstacle: Option<Obstacle>,
}

/// What is done with a socket while there is a duplicate of its descriptor.
type Work<'a, T> = &'a (dyn Fn(&Kernel, Socket, &OwnedFd) -> T + Sync);

impl Kernel {
    /// Returns the TCP sockets among those that `process` holds, and why some of them are not known exactly, if so.
    pub fn sockets(&mut self, process: &Process, held: &[(Holder, u64)]) -> (Vec<Socket>, Option<Obstacle>) {
        let mut found = Vec::with_capacity(held.len());
        let obstacle = self.each_socket(process, held, &mut |sockets| found.extend(sockets));
        (found, obstacle)
    }

    /// As [`sockets`](Self::sockets), but `take` receives the sockets while others are read, in no order.
    pub fn each_socket(
        &mut self,
        process: &Process,
        held: &[(Holder, u64)],
        take: &mut dyn FnMut(Vec<Socket>),
    ) -> Option<Obstacle> {
        let mut found = Vec::new();
        let mut new = Vec::with_capacity(held.len());
        for &(holder, inode) in held {
            match (self.row(inode), self.exact.get(&inode)) {
                (Some((row, namespace)), Some(exact)) => found.push(Socket::exact(row, *namespace, holder, *exact)),
                _ => new.push((holder, inode)),
            }
        }
        let mut exact = Vec::with_capacity(new.len());
        let missed = self.for_each(process, &new, &|_, socket, _| socket, &mut |sockets| {
            exact.extend(sockets.iter().filter_map(Exact::of));
            take(sockets);
        });
        self.exact.extend(exact);
        for (holder, inode) in missed.held {
            found.extend(self.row(inode).map(|(row, _)| Socket::seen(row, Some(holder))));
        }
        take(found);
        missed.obstacle
    }

    /// Runs `work` for each TCP socket among those that `process` holds, with a duplicate of its descriptor, in several
    /// threads if there are many. `take` receives the results, in no order, also if a socket blocks a thread.
    pub fn for_each<T: Send>(
        &mut self,
        process: &Process,
        held: &[(Holder, u64)],
        work: Work<'_, T>,
        take: &mut dyn FnMut(Vec<T>),
    ) -> Missed {
        let (known, mut rest): (Vec<_>, Vec<_>) = held.iter().partition(|(_, inode)| self.rows.contains_key(inode));
        rest.extend(self.known(process, &known, work, take));
        let mut missed = Missed::default();
        for (holder, inode) in rest {
            match self.unknown_socket(process, holder, inode) {
                Ok(Some((socket, duplicate))) => take(vec![work(self, socket, &duplicate)]),
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    missed.obstacle.get_or_insert_with(|| process.obstacle(&error));
                    missed.held.push((holder, inode));
                }
            }
        }
        missed
    }

    /// Handles the sockets that are known to be TCP. Returns those that remain after an access was denied.
    fn known<T: Send>(
        &self,
        process: &Process,
        held: &[(Holder, u64)],
        work: Work<'_, T>,
        take: &mut dyn FnMut(Vec<T>),
    ) -> Vec<(Holder, u64)> {
        if held.len() <= MANY {
            return self
                .share(process, held, work, &mut |result| take(vec![result]))
                .to_vec();
        }
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let results = Mutex::new(Vec::new());
        let lock = &|| results.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pass_on = || {
            let results = std::mem::take(&mut *lock());
            if !results.is_empty() {
                take(results);
            }
        };
        let receiver = &thread::current();
        let rest = thread::scope(|scope| {
            let shares = held.chunks(held.len().div_ceil(threads).max(MANY));
            let run = |share| self.share(process, share, work, &mut |result| lock().push(result));
            let (mut threads, mut rests) = (Vec::new(), Vec::new());
            for share in shares {
                let started = thread::Builder::new().spawn_scoped(scope, move || {
                    let rest = run(share);
                    receiver.unpark();
                    rest
                });
                match started {
                    Ok(thread) => threads.push(thread),
                    // The limit of threads is reached.
                    Err(_) => rests.push(run(share)),
                }
            }
            while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::park_timeout(PERIOD);
                pass_on();
            }
            rests.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
            rests.concat()
        });
        pass_on();
        rest
    }

    /// Handles these sockets, up to the first to which access is denied, and returns the rest.
    fn share<'a, T>(
        &self,
        process: &Process,
        held: &'a [(Holder, u64)],
        work: Work<'_, T>,
        take: &mut dyn FnMut(T),
    ) -> &'a [(Holder, u64)] {
        for (place, &(holder, inode)) in held.iter().enumerate() {
            let Some((row, namespace)) = self.row(inode) else {
                continue;
            };
            match Exact::of_row(process, holder, row) {
                Ok(Some((exact, duplicate))) => {
                    take(work(self, Socket::exact(row, *namespace, holder, exact), &duplicate));
                }
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(_) => return &held[place..],
            }
        }
        &[]
    }

    /// Returns a socket that may be in another network namespace, and its duplicate; `None` if the socket is not TCP.
    fn unknown_socket(
        &mut self,
        process: &Process,
        holder: Holder,
        inode: u64,
    ) -> io::Result<Option<(Socket, OwnedFd)>> {
        let duplicate = process.duplicate(holder, inode)?;
        let Some(exact) = Exact::read(&duplicate)? else {
            return Ok(None);
        };
        if self.row(inode).is_none() {
            self.look_into_namespace_of(&duplicate);
        }
        if let Some((row, namespace)) = self.row(inode) {
            return Ok(Some((Socket::exact(row, *namespace, holder, exact), duplicate)));
        }
        let (state, unanswered) = sockopt::state(&duplicate)?;
        let socket = Socket {
            holder: Some(holder),
            inode,
            protocol: exact.protocol,
            local: sockopt::local(&duplicate),
            peer: sockopt::peer(&duplicate),
            state,
            numbers: Some(exact.numbers),
            timer: if state == Some(State::Closed) {
                TimerState::Stopped
            } else {
                TimerState::Unknown
            },
            unanswered: Some(unanswered),
            cgroup: None,
            namespace: self.namespace_of(&duplicate),
        };
        self.note_listener(&socket);
        Ok(Some((socket, duplicate)))
    }
}

impl Exact {
    /// Returns the inode and the values of a socket.
    fn of(socket: &Socket) -> Option<(u64, Self)> {
        let protocol = socket.protocol;
        let exact = socket.numbers.map(|numbers| Self { protocol, numbers })?;
        Some((socket.inode, exact))
    }

    /// Returns `None` if the socket is not TCP.
    fn read(socket: &OwnedFd) -> io::Result<Option<Self>> {
        let Some(protocol) = sockopt::protocol(socket)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            protocol,
            numbers: sockopt::numbers(socket)?,
        }))
    }

    /// Reads the socket of `row`, and returns it with its duplicate.
    fn of_row(process: &Process, holder: Holder, row: &Row) -> io::Result<Option<(Self, OwnedFd)>> {
        let duplicate = process.duplicate_any(holder)?;
        // No two sockets have the same cookie, so this is the TCP socket of the row. The row of an MPTCP socket has the
        // cookie of a subflow.
        let exact = if sockopt::cookie(&duplicate).is_ok_and(|cookie| cookie == row.cookie) {
            Some(Self {
                protocol: Protocol::Tcp,
                numbers: sockopt::numbers(&duplicate)?,
            })
        } else {
            Process::check_inode(&duplicate, row.inode)?;
            Self::read(&duplicate)?
        };
        Ok(exact.map(|exact| (exact, duplicate)))
    }
}
