//! A pair of supervisors: one process serves, and the other takes over if the first is killed or stopped.
//! Without a supervisor, the caught calls of all processes under the filter would fail.

use super::channel::send;
use super::journal::Journal;
use super::memory::Memory;
use super::proxy::{NOBODY_LEFT, SIGNALS};
use super::supervisor::End;
use super::watch::Watch;
use keepalive_policy::Source;
use keepalive_sys::fork::{Side, exit_now, fork};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::seccomp::{Answer, Listener, Notification};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process, waitid};
use std::sync::atomic::Ordering;
use std::thread::{self, Scope, sleep};
use std::time::Duration;

/// The two processes that serve a listener, one at a time.
pub(super) struct SupervisorPair<'a> {
    pub(super) listener: &'a Listener,
    pub(super) journal: Journal,
    pub(super) sources: &'a [Source<'a>],
    pub(super) memory: Memory,
    /// The command, if it is a descendant of the supervisors.
    command: Option<(ChildWatch<'a>, &'a PidFd)>,
}

/// What a supervisor needs in order to watch children that it did not start itself: the command and the
/// orphans that the command leaves.
#[derive(Clone, Copy)]
pub(super) struct ChildWatch<'a> {
    /// Receives a signal when a child ends.
    pub(super) signals: &'a SignalFd,
    /// The socket to which the supervisor reports how the command ended.
    pub(super) status: &'a OwnedFd,
    /// The proxy. Its child gets SIGCHLD when the proxy ends.
    pub(super) proxy: Option<Pid>,
}

/// The role of this process.
enum Role {
    /// This process serves; the other is the standby.
    Serving { standby: PidFd },
    /// This process is the standby; its child serves.
    StandingBy { serving: Pid },
}

impl<'a> SupervisorPair<'a> {
    pub(super) fn new(listener: &'a Listener, journal: Journal, sources: &'a [Source<'a>]) -> Self {
        Self {
            listener,
            journal,
            sources,
            memory: Memory::default(),
            command: None,
        }
    }

    /// Returns the pair for a command that is a descendant.
    pub(super) fn with_child_watch(self, child_watch: ChildWatch<'a>, command: &'a PidFd) -> Self {
        Self {
            command: Some((child_watch, command)),
            ..self
        }
    }

    /// Serves until the last process under the filter has ended. The parent, behind `standby`, is the standby.
    pub(super) fn serve(&self, standby: PidFd) -> ! {
        // The first call is the command's question whether the supervisors are ready. The command starts while this process
        // starts its threads.
        let _ = poll(&mut [PollFd::new(self.listener, PollFlags::IN)], None);
        if !self.is_over() {
            self.let_next_continue();
        }
        self.run(Role::Serving { standby })
    }

    /// Acts as the standby while the child `serving` serves.
    pub(super) fn stand_by(&self, serving: Pid) -> ! {
        self.run(Role::StandingBy { serving })
    }

    fn run(&self, role: Role) -> ! {
        thread::scope(|scope| self.run_in(scope, role));
        exit_now(1)
    }

    /// Does not return.
    fn run_in<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, mut role: Role) {
        let mut watch = None;
        loop {
            match role {
                Role::Serving { standby } => {
                    let watch = match &mut watch {
                        Some(watch) => watch,
                        none => match Watch::new(scope, self) {
                            Ok(new) => none.insert(new),
                            Err(_) => self.let_all_continue(),
                        },
                    };
                    self.journal.set_hung(self.memory.hung.load(Ordering::Relaxed));
                    let first = self.journal.unanswered().ok();
                    let children = self.command.map(|(child_watch, _)| child_watch.signals);
                    let end = watch.serve(&standby, children, first, || self.reap());
                    if end == End::NobodyLeft {
                        self.tell_end(WaitIdOptions::EXITED);
                        exit_now(0);
                    }
                }
                Role::StandingBy { serving } => {
                    self.memory.clear();
                    if self.has_finished(serving) || self.is_over() {
                        exit_now(0);
                    }
                    self.rescue();
                }
            }
            role = self.divide();
        }
    }

    /// Makes this process the standby of a new process.
    fn divide(&self) -> Role {
        let own = PidFd::open(std::process::id());
        // A new process would not be above the command, and would have no access to it. The process then
        // serves alone, without a standby.
        let side = if self.command.is_some() { None } else { self.fork() };
        match (side, own) {
            (Some(Side::Parent(serving)), _) => Role::StandingBy { serving },
            (Some(Side::Child) | None, Ok(standby)) => Role::Serving { standby },
            (_, Err(_)) => self.let_all_continue(),
        }
    }

