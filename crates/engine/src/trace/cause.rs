//! What ended a connection, and how long it had been idle before: a pure function of what the kernel shows when the
//! connection leaves the state ESTABLISHED.

use super::ending::Cause;
use rustix::io::Errno;

/// What the kernel shows. Times are the lower 32 bits of jiffies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The states before and after (`include/net/tcp_states.h`).
    pub(super) old_state: u32,
    pub(super) new_state: u32,
    /// The socket's error.
    pub(super) errno: Option<i32>,
    /// Whether keepalive is on.
    pub(super) is_on: bool,
    /// Keepalive or window probes without an answer.
    pub(super) unanswered_probes: u32,
    /// Whether the program has written data that the peer has not acknowledged.
    pub(super) is_unacknowledged: bool,
    /// How often the first of them were retransmitted.
    pub(super) retransmits: u32,
    pub(super) now: u32,
    /// When data were last received.
    pub(super) received_data: u32,
    /// When an acknowledgement was last received. A FIN is one; a RST is none.
    pub(super) received_ack: u32,
    /// When data were last sent.
    pub(super) sent_data: u32,
    /// If data were retransmitted: when they were first queued, and when they were last retransmitted.
    pub(super) resent: Option<(u32, u32)>,
}

// `include/net/tcp_states.h`.
const ESTABLISHED: u32 = 1;
const FIN_WAIT_1: u32 = 4;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;

/// Returns what ended the connection.
pub(super) fn cause(facts: &Facts) -> Cause {
    if facts.is_closed_by_program() {
        // The program may have a timeout of its own, shorter than the kernel's.
        return if facts.is_given_up() {
            Cause::TimeoutOnSend
        } else {
            Cause::Closed
        };
    }
    match (facts.old_state, facts.new_state, facts.errno) {
        (ESTABLISHED, CLOSE_WAIT, _) => Cause::ClosedByPeer,
        (ESTABLISHED, CLOSE, Some(errno)) => failure(facts, errno),
        _ => Cause::Other,
    }
}

fn failure(facts: &Facts, errno: i32) -> Cause {
    let is_probed = facts.is_on && facts.unanswered_probes > 0;
    let is = |error: Errno| error.raw_os_error() == errno;
    if is(Errno::CONNRESET) {
        // Keepalive sends no probe while data are unacknowledged (`tcp_keepalive_timer`).
        return match (facts.is_unacknowledged, is_probed) {
            (true, _) if facts.is_sent_after_silence() => Cause::ResetOnSend,
            (false, true) => Cause::ResetOnProbe,
            _ => Cause::Reset,
        };
    }
    // If a router has reported an error meanwhile, that is the socket's error (`tcp_write_err`). Other errors are those
    // of programs and administrators (ss --kill).
    if is(Errno::TIMEDOUT) || is(Errno::HOSTUNREACH) || is(Errno::NETUNREACH) {
        return match (facts.is_unacknowledged, is_probed) {
            (true, _) => Cause::TimeoutOnSend,
            (false, true) => Cause::DeadPeer,
            (false, false) => Cause::Other,
        };
    }
    Cause::Other
}

impl Facts {
    /// Returns whether the program closed the connection, or discarded it (SO_LINGER, unread data), for whatever reason.
    pub(super) fn is_closed_by_program(&self) -> bool {
        matches!(
            (self.old_state, self.new_state, self.errno),
            (ESTABLISHED, FIN_WAIT_1, _) | (ESTABLISHED, CLOSE, None)
        )
    }

    /// Returns the idle time in jiffies: the time without data or acknowledgements in either direction before what
    /// ended the connection.
    pub(super) fn idle(&self) -> u32 {
        let end = match cause(self) {
            // The peer's own timeout counts data. The FIN itself was the last acknowledgement.
            Cause::ClosedByPeer => return since(self.now, later(self.received_data, self.sent_data)),
            Cause::Closed => return since(self.now, later(self.heard(), self.sent_data)),
            Cause::ResetOnSend | Cause::TimeoutOnSend => self.first_unacknowledged(),
            _ => self.now,
        };
        since(end, self.heard())
    }

    /// Returns when something was last received.
    fn heard(&self) -> u32 {
        later(self.received_data, self.received_ack)
    }

    /// Returns when the first of the unacknowledged data were sent.
    fn first_unacknowledged(&self) -> u32 {
        match self.resent {
            // An earlier retransmission that was answered since says nothing.
            Some((queued, resent)) if is_after(resent, self.heard()) => queued,
            _ => self.sent_data,
        }
    }

    /// Returns whether data that were sent after a silence are retransmitted in vain. The answer to a single
    /// retransmission may be on its way.
    fn is_given_up(&self) -> bool {
        self.is_unacknowledged && self.retransmits >= 2 && self.is_sent_after_silence()
    }

    /// Returns whether the unacknowledged data were sent after something was last received: before that, nothing was
    /// on its way.
    fn is_sent_after_silence(&self) -> bool {
        is_after(self.first_unacknowledged(), self.heard())
    }
}

/// Returns whether `one` is after `other`; jiffies wrap around.
fn is_after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

fn later(one: u32, other: u32) -> u32 {
    if is_after(one, other) { one } else { other }
}

