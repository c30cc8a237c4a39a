//! What a network namespace shows to this process.

use crate::kernel_defaults::KernelDefaults;
use keepalive_sys::sock_diag::{self, Row, State};
use std::io;
use std::net::SocketAddr;

/// A snapshot of a network namespace.
pub struct Namespace {
    /// The cookie that identifies the namespace; absent before Linux 5.14 without the right to read it.
    pub(super) cookie: Option<u64>,
    /// The addresses of listeners.
    listeners: Vec<SocketAddr>,
    /// The values of a socket on which no program has set an option.
    pub defaults: KernelDefaults,
}

impl Namespace {
    /// Reads the namespace of the calling thread.
    pub fn read() -> (Self, io::Result<Vec<Row>>) {
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

    /// Returns whether a listener accepts connections with this local address.
    pub fn listens(&self, local: SocketAddr) -> bool {
        let address = local.ip().to_canonical();
        self.listeners.iter().any(|listener| {
            let any = listener.ip();
            let fits = any.to_canonical() == address || any.is_unspecified() && (any.is_ipv6() || address.is_ipv4());
            fits && listener.port() == local.port()
        })
    }
}
