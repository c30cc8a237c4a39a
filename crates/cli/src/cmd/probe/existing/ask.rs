//! Sends a keepalive probe of our own on a program's connection, and puts the program's options back.

use super::Connection;
use super::gaps::{End, Gaps};
use keepalive_policy::SocketOption;
use keepalive_sys::sockopt::{self, Activity, Numbers, activity};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The number of probes for one idle time, a second apart, of which one must be answered.
const MOST: u32 = 4;
/// The time in which an answer to a probe is expected.
const ANSWER: Duration = Duration::from_secs(1);
/// The time in which an answer to the last probe is expected.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// The time within which the kernel sends a probe: two ticks, and once more if the program uses the socket at this moment.
const SENDING: Duration = Duration::from_millis(200);
/// The period of looks while a probe is sent or answered.
const LOOK: Duration = Duration::from_millis(2);

/// Why no probe is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restraint {
    /// The program has set `TCP_USER_TIMEOUT`: a probe without an answer lets the kernel end the connection at the next one.
    UserTimeout,
    /// The program's own probes end the connection after so few that none may be used up.
    Count,
    /// The program's own probes come first, after so many seconds.
    Idle(u32),
}

/// Sends probes as long as they are harmless.
pub(super) struct Asker {
    numbers: Numbers,
    /// The number of probes that may stay without an answer.
    budget: u32,
    restraint: Option<Restraint>,
    unanswered: u32,
}

impl Asker {
    /// Decides by the values of the program's options.
    pub(super) fn new(numbers: Numbers) -> Self {
        let count = numbers.get(SocketOption::Count).unwrap_or(0);
        // The kernel counts a probe of ours towards the program's own.
        let budget = MOST.min(count / 2);
        let restraint = match numbers.get(SocketOption::UserTimeout) {
            Some(0) if budget > 0 => None,
            Some(0) => Some(Restraint::Count),
            _ => Some(Restraint::UserTimeout),
        };
        Self {
            numbers,
            budget,
            restraint,
            unanswered: 0,
        }
    }

    /// Returns the longest idle time to try, in seconds: no longer than the time after which the program's own keepalive sends a
    /// probe.
    pub(super) fn longest(&mut self, max: f64) -> f64 {
        let idle = self.numbers.get(SocketOption::Idle).filter(|_| self.numbers.is_on());
        match idle {
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

    /// Returns whether a probe is harmless now.
    pub(super) fn may_ask(&self, activity: &Activity) -> bool {
        let is_watching = matches!(self.restraint, Some(Restraint::UserTimeout | Restraint::Count));
        !is_watching && self.unanswered == 0 && activity.unanswered == 0 && !activity.is_unacknowledged
    }

    /// Sends probes until one is answered. Returns the end, if none is, or if the connection ends.
    pub(super) fn ask(&mut self, connection: &Connection, gaps: &mut Gaps, start: Instant) -> Option<End> {
        for _ in 0..self.budget {
            // Held until the answer: a RST makes the program close its descriptor, and what happened would be gone.
            let Ok(socket) = connection.borrow() else {
                return Some(End::Left);
            };
            match self.is_changed(&socket) {
                Ok(false) => {}
                // The program has set it anew: only watch from now on.
                Ok(true) => {
                    self.restraint.get_or_insert(Restraint::UserTimeout);
                    return None;
                }
                Err(_) => return Some(End::Left),
            }
            if !send_probe(&socket, &self.numbers).unwrap_or(false) {
                return None;
            }
            self.unanswered += 1;
            let limit = if self.unanswered == self.budget {
                LAST_ANSWER
            } else {
                ANSWER
            };
            let sent = Instant::now();
            while sent.elapsed() < limit {
                let Ok(activity) = activity(&socket) else {
                    return Some(End::Left);
                };
                if let Some(end) = gaps.note(start.elapsed(), &activity) {
                    return Some(end);
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

    /// Returns whether the program has changed its options.
    fn is_changed(&self, socket: &OwnedFd) -> io::Result<bool> {
        Ok(sockopt::numbers(socket)? != self.numbers)
    }
}

/// Makes the kernel send one probe now, and puts the program's values back at once, without waiting for the answer. Returns
/// whether a probe was sent.
///
/// The interval and the count stay the program's: while the values are changed, at most this one probe is sent. If this process
/// is killed in these milliseconds, keepalive stays on with an idle time of one second and the program's interval and count.
fn send_probe(socket: &OwnedFd, numbers: &Numbers) -> io::Result<bool> {
    let before = activity(socket)?.segments;
    let restored = Restored { socket, numbers };
    sockopt::set(socket, SocketOption::Keepalive, 1)?;
    // The kernel compares it with the idle time at once, unlike a timer that keepalive starts when it is switched on.
    sockopt::set(socket, SocketOption::Idle, 1)?;
    let start = Instant::now();
    let mut is_sent = false;
    while !is_sent && start.elapsed() < SENDING {
        sleep(LOOK);
        is_sent = activity(socket)?.segments != before;
    }
    drop(restored);
    Ok(is_sent)
}

/// Puts the program's values back when it is dropped.
struct Restored<'a> {
    socket: &'a OwnedFd,
    numbers: &'a Numbers,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let socket = self.socket.as_fd();
        // Switched off first, the timer with the short idle time is gone; a time that the program has set meanwhile stays.
        if !self.numbers.is_on() {
            let _ = sockopt::set(socket, SocketOption::Keepalive, 0);
        }
        if let Some(idle) = self.numbers.get(SocketOption::Idle)
            && matches!(sockopt::get(socket, SocketOption::Idle), Ok(1))
        {
            let _ = sockopt::set(socket, SocketOption::Idle, idle);
        }
    }
}
