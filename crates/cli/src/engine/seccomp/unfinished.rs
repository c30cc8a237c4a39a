//! Connections under way, which get their user timeout when they are complete: before, it would limit connecting.

use keepalive_policy::Settings;
use std::time::{Duration, Instant};

/// A connection under way.
#[derive(Clone, Copy)]
pub(super) struct Connection {
    pub(super) tid: u32,
    pub(super) fd: i32,
    pub(super) cookie: u64,
    pub(super) settings: Settings,
}

/// The connections under way, each with the time to look at it, and how long was waited for that.
#[derive(Default)]
pub(super) struct Unfinished(Vec<(Connection, Instant, Duration)>);

/// A connection on a fast link is complete after this.
const FIRST: Duration = Duration::from_millis(1);
/// The longest time between two looks, which is reached after as long.
const LONGEST: Duration = Duration::from_secs(1);
/// More than so many at a time are not followed.
const MOST: usize = 4096;

impl Unfinished {
    /// Looks at `connection` soon.
    pub(super) fn add(&mut self, connection: Connection) {
        self.wait(connection, FIRST);
    }

    fn wait(&mut self, connection: Connection, pause: Duration) {
        if self.0.len() < MOST {
            self.0.push((connection, Instant::now() + pause, pause));
        }
    }

    /// The time until there is one to look at.
    pub(super) fn pause(&self) -> Option<Duration> {
        let next = self.0.iter().map(|(_, next, _)| *next).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Looks at each whose time has come; those that `look` finds still under way are looked at again, after twice the time.
    /// It is told whether the connection was begun a few seconds ago at most.
    pub(super) fn look(&mut self, mut look: impl FnMut(&Connection, bool) -> bool) {
        if self.0.is_empty() {
            return;
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, next, _)| *next <= now);
        let due: Vec<_> = due;
        self.0 = later;
        for (connection, _, pause) in due {
            if look(&connection, pause < LONGEST) {
                self.wait(connection, (2 * pause).min(LONGEST));
            }
        }
    }
}
