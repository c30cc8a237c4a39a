//! Serving the calls that wait: each socket gets its settings, then its call goes on.

use super::guard::Journal;
use super::unfinished::{Connection, Unfinished};
use crate::engine::settle::{Settler, number};
use keepalive_linux::pidfd::PidFd;
use keepalive_linux::seccomp::{Answer, Call, Listener, Notification};
use keepalive_linux::signal::SignalFd;
use keepalive_linux::sock_diag::State;
use keepalive_linux::{memory, proc, sockopt};
use keepalive_policy::{Event, Keepalive, Mode, Moment, Number, Settings, SocketOption, Source, decide};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;

/// Serves the calls of one listener.
pub(super) struct Supervisor<'a> {
    sources: &'a [Source<'a>],
    listener: &'a Listener,
    journal: Journal,
    asks: Asks,
    /// By thread. One that has ended is found out when it is used.
    handles: HashMap<u32, PidFd>,
    settler: Settler,
    /// Ports that somebody listens on: what arrives there was accepted.
    listening: HashSet<u16>,
    unfinished: Unfinished,
}

/// What must be known of a socket before the policy can be asked.
#[derive(Clone, Copy)]
struct Asks {
    peer: bool,
    program: bool,
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last process under the filter has ended.
    NobodyLeft,
    /// The standby has ended.
    Alone,
}

/// No program has so many threads that connect at a time.
const MOST_HANDLES: usize = 256;

