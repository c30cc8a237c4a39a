//! Serves the caught calls: sets the options of each socket, then lets its call continue.
//!
//! A call names a thread by its number. Another thread may have that number once the first has ended. Data
//! found by the number are used only after the kernel has confirmed that the call still waits
//! (`seccomp_unotify(2)`).

mod next_call;
mod ring_sockets;

use self::next_call::NextCall;
use super::memory::Memory;
use super::pair::SupervisorPair;
use super::progress::{Event, Progress, Subject, Watcher};
use super::threads::Threads;
use super::unfinished::Connection;
use super::watch::{MOST_HUNG, STACK};
use crate::applier::{Applier, number};
use keepalive_policy::{Event as Occasion, Keepalive, Mode, Moment, Number, Settings, SocketOption, decide};
use keepalive_sys::seccomp::{Address, Answer, Call, Notification};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::Kind;
use keepalive_sys::thread::Thread;
use keepalive_sys::{memory, proc, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::listen;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

/// Serves the calls of one listener.
pub(super) struct Supervisor<'a> {
    pair: &'a SupervisorPair<'a>,
    memory: &'a Memory,
    progress: &'a Progress,
    watcher: &'a Watcher,
    asks: Asks,
    threads: Threads,
    applier: Applier<'a>,
    next: NextCall,
}

/// What a supervisor must know of a socket before it can apply the policy.
#[derive(Clone, Copy)]
struct Asks {
    /// Whether rules require the peer's address.
    peer: bool,
    /// Whether the supervisor must check that a connect(2) can succeed, since the policy would change values
    /// that the program has set.
    validity: bool,
    program: bool,
}

/// Why the supervisor stopped serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last process under the filter has ended.
    NobodyLeft,
    /// The standby has ended, or this process cannot serve.
    Alone,
}

/// The limit of threads that close files whose close(2) may hang, at a time.
const MOST_CLOSING: usize = 16;

impl<'a> Supervisor<'a> {
    pub(super) fn new(pair: &'a SupervisorPair<'a>, progress: &'a Progress, watcher: &'a Watcher) -> Self {
        let rules = || pair.sources.iter().flat_map(|source| source.rules);
        let is_fill = |settings: Settings| settings.mode.unwrap_or_default() == Mode::Fill;
        let has_rules = rules().next().is_some();
        Self {
            pair,
            memory: &pair.memory,
            progress,
            watcher,
            asks: Asks {
                peer: has_rules,
                validity: has_rules || !pair.sources.iter().all(|source| is_fill(source.default)),
                program: rules().any(|rule| rule.program.is_some()),
            },
            threads: Threads::new(),
            applier: Applier::new(&pair.memory.switched_off),
            next: NextCall::default(),
        }
    }

    /// Serves until no process is left under the filter. Returns `None` when `stop` is signalled or another
    /// thread has replaced this thread.
    pub(super) fn serve_all(&mut self, stop: &Event) -> Option<End> {
        self.pair.listener.wake_here(true);
        while self.progress.is_current() {
            if self.next.is_waiting() {
                self.receive();
            } else {
                let mut fds = [
                    PollFd::new(self.pair.listener, PollFlags::IN),
                    PollFd::new(stop, PollFlags::IN),
                ];
                let pauses = [self.memory.unfinished().pause(), self.memory.rings().pause()];
                let pause = pauses.into_iter().flatten().min();
                let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
                match poll(&mut fds, pause.as_ref()) {
                    Err(Errno::INTR) => continue,
                    // Without poll(2) this process cannot serve. Another process may be able to.
                    Err(_) => return Some(End::Alone),
                    Ok(_) => {}
                }
                let [calls, stop] = fds.map(|fd| fd.revents());
                if !stop.is_empty() {
                    return None;
                }
                if calls.contains(PollFlags::IN) {
                    self.receive();
                } else if calls.contains(PollFlags::HUP) {
                    return Some(End::NobodyLeft);
                }
            }
            self.check_unfinished();
            self.check_rings();
        }
        None
    }

    /// Receives and serves the next call.
    fn receive(&mut self) {
        match self.pair.listener.receive() {
            Ok(call) => {
                self.pair.journal.received(&call);
                self.serve(&call);
            }
            // The caller may have been killed meanwhile.
            Err(_) => self.next.clear(self.pair.listener),
        }
    }

    /// Sets the options that the call requires, and lets it continue.
    pub(super) fn serve(&mut self, call: &Notification) {
        let (id, tid) = (call.id, call.tid);
        self.progress.begin(Subject::Call { id, tid }, self.watcher);
        let answer = self.pair.listener.answer_to_question(call).unwrap_or_else(|| {
            let mut result = self.serve_call(call);
            if result.as_ref().is_err_and(is_full) {
                self.threads.clear();
                self.memory.unfinished().make_room();
                result = self.serve_call(call);
            }
            // After any failure the call continues as without keepalive.
            result.unwrap_or(Answer::Continue)
        });
        self.next.look(self.pair.listener);
        // A caller that has been killed waits for no answer.
        let _ = self.pair.listener.answer(id, answer);
        // Otherwise another thread has answered the call and recorded that.
        if self.progress.end() {
            self.pair.journal.answered(id);
        }
    }

