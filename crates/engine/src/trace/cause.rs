//! What ended a connection, and how long it had been idle before: a pure function of what the kernel shows when the
//! connection leaves the state ESTABLISHED.

use super::ending::Cause;
use rustix::io::Errno;

/// What the kernel shows. Times are the lower 32 bits of jiffies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The states before and after (`include/net/tcp_states.h`).
    pub old_state: u32,
    pub new_state: u32,
    /// The socket's error.
    pub errno: Option<i32>,
    /// Whether keepalive is on.
    pub is_on: bool,
    /// Keepalive or window probes without an answer.
    pub unanswered_probes: u32,
    /// Whether the program has written data that the peer has not acknowledged.
    pub is_unacknowledged: bool,
    pub now: u32,
    /// When data were last received.
    pub received_data: u32,
    /// When an acknowledgement was last received. A FIN is one; a RST is none.
    pub received_ack: u32,
    /// When data were last sent.
    pub sent_data: u32,
    /// If data were retransmitted: when they were first queued, and when they were last retransmitted.
    pub resent: Option<(u32, u32)>,
}

// `include/net/tcp_states.h`.
const ESTABLISHED: u32 = 1;
const FIN_WAIT_1: u32 = 4;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;

/// Returns what ended the connection.
pub fn cause(facts: &Facts) -> Cause {
    match (facts.old_state, facts.new_state, facts.errno) {
        (ESTABLISHED, CLOSE_WAIT, _) => Cause::ClosedByPeer,
        // Without an error, the program discarded the connection (SO_LINGER, unread data).
        (ESTABLISHED, FIN_WAIT_1, _) | (ESTABLISHED, CLOSE, None) => Cause::Closed,
        (ESTABLISHED, CLOSE, Some(errno)) => failure(facts, errno),
        _ => Cause::Other,
    }
}

fn failure(facts: &Facts, errno: i32) -> Cause {
    let is_probed = facts.is_on && facts.unanswered_probes > 0;
    match Errno::from_raw_os_error(errno) {
        // Keepalive sends no probe while data are unacknowledged (`tcp_keepalive_timer`).
        Errno::CONNRESET if facts.is_unacknowledged && facts.is_sent_after_silence() => Cause::ResetOnSend,
        Errno::CONNRESET if facts.is_unacknowledged => Cause::Reset,
        Errno::CONNRESET if is_probed => Cause::ResetOnProbe,
        Errno::CONNRESET => Cause::Reset,
        // The program or an administrator (ss --kill) ended it.
        Errno::CONNABORTED => Cause::Other,
        // If a router has reported an error meanwhile, that is the socket's error (`tcp_write_err`).
        Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH if facts.is_unacknowledged => Cause::TimeoutOnSend,
        Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH if is_probed => Cause::DeadPeer,
        _ => Cause::Other,
    }
}

impl Facts {
    /// Returns the idle time in jiffies: the time without data or acknowledgements in either direction before what
    /// ended the connection.
    pub fn idle(&self) -> u32 {
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
