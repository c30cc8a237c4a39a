//! Keepalive probes of our own on a program's connection. No option of the program changes at any time: a kill of this command
//! at any moment leaves nothing behind.

use super::Connection;
use super::gaps::{End, Gaps};
use keepalive_policy::SocketOption;
use keepalive_sys::sockopt::{self, Activity, Numbers};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The number of probes for one idle time, of which one must be answered.
const MOST: u32 = 4;
/// The time in which an answer to a probe is expected.
const ANSWER: Duration = Duration::from_secs(1);
/// The time in which an answer to the last probe is expected.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// The period of looks while an answer is expected.
const LOOK: Duration = Duration::from_millis(10);

/// What limits the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restraint {
    /// The kernel refuses a probe without `CAP_NET_ADMIN`.
    Privilege,
    /// A probe would clear `SO_REUSEADDR`, which is set.
    Reuse,
    /// The kernel cannot send one on such a socket.
    Unsupported,
    /// The program's own probes come first, after so many seconds.
    Idle(u32),
}

/// Sends probes as long as they are harmless.
pub(super) struct Asker {
    restraint: Option<Restraint>,
    unanswered: u32,
}

impl Asker {
    pub(super) fn new() -> Self {
        Self {
            restraint: None,
            unanswered: 0,
        }
    }

    /// Returns the longest idle time to try, in seconds: no longer than the time after which the program's own keepalive sends a
    /// probe.
    pub(super) fn longest(&mut self, numbers: &Numbers, max: f64) -> f64 {
        match numbers.get(SocketOption::Idle).filter(|_| numbers.is_on()) {
            Some(idle) if f64::from(idle) <= max => {
                self.restraint = Some(Restraint::Idle(idle));
                f64::from(idle)
            }
            _ => max,
        }
    }

    pub(super) fn restraint(&self) -> Option<Restraint> {
        self.restraint
    }

    /// Returns the number of our probes that got no answer.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Returns whether a probe may be sent now.
    pub(super) fn may_ask(&self, activity: &Activity) -> bool {
        matches!(self.restraint, None | Some(Restraint::Idle(_))) && !activity.is_unacknowledged
    }

    /// Sends probes until one is answered. Returns the end, if none is, or if the connection ends.
    pub(super) fn ask(&mut self, connection: &Connection, gaps: &mut Gaps, start: Instant) -> Option<End> {
        for number in 1..=MOST {
            // Held until the answer: a RST makes the program close its descriptor, and what happened would be gone.
            let Ok(socket) = connection.borrow() else {
                return Some(End::Left);
            };
            if let Err(error) = sockopt::send_probe(&socket) {
                self.restraint = Some(Restraint::of(&error));
                return None;
            }
            self.unanswered = number;
            let limit = if number == MOST { LAST_ANSWER } else { ANSWER };
            let sent = Instant::now();
            while sent.elapsed() < limit {
                // Without the program's descriptor, this one would keep the connection open.
                let is_held = connection.borrow().is_ok();
                let Ok(activity) = sockopt::activity(&socket) else {
                    return Some(End::Left);
                };
                if let Some(end) = gaps.note(start.elapsed(), &activity) {
                    return Some(end);
                }
                if !is_held {
                    return Some(End::Left);
                }
                if gaps.is_settled() {
                    self.unanswered = 0;
                    return None;
                }
                sleep(LOOK);
            }
        }
        gaps.give_up()
    }
}

impl Restraint {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Privilege,
            io::ErrorKind::ResourceBusy => Self::Reuse,
            _ => Self::Unsupported,
        }
    }

    /// Returns why the connection is only watched; `None` if probes are sent.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Privilege => Some("a probe of this command requires CAP_NET_ADMIN (sudo)"),
            Self::Reuse => Some("a probe of this command would clear its SO_REUSEADDR"),
            Self::Unsupported => Some("the kernel sends no probe on such a socket"),
            Self::Idle(_) => None,
        }
    }
}
