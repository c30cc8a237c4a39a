//! Two processes that keep each other company: one serves, the other takes over when it is killed or stopped. Without
//! anybody to serve them, the calls of all processes under the filter would fail.

use super::supervisor::{End, Supervisor};
use keepalive_linux::fork::{Shared, Side, exit_now, fork};
use keepalive_linux::pidfd::PidFd;
use keepalive_linux::seccomp::{Answer, Listener, Notification};
use keepalive_policy::Source;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io;
use std::sync::atomic::Ordering;

/// The call that was received last and the number of the one that was answered last, in memory that both processes see.
#[derive(Clone, Copy)]
pub(super) struct Journal(Shared<11>);

impl Journal {
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        Shared::new().map(Self)
    }

    pub(super) fn received(self, call: &Notification) {
        let [a, b, c, d, e, f] = call.arguments;
        let words = [
            call.id,
            call.tid.into(),
            call.arch.into(),
            call.number.into(),
            a,
            b,
            c,
            d,
            e,
            f,
        ];
        let [id, rest @ ..] = words;
        let [received, slots @ .., _] = self.0.numbers();
        for (slot, word) in slots.iter().zip(rest) {
            slot.store(word, Ordering::Relaxed);
        }
        // Last: who sees the number sees the rest.
        received.store(id, Ordering::Release);
    }

    pub(super) fn answered(self, id: u64) {
        let [.., answered] = self.0.numbers();
        answered.store(id, Ordering::Release);
    }

    /// The call that was received and not answered, if there is one; else the number of the last.
    fn unanswered(self) -> Result<Notification, u64> {
        let [received, .., answered] = self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        if received == answered {
            return Err(answered);
        }
        let [id, tid, arch, number, a, b, c, d, e, f, _] =
            self.0.numbers().each_ref().map(|word| word.load(Ordering::Acquire));
        // They were 32 bits wide.
        let [tid, arch, number] = [tid, arch, number].map(|word| word as u32);
        Ok(Notification {
            id,
            tid,
            arch,
            number,
            arguments: [a, b, c, d, e, f],
        })
    }
}

/// Serves the call that a process had received when it was killed.
fn rescue(listener: &Listener, journal: Journal, sources: &[Source<'_>]) {
    /// So many callers in a row may have been killed while they waited.
    const MOST_KILLED: u64 = 4096;
    let answered = match journal.unanswered() {
        Ok(call) => {
            Supervisor::new(sources, listener, journal).serve(&call);
            return;
        }
        Err(answered) => answered,
    };
    // It may have been killed before it could note the call: then that is one of the next.
    for next in 1..=MOST_KILLED {
        match listener.answer(answered.wrapping_add(next), Answer::Continue) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
            // It goes on; or nobody has received this one yet, nor any behind it.
            _ => return,
        }
    }
}

/// What this process does.
enum Role {
    /// It serves, and the other stands by.
    Serving { standby: PidFd },
    /// The other serves, a child of this one.
    StandingBy { serving: Pid },
}

/// Serves `listener` until the last process under the filter has ended.
pub(super) fn guard(listener: &Listener, journal: Journal, sources: &[Source<'_>]) -> ! {
    let mut role = divide();
    loop {
        match role {
            Role::Serving { standby } => {
                if Supervisor::new(sources, listener, journal).serve_all(&standby) == End::NobodyLeft {
                    exit_now(0);
                }
            }
            Role::StandingBy { serving } => {
                if has_finished(serving) {
                    exit_now(0);
                }
                rescue(listener, journal, sources);
            }
        }
        role = divide();
    }
}

/// Makes this process the standby of a new one.
fn divide() -> Role {
    let own = PidFd::open(std::process::id());
    match (fork(), own) {
        (Ok(Side::Parent(serving)), _) => Role::StandingBy { serving },
        (Ok(Side::Child), Ok(standby)) => Role::Serving { standby },
        // Alone rather than not at all: this process stands by for itself, as it were.
        (Err(_), Ok(standby)) => Role::Serving { standby },
        (_, Err(_)) => exit_now(1),
    }
}

/// Waits until the process that serves has ended, and ends it where it was stopped. Gives whether it had nobody left to
/// serve.
fn has_finished(serving: Pid) -> bool {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
        match waitid(WaitId::Pid(serving), options) {
            Ok(Some(status)) if status.stopped() => {
                let _ = kill_process(serving, Signal::KILL);
            }
            Ok(Some(status)) => return status.exit_status() == Some(0),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