/// Returns the jiffies from `begin` to `end`, at least 0.
fn since(end: u32, begin: u32) -> u32 {
    if is_after(end, begin) {
        end.wrapping_sub(begin)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause::{Closed, ClosedByPeer, DeadPeer, Other, Reset, ResetOnProbe, ResetOnSend, TimeoutOnSend};

    const RESET: Option<i32> = Some(104);
    const TIMED_OUT: Option<i32> = Some(110);
    const UNREACHABLE: Option<i32> = Some(113);
    const ABORTED: Option<i32> = Some(103);

    /// The state afterwards; errno; whether keepalive is on; probes; whether data are unacknowledged; how long ago data and
    /// an acknowledgement were received and data sent; how long ago data that were retransmitted twice were queued and
    /// retransmitted; the cause and the idle time. The times are in jiffies.
    type Row = (
        u32,
        Option<i32>,
        bool,
        u32,
        bool,
        [u32; 3],
        Option<[u32; 2]>,
        (Cause, u32),
    );

    fn facts(row: &Row, now: u32) -> Facts {
        let (new_state, errno, is_on, unanswered_probes, is_unacknowledged, ago, resent, _) = *row;
        let [received_data, received_ack, sent_data] = ago.map(|ago| now.wrapping_sub(ago));
        Facts {
            old_state: ESTABLISHED,
            new_state,
            errno,
            is_on,
            unanswered_probes,
            is_unacknowledged,
            retransmits: if resent.is_some() { 2 } else { 0 },
            now,
            received_data,
            received_ack,
            sent_data,
            resent: resent.map(|[queued, resent]| (now.wrapping_sub(queued), now.wrapping_sub(resent))),
        }
    }

    #[rustfmt::skip]
    const TABLE: [(&str, Row); 24] = [
        ("keepalive gives up", (7, TIMED_OUT, true, 3, false, [800, 800, 800], None, (DeadPeer, 800))),
        ("keepalive gives up, a router has reported the host unreachable", (7, UNREACHABLE, true, 3, false, [800, 800, 800], None, (DeadPeer, 800))),
        ("the probes before were answered", (7, TIMED_OUT, true, 3, false, [9000, 300, 9000], None, (DeadPeer, 300))),
        ("RST for a probe", (7, RESET, true, 1, false, [500, 500, 500], None, (ResetOnProbe, 500))),
        ("RST for data after the idle time", (7, RESET, false, 0, true, [500, 500, 1], None, (ResetOnSend, 499))),
        ("RST for data after the idle time, with keepalive", (7, RESET, true, 0, true, [500, 500, 1], None, (ResetOnSend, 499))),
        ("RST for data that were retransmitted", (7, RESET, false, 0, true, [800, 800, 1], Some([300, 20]), (ResetOnSend, 500))),
        ("RST while data flow", (7, RESET, false, 0, true, [0, 0, 0], None, (Reset, 0))),
        ("RST while data flow, some of them lost", (7, RESET, false, 0, true, [2, 2, 0], Some([500, 1]), (Reset, 2))),
        ("unprovoked RST", (7, RESET, true, 0, false, [700, 700, 700], None, (Reset, 700))),
        ("unprovoked RST after window probes", (7, RESET, false, 0, false, [700, 600, 700], None, (Reset, 600))),
        ("silence for data after the idle time", (7, TIMED_OUT, false, 0, true, [800, 800, 300], Some([300, 10]), (TimeoutOnSend, 500))),
        ("silence for data, and the program continues to send", (7, TIMED_OUT, false, 0, true, [900, 900, 5], Some([400, 10]), (TimeoutOnSend, 500))),
        ("silence for data, and a router reports the host unreachable", (7, UNREACHABLE, false, 0, true, [800, 800, 300], Some([300, 10]), (TimeoutOnSend, 500))),
        ("silence while data flow", (7, TIMED_OUT, false, 0, true, [800, 800, 5], Some([2000, 10]), (TimeoutOnSend, 0))),
        ("a loss that was repaired long ago", (7, TIMED_OUT, false, 0, true, [800, 800, 300], Some([5000, 4900]), (TimeoutOnSend, 500))),
        ("FIN", (8, None, false, 0, false, [600, 0, 400], None, (ClosedByPeer, 400))),
        ("closed by the program", (4, None, false, 0, false, [600, 500, 500], None, (Closed, 500))),
        ("discarded by the program", (7, None, false, 0, false, [600, 600, 600], None, (Closed, 600))),
        ("closed by the program, with data on their way", (4, None, false, 0, true, [600, 600, 1], None, (Closed, 1))),
        ("closed by the program, which got no answer to data after the idle time", (4, None, false, 0, true, [800, 800, 300], Some([300, 10]), (TimeoutOnSend, 500))),
        ("discarded by the program, which got no answer", (7, None, true, 0, true, [800, 800, 300], Some([300, 10]), (TimeoutOnSend, 500))),
        ("closed by the program while data flow, some of them lost", (4, None, false, 0, true, [2, 2, 0], Some([500, 1]), (Closed, 0))),
        ("ended by ss --kill", (7, ABORTED, true, 0, false, [600, 600, 600], None, (Other, 600))),
    ];

    #[test]
    fn causes_and_idle_times_follow_from_what_the_kernel_shows() {
        for (name, row) in &TABLE {
            // Jiffies wrap around, five minutes after the machine was started.
            for now in [1_000_000, 0, 100, 500, u32::MAX, i32::MAX.cast_unsigned() + 300] {
                let facts = facts(row, now);
                assert_eq!((cause(&facts), facts.idle()), row.7, "{name}, at {now}");
            }
        }
    }

    #[test]
    fn every_cause_is_in_the_table() {
        for cause in Cause::ALL {
            assert!(TABLE.iter().any(|(_, row)| row.7.0 == cause), "{cause:?}");
        }
    }
}
