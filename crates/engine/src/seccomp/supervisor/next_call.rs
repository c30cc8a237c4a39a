//! Whether another call waits while one is served.
//!
//! While a received call is unanswered, poll(2) of the listener stops at the first call that waits. Otherwise it looks at all
//! of them (`seccomp_notify_poll` in the kernel's `kernel/seccomp.c`), so that a call would take time for each thread
//! that waits.

use keepalive_sys::seccomp::Listener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is known of the next call.
#[derive(Default)]
pub(super) struct NextCall {
    /// How many calls were served.
    served: u32,
    is_waiting: bool,
}

impl NextCall {
    /// How often to look if no other call waited the last time.
    const OFTEN: u32 = 32;
    /// After this many calls the supervisor checks its other reasons to wake, too.
    const MOST: u32 = 256;

    /// Returns whether a call was seen to wait, so that [`Listener::receive`] does not.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Looks whether a call waits, before the last one is answered.
    pub(super) fn look(&mut self, listener: &Listener) {
        self.served = self.served.wrapping_add(1);
        let looks = if self.is_waiting {
            !self.served.is_multiple_of(Self::MOST)
        } else {
            self.served.is_multiple_of(Self::OFTEN)
        };
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_waiting = looks && poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::IN);
        self.set(listener, is_waiting);
    }

    /// Records that the call that was seen has ended.
    pub(super) fn clear(&mut self, listener: &Listener) {
        self.set(listener, false);
    }

    /// A caller that is woken on this processor waits until the supervisor sleeps. If there is a next call, that takes long,
    /// and the kernel searches for each call among the answered ones, too.
    fn set(&mut self, listener: &Listener, is_waiting: bool) {
        if self.is_waiting != is_waiting {
            listener.wake_here(!is_waiting);
        }
        self.is_waiting = is_waiting;
    }
}