    fn serve_call(&mut self, notification: &Notification) -> io::Result<Answer> {
        let has_too_many_hung = self.memory.hung.load(Ordering::Relaxed) >= MOST_HUNG;
        if has_too_many_hung || self.memory.is_offender(notification.tid) {
            return Ok(Answer::Continue);
        }
        if notification.is_io_uring_setup() {
            let pid = proc::status(notification.tid)?.tgid;
            let thread = Arc::new(Thread::open(pid)?);
            self.confirm(notification)?;
            self.memory.rings().add(pid, thread);
            return Ok(Answer::Continue);
        }
        let Some(call) = Call::read(notification)? else {
            return Ok(Answer::Continue);
        };
        let (thread, socket) = self.duplicate(notification, call.fd())?;
        match sockopt::kind(&socket)? {
            Kind::Tcp(_) => {}
            Kind::OtherSocket => return Ok(Answer::Continue),
            Kind::NoSocket => {
                self.close(socket);
                return Ok(Answer::Continue);
            }
        }
        match call {
            Call::Connect { fd, address } => {
                let caller = Caller { notification, thread };
                self.connect(caller, fd, &socket, address)?;
            }
            Call::Listen { backlog, .. } => self.listen(notification, &socket, backlog)?,
            Call::SetOption {
                level,
                name,
                value,
                length,
                ..
            } => {
                if let (Some(option), true) = (SocketOption::from_number(level, name), length >= 4) {
                    let theirs = memory::read_u32(notification.tid, value)?;
                    return self.set_option(notification, &socket, option, theirs);
                }
            }
        }
        Ok(Answer::Continue)
    }

    fn connect(&mut self, caller: Caller<'_>, fd: i32, socket: &OwnedFd, address: Address) -> io::Result<()> {
        let tid = caller.notification.tid;
        let mut peer = None;
        if self.asks.validity {
            // The kernel fails before it changes anything if the address is invalid or the socket is not fresh.
            peer = address.read(tid, sockopt::is_ipv6(socket)?)?;
            let is_fresh = !matches!(sockopt::state(socket), Ok((state, _)) if state != Some(State::Closed));
            if peer.is_none() || !is_fresh {
                return Ok(());
            }
        }
        let peer = peer.filter(|_| self.asks.peer);
        let settings = self.decide(tid, Moment::Connect, peer, peer);
        // Otherwise nothing was read by the number of the thread.
        if self.asks.validity {
            self.confirm(caller.notification)?;
        }
        self.applier.apply(socket, &settings);
        if settings.written(SocketOption::UserTimeout) != Number::Unset {
            self.memory.unfinished().add(Connection {
                tid,
                thread: caller.thread,
                fd,
                cookie: sockopt::cookie(socket)?,
                settings,
            });
        }
        Ok(())
    }

    fn listen(&mut self, notification: &Notification, socket: &OwnedFd, backlog: i32) -> io::Result<()> {
        let state = sockopt::state(socket).ok().and_then(|(state, _)| state);
        // The kernel refuses listen(2) in any other state.
        if !matches!(state, None | Some(State::Closed | State::Listen)) {
            return Ok(());
        }
        let settings = self.decide(notification.tid, Moment::Listen, None, sockopt::local(socket));
        self.confirm(notification)?;
        let changes = self.applier.apply_to_listener(socket, &settings);
        if changes.must_be_undone() && state != Some(State::Listen) {
            // Only the kernel knows whether the call will succeed. If it does, the program's own call changes
            // nothing more.
            let result = self.confirm(notification).and_then(|()| Ok(listen(socket, backlog)?));
            if result.is_err() {
                self.applier.restore(socket, &changes);
                return Ok(());
            }
        }
        if let Some(local) = sockopt::local(socket) {
            self.memory.add_listening(local.port());
        }
        Ok(())
    }

    /// The program is about to set `option` to `theirs`.
    fn set_option(
        &mut self,
        notification: &Notification,
        socket: &OwnedFd,
        option: SocketOption,
        theirs: u32,
    ) -> io::Result<Answer> {
        let (least, most) = option.row().range;
        let theirs = if option == SocketOption::Keepalive {
            theirs.min(1)
        } else {
            theirs
        };
        if !(least..=most).contains(&theirs) {
            // The program must see the kernel's own error.
            return Ok(Answer::Continue);
        }
        let (local, peer) = (sockopt::local(socket), sockopt::peer(socket));
        let moment = match (peer, local) {
            (Some(_), Some(local)) if self.memory.listens(local.port()) => Moment::Accept,
            (Some(_), _) => Moment::Connect,
            (None, _) if sockopt::state(socket)?.0 == Some(State::Listen) => Moment::Listen,
            (None, _) => Moment::Create,
        };
        let port = match moment {
            Moment::Accept | Moment::Listen => local,
            Moment::Connect | Moment::Create => peer,
        };
        let settings = self.decide(notification.tid, moment, peer, port);
        self.confirm(notification)?;
        if option == SocketOption::Keepalive {
            self.memory.switched_off.note(sockopt::cookie(socket)?, theirs != 0);
        }
        let mode = settings.mode.unwrap_or_default();
        // A rule may set another mode once the peer is known. Before that, a user timeout would limit connecting.
        let is_early = moment == Moment::Create && (self.asks.peer || option == SocketOption::UserTimeout);
        if mode == Mode::Fill || is_early || settings.keepalive == Some(Keepalive::Off) {
            return Ok(Answer::Continue);
        }
        let Some(ours) = number(socket, &settings, option) else {
            return Ok(Answer::Continue);
        };
        let target = mode.resolve(option, ours, theirs);
        if target == theirs {
            return Ok(Answer::Continue);
        }
        // If the kernel refuses the option, it refuses the program's own call too.
        sockopt::set(socket, option, target)?;
        Ok(Answer::Succeed)
    }

