//! The decision: what to set on a connection. Every engine asks here, so that all of them do the same.

use crate::settings::Settings;
use core::net::SocketAddr;

/// Where in its life a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It was made just now and may still go either way.
    Create,
    /// The process had it when it started.
    Inherit,
    /// It connects to a peer.
    Connect,
    /// It listens.
    Listen,
    /// It was accepted from a listener.
    Accept,
}

/// A socket at a moment, with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The moment.
    pub moment: Moment,
    /// The local address, if known.
    pub local: Option<SocketAddr>,
    /// The peer's address, if known.
    pub peer: Option<SocketAddr>,
    /// The program's name: the last part of its path.
    pub program: &'a [u8],
}

/// The whole policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The settings of every connection for which nothing else is said.
    pub default: Settings,
}

/// The settings for `event` under `policy`.
pub fn decide(policy: &Policy, _event: &Event<'_>) -> Settings {
    policy.default
}