    /// Forks this process if it has only one thread.
    fn fork(&self) -> Option<Side> {
        /// The kernel still counts a joined thread for a short time.
        const ATTEMPTS: u32 = 100;
        for _ in 0..ATTEMPTS {
            match fork() {
                Ok(side) => return Some(side),
                // The additional thread may be a hung thread, which does not end.
                Err(_) if self.memory.hung.load(Ordering::Relaxed) > 0 => return None,
                Err(_) => sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Answers the call that a process had received when it was killed.
    fn rescue(&self) {
        /// The limit of consecutive callers that may have been killed while they waited.
        const MOST_KILLED: u64 = 4096;
        let answered = match self.journal.unanswered() {
            Ok(call) => {
                // The next process serves the call. A call that has ended two processes may be the cause, so
                // it is not served again.
                if self.journal.is_repeated(call.id) {
                    let _ = self.listener.answer(call.id, Answer::Continue);
                    self.journal.answered(call.id);
                }
                return;
            }
            Err(answered) => answered,
        };
        // The process may have been killed before it recorded the call: then the call has one of the next numbers.
        for next in 1..=MOST_KILLED {
            match self.listener.answer(answered.wrapping_add(next), Answer::Continue) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
                // The caller continues; or neither this call nor a later one has been received.
                _ => return,
            }
        }
    }

    /// Lets the next call continue unchanged, and waits for it.
    pub(super) fn let_next_continue(&self) {
        if let Ok(call) = self.listener.receive() {
            self.journal.received(&call);
            self.let_continue(&call);
        }
    }

    /// Lets all calls continue unchanged, until the last process under the filter has ended: for a process that lacks what
    /// serving requires, such as descriptors.
    fn let_all_continue(&self) -> ! {
        /// The pause after a failure.
        const PAUSE: Duration = Duration::from_millis(250);
        loop {
            let mut fds = [PollFd::new(self.listener, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) if fds[0].revents().contains(PollFlags::IN) => self.let_next_continue(),
                Ok(_) if fds[0].revents().contains(PollFlags::HUP) => {
                    self.tell_end(WaitIdOptions::EXITED);
                    exit_now(0)
                }
                _ => sleep(PAUSE),
            }
        }
    }

    /// Lets a call continue unchanged.
    pub(super) fn let_continue(&self, call: &Notification) {
        let answer = self.listener.answer_to_question(call).unwrap_or(Answer::Continue);
        let _ = self.listener.answer(call.id, answer);
        self.journal.answered(call.id);
    }

    /// Waits for children that have ended, and reports how the command ended.
    fn reap(&self) {
        let Some((child_watch, _)) = self.command else { return };
        while child_watch.signals.next().is_some() {}
        self.follow_proxy();
        self.tell_end(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        while let Ok(Some(_)) = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {}
    }

    /// Returns whether the last process under the filter has ended.
    fn is_over(&self) -> bool {
        let mut fds = [PollFd::new(self.listener, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|_| fds[0].revents().contains(PollFlags::HUP))
    }

    /// Kills the command if its proxy was killed: the signal was meant for the command.
    fn follow_proxy(&self) {
        if let Some((child_watch, command)) = self.command
            && child_watch.proxy.is_some_and(|proxy| getppid() != Some(proxy))
        {
            // The command may have ended already, and the proxy with it.
            let _ = command.signal(Signal::KILL.as_raw());
        }
    }

    /// Reports how the command ended, if the command is a child of this process and has ended.
    fn tell_end(&self, options: WaitIdOptions) {
        let Some((child_watch, command)) = self.command else {
            return;
        };
        if let Ok(Some(status)) = waitid(WaitId::PidFd(command.as_fd()), options) {
            let status = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => status,
                (None, signal) => SIGNALS + signal.unwrap_or(0),
            };
            send(
                child_watch.status,
                status + if self.is_over() { NOBODY_LEFT } else { 0 },
            );
        }
    }

    /// Waits until the serving process has ended; kills it if it was stopped. Returns whether it ended
    /// because no process was left under the filter.
    fn has_finished(&self, serving: Pid) -> bool {
        let signals = SignalFd::children().ok();
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
            let options = match &signals {
                Some(_) => options | WaitIdOptions::NOHANG,
                None => options,
            };
            match waitid(WaitId::Pid(serving), options) {
                Ok(Some(status)) if status.stopped() => {
                    let _ = kill_process(serving, Signal::KILL);
                    continue;
                }
                Ok(Some(status)) => return status.exit_status() == Some(0),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => return false,
            }
            self.follow_proxy();
            // A hung thread may keep the process from ending. The end of its main thread is sufficient.
            let has_hung = self.journal.has_hung();
            let pid = serving.as_raw_nonzero().get().cast_unsigned();
            if has_hung && matches!(proc::thread_state(pid, pid), Some('Z' | 'X')) {
                return false;
            }
            if let Some(signals) = &signals {
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], has_hung.then_some(&second));
                while signals.next().is_some() {}
            }
        }
    }
}