    /// Checks the connections in progress whose check is due.
    fn check_unfinished(&mut self) {
        if self.memory.unfinished().is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(waiting) = { self.memory.unfinished().take_due(now) } {
            let connection = &waiting.connection;
            let subject = Subject::Connection {
                thread: connection.thread.clone(),
                tid: connection.tid,
            };
            self.progress.begin(subject, self.watcher);
            let is_under_way = self.is_under_way(connection, waiting.is_early());
            let is_current = self.progress.end();
            if is_under_way {
                self.memory.unfinished().check_again(waiting);
            }
            if !is_current {
                return;
            }
        }
    }

    /// Returns whether `connection` is not complete yet. Sets the user timeout of a complete connection.
    fn is_under_way(&mut self, connection: &Connection, is_early: bool) -> bool {
        if self.memory.is_offender(connection.tid) {
            return false;
        }
        let duplicate = match connection.thread.duplicate(connection.fd) {
            Err(error) if is_full(&error) => {
                self.threads.clear();
                connection.thread.duplicate(connection.fd)
            }
            duplicate => duplicate,
        };
        let Ok(socket) = duplicate else {
            return false;
        };
        if !matches!(sockopt::kind(&socket), Ok(Kind::Tcp(_))) {
            self.close(socket);
            return false;
        }
        if sockopt::cookie(&socket).ok() != Some(connection.cookie) {
            return false;
        }
        match sockopt::state(&socket) {
            Ok((Some(State::SynSent), _)) => return true,
            // The call was allowed to continue, but its thread may not have run yet.
            Ok((Some(State::Closed), _)) => return is_early,
            Ok((Some(State::Established), _)) => self.applier.limit_unacknowledged(&socket, &connection.settings),
            _ => {}
        }
        false
    }

    fn decide(&self, tid: u32, moment: Moment, peer: Option<SocketAddr>, port: Option<SocketAddr>) -> Settings {
        // Reading the program's name may hang; another thread watches this thread.
        let program = if self.asks.program {
            proc::program_from_any_memory(tid)
        } else {
            None
        };
        let program = program.map(OsStringExt::into_vec).unwrap_or_default();
        let event = Occasion {
            moment,
            peer: peer.map(|peer| peer.ip()),
            port: port.map(|address| address.port()),
            program: &program,
        };
        decide(self.pair.sources, &event)
    }

    /// Returns the calling thread, and a duplicate of its descriptor `fd`. A thread that was held before the call and has
    /// not ended is the calling thread: no other thread can have had its number meanwhile.
    fn duplicate(&mut self, notification: &Notification, fd: i32) -> io::Result<(Arc<Thread>, OwnedFd)> {
        let tid = notification.tid;
        if let Some(thread) = self.threads.find(tid) {
            match thread.duplicate(fd) {
                // The remembered thread has ended, and another thread has its number now.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {}
                duplicate => return Ok((thread.clone(), duplicate?)),
            }
        }
        let thread = Arc::new(Thread::open(tid)?);
        self.confirm(notification)?;
        self.threads.hold(tid, thread.clone());
        let duplicate = thread.duplicate(fd)?;
        Ok((thread, duplicate))
    }

    /// Confirms that the call still waits, so that everything found by the number of its thread belongs to
    /// that thread.
    fn confirm(&self, notification: &Notification) -> io::Result<()> {
        if self.pair.listener.is_waiting(notification.id) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    }

    /// Closes a duplicate that is not a socket. A file's server may delay its close(2); no other call has to
    /// wait for that.
    fn close(&self, file: OwnedFd) {
        let closing = self.memory.closing.clone();
        if closing.load(Ordering::Relaxed) >= MOST_CLOSING {
            return;
        }
        closing.fetch_add(1, Ordering::Relaxed);
        let close = move || {
            drop(file);
            closing.fetch_sub(1, Ordering::Relaxed);
        };
        // If no thread can be started, this thread closes the file.
        if thread::Builder::new().stack_size(STACK).spawn(close).is_err() {
            self.memory.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The caller of a caught call.
struct Caller<'a> {
    notification: &'a Notification,
    thread: Arc<Thread>,
}

/// Returns whether the limit of descriptors is reached, in this process or on this machine.
fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
