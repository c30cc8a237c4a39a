//! Keepalive probes of our own on a program's connection. No option of the program changes at any time: a kill of this command
//! at any moment leaves nothing behind.

use super::Watch;
use super::gaps::{End, Gaps};
use keepalive_policy::SocketOption;
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{self, Activity, Numbers};
use std::io;
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
    is_confirmed: bool,
}

impl Asker {
    pub(super) fn new() -> Self {
        Self {
            restraint: None,
            unanswered: 0,
            is_confirmed: false,
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

    /// Returns whether a probe had no answer though the peer accepted a new connection before.
    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// Returns whether a probe may be sent now.
    pub(super) fn may_ask(&self, activity: &Activity) -> bool {
        self.restraint.is_none_or(Restraint::allows_probes) && !activity.is_unacknowledged
    }

    /// Sends probes until one is answered. Returns the end, if none is, or if the connection ends.
    pub(super) fn ask(&mut self, watch: &Watch<'_>, gaps: &mut Gaps) -> Option<End> {
        for number in 1..=MOST {
            // Held until the answer: a RST makes the program close its descriptor, and what happened would be gone.
            let Ok(socket) = watch.connection.borrow() else {
                return Some(End::Left);
            };
            gaps.expect_answer();
            if let Err(error) = sockopt::send_probe(&socket) {
                self.restraint = Some(Restraint::of(&error));
                return None;
            }
            self.unanswered = number;
            let limit = if number == MOST { LAST_ANSWER } else { ANSWER };
            let sent = Instant::now();
            while sent.elapsed() < limit {
                // Without the program's descriptor, this one would keep the connection open.
                let is_held = watch.connection.borrow().is_ok();
                let Ok(activity) = sockopt::activity(&socket) else {
                    return Some(End::Left);
                };
                if let Some(end) = gaps.note(watch.now(), &activity) {
                    return Some(end);
                }
                if !is_held {
                    return Some(End::Left);
                }
                if gaps.is_answered() {
                    self.unanswered = 0;
                    return None;
                }
                if watch.wait(LOOK) {
                    return Some(End::Interrupted);
                }
            }
        }
        gaps.give_up()
    }

    /// Sends one more probe, if that is possible, and returns whether there is an answer to anything after all.
    pub(super) fn is_answered_at_last(&mut self, watch: &Watch<'_>, gaps: &mut Gaps) -> bool {
        let is_sent = self.restraint.is_none_or(Restraint::allows_probes)
            && watch.connection.borrow().and_then(sockopt::send_probe).is_ok();
        self.unanswered += u32::from(is_sent);
        let start = Instant::now();
        while start.elapsed() < LAST_ANSWER {
            let Ok(activity) = watch.connection.look() else {
                return false;
            };
            gaps.note(watch.now(), &activity);
            if gaps.is_answered() {
                self.unanswered = 0;
                return true;
            }
            if activity.state != Some(State::Established) || watch.wait(super::LOOK) {
                return false;
            }
        }
        self.is_confirmed = is_sent;
        false
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

    fn allows_probes(self) -> bool {
        matches!(self, Self::Idle(_))
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
