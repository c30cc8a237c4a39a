//! Processes that have an io_uring. No filter sees what a ring does, so the sockets of such a process are looked at from
//! time to time, and those that are new get their settings.

use super::threads::most_handles;
use keepalive_sys::thread::Thread;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that has an io_uring.
pub(super) struct Ring {
    pub(super) pid: u32,
    /// The first thread of the process.
    pub(super) thread: Arc<Thread>,
    /// The sockets, by inode, that need no second look.
    pub(super) done: HashSet<u64>,
    next: Instant,
    pause: Duration,
}

/// The processes that have an io_uring.
#[derive(Default)]
pub(super) struct Rings(Vec<Ring>);

/// The pause before the first look, and after one that found something to do.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause between two looks: the shortest idle time of TCP keepalive.
const LONGEST: Duration = Duration::from_secs(1);
/// How much longer a pause is than the look before it. A process may have very many descriptors.
const SHARE: u32 = 50;
/// The limit of processes that are looked at.
const MOST: usize = 256;

impl Rings {
    /// Schedules a look at the process `pid`, soon.
    pub(super) fn add(&mut self, pid: u32, thread: Arc<Thread>) {
        self.0.retain(|ring| ring.thread.is_alive());
        if let Some(ring) = self.0.iter_mut().find(|ring| ring.pid == pid) {
            return ring.schedule(FIRST);
        }
        if self.0.len() >= MOST.min(most_handles()) {
            return;
        }
        self.0.push(Ring {
            pid,
            thread,
            done: HashSet::new(),
            next: Instant::now() + FIRST,
            pause: FIRST,
        });
    }

    /// Returns the time until the next look; `None` if there is none.
    pub(super) fn pause(&self) -> Option<Duration> {
        let next = self.0.iter().map(|ring| ring.next).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Removes and returns a process whose look is due.
    pub(super) fn take_due(&mut self) -> Option<Ring> {
        let now = (!self.0.is_empty()).then(Instant::now)?;
        let due = self.0.iter().position(|ring| ring.next <= now)?;
        Some(self.0.swap_remove(due))
    }

    /// Schedules the next look, after a look that took `time`; sooner if that found new sockets.
    pub(super) fn check_again(&mut self, mut ring: Ring, has_news: bool, time: Duration) {
        let pause = if has_news { FIRST } else { 2 * ring.pause };
        ring.schedule(pause.min(LONGEST).max(SHARE * time));
        self.0.push(ring);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Ring {
    fn schedule(&mut self, pause: Duration) {
        self.pause = pause;
        self.next = Instant::now() + pause;
    }
}
