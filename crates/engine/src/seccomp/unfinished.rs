//! Connections in progress. Each gets its user timeout when it is complete: earlier, the timeout would limit
//! connecting.

use super::threads::most_handles;
use keepalive_policy::Settings;
use keepalive_sys::thread::Thread;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection in progress.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) tid: u32,
    /// The thread that connects. Its number alone could later name another thread.
    pub(super) thread: Arc<Thread>,
    pub(super) fd: i32,
    pub(super) cookie: u64,
    pub(super) settings: Settings,
}

/// A connection, the time of its next check, and the pause before that check.
pub(super) struct Waiting {
    pub(super) connection: Connection,
    next: Instant,
    pause: Duration,
}

/// The connections in progress; the next to check comes first.
#[derive(Default)]
pub(super) struct Unfinished(BinaryHeap<Waiting>);

/// The pause before the first check: a connection on a fast link is complete by then.
const FIRST: Duration = Duration::from_millis(1);
/// The longest pause between two checks. A connection's pauses reach this value after about the same time.
const LONGEST: Duration = Duration::from_secs(1);
/// The limit of connections that are tracked at a time.
const MOST: usize = 4096;

impl Waiting {
    /// Returns whether the connection began at most a few seconds ago.
    pub(super) fn is_early(&self) -> bool {
        self.pause < LONGEST
    }
}

impl Unfinished {
    /// Schedules a check of `connection` soon.
    pub(super) fn add(&mut self, connection: Connection) {
        // Each thread uses descriptors, and this process may not have enough for the maximum.
        let most = most_handles();
        if self.0.len() >= most && self.threads() >= most {
            self.0.retain(|waiting| waiting.connection.thread.is_alive());
            if self.threads() >= most {
                return;
            }
        }
        self.wait(connection, FIRST);
    }

    /// Schedules the next check, after twice the pause.
    pub(super) fn check_again(&mut self, waiting: Waiting) {
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

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the time until the next check; `None` if there is none.
    pub(super) fn pause(&self) -> Option<Duration> {
        let next = self.0.peek()?.next;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Removes and returns the first connection, if its check is due before `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Waiting> {
        self.0.peek().filter(|waiting| waiting.next <= now)?;
        self.0.pop()
    }

    /// Frees descriptors: drops the connections of threads that have ended; if there are none, drops all connections.
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

/// The greatest element is the next to check.
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
