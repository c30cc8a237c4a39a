//! What a network namespace shows.

use keepalive_linux::netns;
use keepalive_linux::sock_diag::{self, Row, State};
use keepalive_linux::sockopt;
use keepalive_policy::{OPTIONS, SocketOption};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::net::SocketAddr;

/// A network namespace as it was when it was looked at.
pub(crate) struct Namespace {
    /// Tells it from others; absent before Linux 5.14.
    pub(super) cookie: Option<u64>,
    /// The addresses that somebody listens on.
    listeners: Vec<SocketAddr>,
    /// What a socket has on which nobody has set anything, in the order of [`OPTIONS`].
    untouched: [Option<u32>; OPTIONS.len()],
}

impl Namespace {
    /// Looks at the namespace of the calling thread.
    pub(super) fn look() -> (Self, io::Result<Vec<Row>>) {
        let fresh = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let rows = sock_diag::dump();
        let listeners = rows.iter().flatten().filter(|row| row.state == State::Listen);
        let namespace = Self {
            cookie: fresh.as_ref().ok().and_then(|fresh| netns::cookie(fresh).ok()),
            listeners: listeners.map(|row| row.local).collect(),
            untouched: OPTIONS.map(|option| sockopt::get(fresh.as_ref().ok()?, option).ok()),
        };
        (namespace, rows)
    }

    /// Whether somebody listens where a connection with this local address would arrive.
    pub(crate) fn listens(&self, local: SocketAddr) -> bool {
        let address = local.ip().to_canonical();
        self.listeners.iter().any(|listener| {
            let any = listener.ip();
            let fits = any.to_canonical() == address || any.is_unspecified() && (any.is_ipv6() || address.is_ipv4());
            fits && listener.port() == local.port()
        })
    }

    /// What a socket of the namespace has where nobody has set anything: for the times its sysctls. `None` for options that
    /// belong to a connection's route.
    pub(crate) fn untouched(&self, option: SocketOption) -> Option<u32> {
        Self::built_in(option).map(|built_in| self.untouched[option as usize].unwrap_or(built_in))
    }

    /// The same where the sysctls are as the kernel is built (`include/net/tcp.h`).
    pub(crate) const fn built_in(option: SocketOption) -> Option<u32> {
        match option {
            SocketOption::Keepalive | SocketOption::UserTimeout | SocketOption::DeferAccept => Some(0),
            SocketOption::Idle => Some(7200),
            SocketOption::Interval => Some(75),
            SocketOption::Count => Some(9),
            SocketOption::SynCount => Some(6),
            SocketOption::MaxSegment | SocketOption::WindowClamp => None,
        }
    }
}
