//! What a network namespace shows.

use crate::kernel_defaults::KernelDefaults;
use keepalive_sys::sock_diag::{self, Row, State};
use std::io;
use std::net::SocketAddr;

/// A network namespace as it was when it was looked at.
pub struct Namespace {
    /// Tells it from others; absent before Linux 5.14 without the right to ask.
    pub(super) cookie: Option<u64>,
    /// The addresses that somebody listens on.
    listeners: Vec<SocketAddr>,
    /// What a socket has on which nobody has set anything.
    pub defaults: KernelDefaults,
}

impl Namespace {
    /// Looks at the namespace of the calling thread.
    pub fn look() -> (Self, io::Result<Vec<Row>>) {
        let defaults = KernelDefaults::read();
        let rows = sock_diag::dump();
        let listeners = rows.iter().flatten().filter(|row| row.state == State::Listen);
        let namespace = Self {
            cookie: defaults.namespace,
            listeners: listeners.map(|row| row.local).collect(),
            defaults,
        };
        (namespace, rows)
    }

    /// Whether somebody listens where a connection with this local address would arrive.
    pub fn listens(&self, local: SocketAddr) -> bool {
        let address = local.ip().to_canonical();
        self.listeners.iter().any(|listener| {
            let any = listener.ip();
            let fits = any.to_canonical() == address || any.is_unspecified() && (any.is_ipv6() || address.is_ipv4());
            fits && listener.port() == local.port()
        })
    }
}
