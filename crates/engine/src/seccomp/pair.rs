//! Two processes that keep each other company: one serves, the other takes over when it is killed or stopped. Without
//! anybody to serve them, the calls of all processes under the filter would fail.

use super::journal::Journal;
use super::memory::Memory;
use super::proxy::{NOBODY_LEFT, SIGNALS};
use super::send;
use super::supervisor::End;
use super::watch::Watch;
use keepalive_policy::Source;
use keepalive_sys::fork::{Side, exit_now, fork};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::seccomp::{Answer, Listener};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process, waitid};
use std::sync::atomic::Ordering;
use std::thread::{self, Scope, sleep};
use std::time::Duration;

/// The processes that serve a listener, one at a time.
pub(super) struct SupervisorPair<'a> {
    pub(super) listener: &'a Listener,
    pub(super) journal: Journal,
    pub(super) sources: &'a [Source<'a>],
    pub(super) memory: Memory,
    /// The command, where it is a descendant of theirs.
    command: Option<(ChildWatch<'a>, &'a PidFd)>,
}

/// What a supervisor needs that has children which are not its own work: the command, and what that has left behind.
#[derive(Clone, Copy)]
pub(super) struct ChildWatch<'a> {
    /// Where the end of children arrives.
    pub(super) signals: &'a SignalFd,
    /// Where to tell how the command ended.
    pub(super) told: &'a OwnedFd,
    /// The process that stands in for the command, for its child, which gets SIGCHLD when it ends.
    pub(super) proxy: Option<Pid>,
}

/// What this process does.
enum Role {
    /// It serves, and the other stands by.
    Serving { standby: PidFd },
    /// The other serves, a child of this one.
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

    /// The same, for a command that is a descendant.
    pub(super) fn with_child_watch(self, child_watch: ChildWatch<'a>, command: &'a PidFd) -> Self {
        Self {
            command: Some((child_watch, command)),
            ..self
        }
    }

    /// Serves until the last process under the filter has ended.
    pub(super) fn begin(&self) -> ! {
        self.run(self.divide())
    }

    /// Serves, while the process behind `standby`, the parent, stands by.
    pub(super) fn serve(&self, standby: PidFd) -> ! {
        self.run(Role::Serving { standby })
    }

    /// Stands by while the child `serving` serves.
    pub(super) fn stand_by(&self, serving: Pid) -> ! {
        self.run(Role::StandingBy { serving })
    }

    fn run(&self, role: Role) -> ! {
        thread::scope(|scope| self.run_in(scope, role));
        exit_now(1)
    }

    /// Does not return.
    fn run_in<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, mut role: Role) {
        // Another process may have what this one lacks.
        let mut watch = Watch::new(scope, self).unwrap_or_else(|_| exit_now(1));
        loop {
            match role {
                Role::Serving { standby } => {
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
                    if self.has_finished(serving) {
                        exit_now(0);
                    }
                    self.rescue();
                }
            }
            role = self.divide();
        }
    }

    /// Makes this process the standby of a new one.
    fn divide(&self) -> Role {
        let own = PidFd::open(std::process::id());
        // A new process would not be above the command, and could not look into it. Alone rather than not at all: this
        // process stands by for itself, as it were.
        let side = if self.command.is_some() { None } else { self.fork() };
        match (side, own) {
            (Some(Side::Parent(serving)), _) => Role::StandingBy { serving },
            (Some(Side::Child) | None, Ok(standby)) => Role::Serving { standby },
            (_, Err(_)) => exit_now(1),
        }
    }

    /// A copy of this process, where it has one thread.
    fn fork(&self) -> Option<Side> {
        /// A thread that was waited for is still counted, for a moment.
        const ATTEMPTS: u32 = 100;
        for _ in 0..ATTEMPTS {
            match fork() {
                Ok(side) => return Some(side),
                // It may be one that hangs.
                Err(_) if self.memory.hung.load(Ordering::Relaxed) > 0 => return None,
                Err(_) => sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Takes care of the call that a process had received when it was killed.
    fn rescue(&self) {
        /// So many callers in a row may have been killed while they waited.
        const MOST_KILLED: u64 = 4096;
        let answered = match self.journal.unanswered() {
            Ok(call) => {
                // The next process serves it. One that has ended two of them may be what ends them.
                if self.journal.is_repeated(call.id) {
                    let _ = self.listener.answer(call.id, Answer::Continue);
                    self.journal.answered(call.id);
                }
                return;
            }
            Err(answered) => answered,
        };
        // It may have been killed before it could note the call: then that is one of the next.
        for next in 1..=MOST_KILLED {
            match self.listener.answer(answered.wrapping_add(next), Answer::Continue) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
                // It goes on; or nobody has received this one yet, nor any behind it.
                _ => return,
            }
        }
    }

    /// Where children end: takes leave of them, and tells how the command ended.
    fn reap(&self) {
        let Some((child_watch, _)) = self.command else { return };
        while child_watch.signals.next().is_some() {}
        self.follow_proxy();
        self.tell_end(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        while let Ok(Some(_)) = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {}
    }

    /// Whether the last process under the filter has ended.
    fn is_over(&self) -> bool {
        let mut fds = [PollFd::new(self.listener, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|_| fds[0].revents().contains(PollFlags::HUP))
    }

    /// Kills the command where the process that stands in for it was killed: that was meant for the command.
    fn follow_proxy(&self) {
        if let Some((child_watch, command)) = self.command
            && child_watch.proxy.is_some_and(|proxy| getppid() != Some(proxy))
        {
            // It may have ended already, and the other one therefore.
            let _ = command.signal(Signal::KILL.as_raw());
        }
    }

    /// Tells how the command ended, if it is a child of this process and has ended.
    fn tell_end(&self, options: WaitIdOptions) {
        let Some((child_watch, command)) = self.command else {
            return;
        };
        if let Ok(Some(status)) = waitid(WaitId::PidFd(command.as_fd()), options) {
            let status = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => status,
                (None, signal) => SIGNALS + signal.unwrap_or(0),
            };
            send(child_watch.told, status + if self.is_over() { NOBODY_LEFT } else { 0 });
        }
    }

    /// Waits until the process that serves has ended, and ends it where it was stopped. Gives whether it had nobody left to
    /// serve.
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
            // One of its threads that hangs may keep it from ending for ever: it is enough that its first one has.
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
