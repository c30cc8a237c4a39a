//! A connection that is left idle, and what becomes of it.

use super::path::{PATIENCE, ask};
use super::search::{Outcome, Trial};
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{Activity, activity};
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// So many probes of the control connection are answered while none of another connection is: then nobody will answer there.
/// Where every fourth packet gets lost, both ways, that happens to one connection in a thousand by chance.
const ANSWERS: u32 = 6;
/// So many are enough where the control connection loses none, a second or so apart, and after so long: five probes.
const ANSWERS_WITHOUT_LOSS: u32 = 4;
const WITHOUT_LOSS: Duration = Duration::from_millis(4500);
/// Probes, a second apart, of a connection that is asked: more than it takes for as many answers to the control connection.
const PROBES: u32 = 60;
/// For so long the kernel repeats a handshake (`net.ipv4.tcp_synack_retries`), which is no data of the server's.
const HANDSHAKE: Duration = Duration::from_secs(35);
/// The kernel counts in ticks of up to 10 ms.
const TICK: Duration = Duration::from_millis(15);

/// What passes so shortly before the end is part of it.
const LAST_WORD: Duration = Duration::from_millis(500);

/// An idle connection.
pub(super) struct Idle {
    pub(super) stream: TcpStream,
    /// When to ask.
    wanted: Duration,
    /// When it was last looked at, and how many segments there had been.
    seen: (Instant, u32),
    /// Since when nothing at all has passed.
    quiet: Instant,
    /// The same until something passed last: a connection may end with a last word.
    before: Instant,
    pub(super) asked: Option<Asked>,
    opened: Instant,
    /// Whether the server has said anything.
    has_data: bool,
}

/// A question, and for how long the connection was idle then.
pub(super) struct Asked {
    at: Instant,
    pub(super) idle: Duration,
    /// How many probes of the control connection had been answered.
    answers: u32,
}

impl Asked {
    /// Whether nobody will answer any more; so many probes of the control connection have been answered so far.
    fn is_overdue(&self, answers: u32) -> bool {
        let answers = answers.wrapping_sub(self.answers);
        let elapsed = self.at.elapsed();
        // The kernel's second is a little longer.
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

    /// When, after `start` of the round, it must have been idle for long enough, whatever was repeated at its begin.
    pub(super) fn deadline(&self, start: Instant) -> Duration {
        let begin = if self.has_data { PATIENCE } else { HANDSHAKE };
        self.opened.duration_since(start) + self.wanted.mul_f64(1.25) + begin
    }

    /// The time until it has been idle for long enough.
    pub(super) fn rest(&self) -> Duration {
        self.wanted.saturating_sub(self.is_idle_for())
    }

    fn is_idle_for(&self) -> Duration {
        self.quiet.elapsed()
    }

    /// Notes what has passed. A segment that means nothing to this end, a repeated part of the handshake, means something to
    /// a middlebox.
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

    /// Asks; so many probes of the control connection have been answered so far.
    pub(super) fn ask(&mut self, answers: u32) {
        if let Ok(activity) = activity(&self.stream) {
            self.note(&activity);
        }
        self.asked = Some(Asked {
            at: Instant::now(),
            idle: self.is_idle_for(),
            answers,
        });
        // A socket that has died meanwhile cannot be asked, and is seen as such.
        let _ = ask(&self.stream, PROBES);
    }

    /// Asks when it is time, and gives what became of it once that is known.
    pub(super) fn look(&mut self, answers: u32) -> Option<Trial> {
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
            // Its FIN, which was no answer to anything.
            _ => trial(Outcome::Closed),
        }
    }
}
