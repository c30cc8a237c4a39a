//! The idle times of a connection, from looks at its counters. All times are since the first look.

use super::super::search::Outcome;
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::Activity;
use std::time::Duration;

/// Why the measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection survived the longest idle time.
    Enough,
    /// The program uses the connection too often.
    InUse,
    /// The user interrupted the measurement.
    Interrupted,
    /// The program has closed the connection, or has ended.
    Left,
    /// The peer has closed the connection, which was not idle.
    Finished,
    /// The connection did not survive an idle time.
    Idle(Outcome),
}

impl End {
    /// Returns what happened to the connection after it was idle, if this ended it.
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Idle(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// A packet of this end that requires an answer, which has not come.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The idle time before it.
    gap: Duration,
    at: Duration,
    /// The packets since then, this one included.
    tries: u32,
}

/// The idle times.
#[derive(Debug)]
pub(super) struct Gaps {
    segments: u32,
    received: u32,
    data_sent: u32,
    /// Whether a probe of ours has been sent since the last packet.
    is_asked: bool,
    /// The time of the last packet.
    quiet_since: Duration,
    /// How long the connection was possibly idle before the first look, by the kernel's clocks, which do not show all packets.
    before: Duration,
    pending: Option<Pending>,
    lived: Option<Duration>,
    died: Option<Duration>,
}

/// So many packets without an answer, and so long, mean that no answer comes.
const TRIES: u32 = 3;
const SILENCE: Duration = Duration::from_secs(5);

impl Gaps {
    pub(super) fn new(first: &Activity) -> Self {
        Self {
            segments: first.segments,
            received: first.segments_received,
            data_sent: first.data_segments_sent,
            is_asked: false,
            quiet_since: Duration::ZERO,
            before: first.since_any,
            pending: None,
            lived: None,
            died: None,
        }
    }

    /// Returns the longest idle time that was survived, in seconds.
    pub(super) fn lived(&self) -> f64 {
        self.lived.unwrap_or_default().as_secs_f64()
    }

    /// As [`Gaps::lived`]; `None` if no idle time was survived.
    pub(super) fn lived_at_all(&self) -> Option<f64> {
        self.lived.map(|lived| lived.as_secs_f64())
    }

    /// Returns the idle time that was not survived, in seconds.
    pub(super) fn died(&self) -> Option<f64> {
        self.died.map(|died| died.as_secs_f64())
    }

    /// Returns how long the connection has been idle, in seconds.
    pub(super) fn quiet(&self, now: Duration) -> f64 {
        now.saturating_sub(self.quiet_since).as_secs_f64()
    }

    /// Returns whether every packet has been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.pending.is_none()
    }

    /// Records that a probe is about to be sent.
    pub(super) fn expect_answer(&mut self) {
        self.is_asked = true;
    }

    /// Records a look at the connection. Returns the end, if this is one.
    pub(super) fn note(&mut self, now: Duration, activity: &Activity) -> Option<End> {
        let received = activity.segments_received.wrapping_sub(self.received);
        let sent = activity.segments.wrapping_sub(self.segments).wrapping_sub(received);
        let is_data_sent = activity.data_segments_sent != self.data_sent;
        (self.segments, self.received) = (activity.segments, activity.segments_received);
        self.data_sent = activity.data_segments_sent;
        let gap = now.saturating_sub(self.quiet_since);
        match activity.state {
            Some(State::Established) => {}
            Some(State::Closed) => return Some(self.closed(gap, sent, received)),
            // A FIN that follows a request belongs to it.
            Some(State::CloseWait) if is_data_sent || self.is_asked || self.pending.is_some() => {
                return Some(End::Finished);
            }
            Some(State::CloseWait) => return Some(self.die(gap, Outcome::Closed)),
            _ => return Some(End::Left),
        }
        if received > 0 {
            let gap = self.pending.take().map_or(gap, |pending| pending.gap);
            self.lived = self.lived.max(Some(gap));
            (self.died, self.is_asked) = (None, false);
        } else if let Some(pending) = &mut self.pending {
            pending.tries += sent;
        } else if sent > 0 && (activity.is_unacknowledged || self.is_asked) {
            self.pending = Some(Pending {
                gap,
                at: now,
                tries: sent,
            });
        }
        if sent > 0 || received > 0 {
            self.quiet_since = now;
        }
        let lost = self
            .pending
            .filter(|pending| pending.tries >= TRIES && now >= pending.at + SILENCE)?;
        Some(self.die(lost.gap, Outcome::Silence))
    }

    /// Returns the end of a connection that the kernel has closed.
    fn closed(&mut self, gap: Duration, sent: u32, received: u32) -> End {
        match (self.pending, received > 0) {
            (Some(pending), true) => self.die(pending.gap, Outcome::Reset),
            (Some(pending), false) => self.die(pending.gap, Outcome::Silence),
            // More packets sent than the acknowledgements of those received before the RST.
            (None, true) if sent >= received => self.die(gap, Outcome::Reset),
            (None, true) => self.die(gap, Outcome::ResetUnasked),
            (None, false) => End::Left,
        }
    }

    /// Records that the pending packet gets no answer.
    pub(super) fn give_up(&mut self) -> Option<End> {
        let pending = self.pending?;
        Some(self.die(pending.gap, Outcome::Silence))
    }

    fn die(&mut self, gap: Duration, outcome: Outcome) -> End {
        // The idle time before the first look counts where it makes the connection die later.
        self.died = Some(if self.lived.is_none() { gap + self.before } else { gap });
        End::Idle(outcome)
    }
}

#[cfg(test)]
mod tests;