impl<'a> Supervisor<'a> {
    pub(super) fn new(sources: &'a [Source<'a>], listener: &'a Listener, journal: Journal) -> Self {
        let rules = || sources.iter().flat_map(|source| source.rules);
        Self {
            sources,
            listener,
            journal,
            asks: Asks {
                peer: rules().next().is_some(),
                program: rules().any(|rule| rule.program.is_some()),
            },
            handles: HashMap::new(),
            settler: Settler::new(),
            listening: HashSet::new(),
            unfinished: Unfinished::default(),
        }
    }

    /// Serves until nobody is left, or until the process behind `standby` has ended. `children`, if there may be any, tells
    /// when `reap` is to be called.
    pub(super) fn serve_all(&mut self, standby: &PidFd, children: Option<&SignalFd>, reap: impl Fn()) -> End {
        loop {
            let mut fds = [
                PollFd::new(self.listener, PollFlags::IN),
                PollFd::new(standby, PollFlags::IN),
                // A descriptor that nothing is asked of stands in for one that is not there.
                children.map_or(PollFd::new(standby, PollFlags::empty()), |children| {
                    PollFd::new(children, PollFlags::IN)
                }),
            ];
            let pause = self.unfinished.pause().and_then(|pause| Timespec::try_from(pause).ok());
            match poll(&mut fds, pause.as_ref()) {
                Err(Errno::INTR) => continue,
                // Without poll(2) nothing can be served here: another process may do better.
                Err(_) => return End::Alone,
                Ok(_) => {}
            }
            let [calls, standby, children] = fds.map(|fd| fd.revents());
            if !children.is_empty() {
                reap();
            }
            if calls.contains(PollFlags::IN) {
                self.serve_next();
            } else if calls.contains(PollFlags::HUP) {
                return End::NobodyLeft;
            }
            let mut unfinished = std::mem::take(&mut self.unfinished);
            unfinished.look(|connection, is_early| self.is_under_way(connection, is_early));
            self.unfinished = unfinished;
            if !standby.is_empty() {
                return End::Alone;
            }
        }
    }

    fn serve_next(&mut self) {
        // The caller may have been killed meanwhile.
        if let Ok(call) = self.listener.receive() {
            self.journal.received(&call);
            self.serve(&call);
        }
    }

    /// Does what the call needs, and lets it go on.
    pub(super) fn serve(&mut self, call: &Notification) {
        let answer = call
            .is_question()
            // Whatever fails, the call goes on as without us.
            .unwrap_or_else(|| self.serve_call(call).unwrap_or(Answer::Continue));
        // One that has been killed waits for no answer.
        let _ = self.listener.answer(call.id, answer);
        self.journal.answered(call.id);
    }

    fn serve_call(&mut self, notification: &Notification) -> io::Result<Answer> {
        let tid = notification.tid;
        let Some(call) = Call::read(notification)? else {
            return Ok(Answer::Continue);
        };
        let socket = self.duplicate(tid, call.fd())?;
        if sockopt::protocol(&socket)?.is_none() {
            return Ok(Answer::Continue);
        }
        match call {
            Call::Connect { fd, address } => {
                let peer = if self.asks.peer { address.read(tid)? } else { None };
                let settings = self.decide(tid, Moment::Connect, peer, peer);
                self.settler.settle(&socket, &settings);
                if settings.written(SocketOption::UserTimeout) != Number::Unset {
                    self.unfinished.add(Connection {
                        tid,
                        fd,
                        cookie: sockopt::cookie(&socket)?,
                        settings,
                    });
                }
            }
            Call::Listen { .. } => {
                let local = sockopt::local(&socket);
                self.listening.extend(local.map(|local| local.port()));
                let settings = self.decide(tid, Moment::Listen, None, local);
                self.settler.settle_listener(&socket, &settings);
            }
            Call::SetOption {
                level,
                name,
                value,
                length,
                ..
            } => {
                if let (Some(option), true) = (SocketOption::from_number(level, name), length >= 4) {
                    return self.set_option(tid, &socket, option, memory::read_u32(tid, value)?);
                }
            }
        }
        Ok(Answer::Continue)
    }

    /// The program is about to set `option` to `theirs` itself.
    fn set_option(&mut self, tid: u32, socket: &OwnedFd, option: SocketOption, theirs: u32) -> io::Result<Answer> {
        let (least, most) = option.row().range;
        let theirs = if option == SocketOption::Keepalive {
            theirs.min(1)
        } else {
            theirs
        };
        if !(least..=most).contains(&theirs) {
            // The kernel's own error is what the program shall see.
            return Ok(Answer::Continue);
        }
        if option == SocketOption::Keepalive {
            self.settler.note_switch(sockopt::cookie(socket)?, theirs != 0);
        }
        let (local, peer) = (sockopt::local(socket), sockopt::peer(socket));
        let moment = match (peer, local) {
            (Some(_), Some(local)) if self.listening.contains(&local.port()) => Moment::Accept,
            (Some(_), _) => Moment::Connect,
            (None, _) if sockopt::state(socket)?.0 == Some(State::Listen) => Moment::Listen,
            (None, _) => Moment::Create,
        };
        let port = match moment {
            Moment::Accept | Moment::Listen => local,
            Moment::Connect | Moment::Create => peer,
        };
        let settings = self.decide(tid, moment, peer, port);
        let mode = settings.mode.unwrap_or_default();
        // A rule may say another mode when the peer is known, and a user timeout before that is a limit on connecting.
        let is_early = moment == Moment::Create && (self.asks.peer || option == SocketOption::UserTimeout);
        if mode == Mode::Fill || is_early || settings.keepalive == Some(Keepalive::Off) {
            return Ok(Answer::Continue);
        }
        let Some(ours) = number(socket, &settings, option) else {
            return Ok(Answer::Continue);
        };
        let target = mode.settle(option, ours, theirs);
        if target == theirs {
            return Ok(Answer::Continue);
        }
        sockopt::set(socket, option, target)?;
        Ok(Answer::Succeed)
    }

    /// Whether `connection` is not complete yet. If it is, it gets its user timeout.
    fn is_under_way(&mut self, connection: &Connection, is_early: bool) -> bool {
        let Ok(socket) = self.duplicate(connection.tid, connection.fd) else {
            return false;
        };
        if sockopt::cookie(&socket).ok() != Some(connection.cookie) {
            return false;
        }
        match sockopt::state(&socket) {
            Ok((Some(State::SynSent), _)) => return true,
            // The call was let go on, but its thread may not have run yet.
            Ok((Some(State::Closed), _)) => return is_early,
            Ok((Some(State::Established), _)) => self.settler.limit_unacknowledged(&socket, &connection.settings),
            _ => {}
        }
        false
    }

    fn decide(&self, tid: u32, moment: Moment, peer: Option<SocketAddr>, port: Option<SocketAddr>) -> Settings {
        let program = if self.asks.program { proc::program(tid) } else { None };
        let program = program.map(OsStringExt::into_vec).unwrap_or_default();
        let event = Event {
            moment,
            peer: peer.map(|peer| peer.ip()),
            port: port.map(|address| address.port()),
            program: &program,
        };
        decide(self.sources, &event)
    }

    /// A duplicate of a descriptor of thread `tid`.
    fn duplicate(&mut self, tid: u32, fd: i32) -> io::Result<OwnedFd> {
        if let Some(handle) = self.handles.get(&tid) {
            match handle.duplicate(fd) {
                // It has ended, and another thread has its number now.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {}
                duplicate => return duplicate,
            }
        }
        // Before Linux 6.9 there are no handles of threads; nearly all share their process's descriptors.
        let handle = PidFd::open_thread(tid).or_else(|_| PidFd::open(proc::status(tid)?.tgid))?;
        let duplicate = handle.duplicate(fd);
        if self.handles.len() >= MOST_HANDLES {
            self.handles.clear();
        }
        self.handles.insert(tid, handle);
        duplicate
    }
}
