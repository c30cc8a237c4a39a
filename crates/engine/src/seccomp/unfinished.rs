//! Connections under way, which get their user timeout when they are complete: before, it would limit connecting.

use super::threads::most_handles;
use keepalive_policy::Settings;
use keepalive_sys::thread::Thread;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection under way.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) tid: u32,
    /// The thread that connects. By its number another one could be found later.
    pub(super) thread: Arc<Thread>,
    pub(super) fd: i32,
    pub(super) cookie: u64,
    pub(super) settings: Settings,
}

/// A connection, when to look at it, and how long was waited for that.
pub(super) struct Waiting {
    pub(super) connection: Connection,
    next: Instant,
    pause: Duration,
}

/// The connections under way, the next to look at first.
#[derive(Default)]
pub(super) struct Unfinished(BinaryHeap<Waiting>);

/// A connection on a fast link is complete after this.
const FIRST: Duration = Duration::from_millis(1);
/// The longest time between two looks, which is reached after as long.
const LONGEST: Duration = Duration::from_secs(1);
/// More than so many at a time are not followed.
const MOST: usize = 4096;

impl Waiting {
    /// Whether the connection was begun a few seconds ago at most.
    pub(super) fn is_early(&self) -> bool {
        self.pause < LONGEST
    }
}

impl Unfinished {
    /// Looks at `connection` soon.
    pub(super) fn add(&mut self, connection: Connection) {
        // Each thread costs descriptors, of which this process has not always enough for so many.
        let most = most_handles();
        if self.0.len() >= most && self.threads() >= most {
            self.0.retain(|waiting| waiting.connection.thread.is_alive());
            if self.threads() >= most {
                return;
            }
        }
        self.wait(connection, FIRST);
    }

    /// Looks again, after twice the time.
    pub(super) fn look_again(&mut self, waiting: Waiting) {
        self.wait(waiting.connection, (2 * waiting.pause).min(LONGEST));
    }

    fn wait(&mut self, connection: Connection, pause: Duration) {
        if self.0.len() < MOST {
            let next = Instant::now() + pause;
            self.0.push(Waiting {
                connection,
                next,
                pause,
            });
        }
    }

    fn threads(&self) -> usize {
        let threads: HashSet<_> = self
            .0
            .iter()
            .map(|waiting| Arc::as_ptr(&waiting.connection.thread))
            .collect();
        threads.len()
    }

    /// The time until there is one to look at.
    pub(super) fn pause(&self) -> Option<Duration> {
        let next = self.0.peek()?.next;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Takes the first, if its time has come before `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Waiting> {
        self.0.peek().filter(|waiting| waiting.next <= now)?;
        self.0.pop()
    }

    /// Gives descriptors back: forgets the connections of threads that have ended, or where there are none such, all.
    pub(super) fn make_room(&mut self) {
        let before = self.0.len();
        self.0.retain(|waiting| waiting.connection.thread.is_alive());
        if self.0.len() == before {
            self.0.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The greatest is the next.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        other.next.cmp(&self.next)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next
    }
}

impl Eq for Waiting {}
