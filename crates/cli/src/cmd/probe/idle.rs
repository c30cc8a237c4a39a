//! An idle connection, and its end.

use super::path::{PATIENCE, ask};
use super::search::{Outcome, Trial};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{Activity, activity};
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// If this many probes of the control connection are answered, but none of another connection, that
/// connection counts as unanswered. With a loss of every fourth packet in both directions, this happens to
/// one connection in a thousand by chance.
const ANSWERS: u32 = 6;
/// A sufficient number if the control connection loses no probe, at intervals of about a second, after this
/// time: five probes.
const ANSWERS_WITHOUT_LOSS: u32 = 4;
const WITHOUT_LOSS: Duration = Duration::from_millis(4500);
/// The limit of probes on a tested connection, a second apart: more than the time for as many answers on the
/// control connection.
const PROBES: u32 = 60;
/// The time for which the kernel repeats a handshake (`net.ipv4.tcp_synack_retries`), which is not data of
/// the server.
const HANDSHAKE: Duration = Duration::from_secs(35);
/// The kernel counts in ticks of up to 10 ms.
const TICK: Duration = Duration::from_millis(15);

/// Packets so shortly before the end belong to the end.
const LAST_WORD: Duration = Duration::from_millis(500);

/// An idle connection.
pub(super) struct Idle {
    pub(super) stream: TcpStream,
    /// The idle time before the test.
    wanted: Duration,
    /// The time of the last check, and the number of segments at that time.
    seen: (Instant, u32),
    /// The time of the last packet.
    quiet: Instant,
    /// The previous value of `quiet`: a connection may end with a last packet.
    before: Instant,
    pub(super) asked: Option<Asked>,
    opened: Instant,
    /// Whether the server has sent data.
    has_data: bool,
}

/// A test, and the idle time of the connection before it.
pub(super) struct Asked {
    at: Instant,
    pub(super) idle: Duration,
    /// The number of answered probes on the control connection at that time.
    answers: u32,
}

impl Asked {
    /// Returns whether no answer is expected any more; `answers` is the number of answered probes on the
    /// control connection.
    fn is_overdue(&self, answers: u32) -> bool {
        let answers = answers.wrapping_sub(self.answers);
        let elapsed = self.at.elapsed();
        // The kernel's second is slightly longer.
        let without_loss = Duration::from_millis(1050) * (answers + 1);
        answers >= ANSWERS || answers >= ANSWERS_WITHOUT_LOSS && (WITHOUT_LOSS..without_loss).contains(&elapsed)
    }
}

impl Idle {
    pub(super) fn new(stream: TcpStream, wanted: Duration) -> Self {
        Self {
            stream,
            wanted,
            seen: (Instant::now(), 0),
            quiet: Instant::now(),
            before: Instant::now(),
            asked: None,
            opened: Instant::now(),
            has_data: false,
        }
    }

    /// Returns the time after `start` of the round by which the connection must have been idle for long
    /// enough, whatever was repeated at its beginning.
    pub(super) fn deadline(&self, start: Instant) -> Duration {
        let begin = if self.has_data { PATIENCE } else { HANDSHAKE };
        self.opened.duration_since(start) + self.wanted.mul_f64(1.25) + begin
    }

    /// Returns the time until the connection has been idle for long enough.
    pub(super) fn rest(&self) -> Duration {
        self.wanted.saturating_sub(self.is_idle_for())
    }

    fn is_idle_for(&self) -> Duration {
        self.quiet.elapsed()
    }

    /// Records packets. A segment without a meaning for this end, such as a repeated part of the handshake,
    /// still counts for a middlebox.
    fn note(&mut self, activity: &Activity) {
        let now = Instant::now();
        let (at, segments) = self.seen;
        let is_hidden = segments != activity.segments && activity.since_packet > at.elapsed() + TICK;
        let last = if is_hidden {
            now
        } else {
            now.checked_sub(activity.since_packet).unwrap_or(now)
        };
        if last > self.quiet + TICK {
            self.before = self.quiet;
        }
        self.quiet = self.quiet.max(last);
        self.seen = (now, activity.segments);
        self.has_data = activity.has_data;
    }

    /// Sends the test probe; `answers` is the number of answered probes on the control connection.
    pub(super) fn ask(&mut self, answers: u32) {
        if let Ok(activity) = activity(&self.stream) {
            self.note(&activity);
        }
        self.asked = Some(Asked {
            at: Instant::now(),
            idle: self.is_idle_for(),
            answers,
        });
        // A socket that has died meanwhile cannot send the probe, and is detected later.
        let _ = ask(&self.stream, PROBES);
    }

    /// Sends the test probe when it is due, and returns the result once it is known.
    pub(super) fn check(&mut self, answers: u32) -> Option<Trial> {
        let activity = activity(&self.stream).ok()?;
        let idle = match &self.asked {
            Some(asked) => asked.idle,
            None if activity.state == Some(State::Established) || self.quiet.elapsed() > LAST_WORD => {
                self.is_idle_for()
            }
            None => self.before.elapsed(),
        };
        let trial = |outcome| {
            let idle = idle.as_secs_f64();
            Some(Trial { idle, outcome })
        };
        match (activity.state, &self.asked) {
            (Some(State::Established), Some(asked)) => {
                let is_answered = activity.since_ack <= asked.at.elapsed() + TICK && activity.since_ack < idle;
                if is_answered {
                    trial(Outcome::Lived)
                } else {
                    asked.is_overdue(answers).then(|| trial(Outcome::Silence)).flatten()
                }
            }
            (Some(State::Established), None) => {
                self.note(&activity);
                if self.rest().is_zero() {
                    self.ask(answers);
                }
                None
            }
            (Some(State::Closed), asked) => match (self.stream.take_error(), asked) {
                (Ok(Some(error)), Some(_)) if error.kind() == io::ErrorKind::TimedOut => trial(Outcome::Silence),
                (Ok(Some(error)), Some(_)) if error.kind() != io::ErrorKind::ConnectionReset => trial(Outcome::Silence),
                (_, Some(_)) => trial(Outcome::Reset),
                (_, None) => trial(Outcome::ResetUnasked),
            },
            // The server's FIN, which was not an answer.
            _ => trial(Outcome::Closed),
        }
    }
}
