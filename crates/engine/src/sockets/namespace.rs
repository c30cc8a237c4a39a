//! What a network namespace shows to this process.

use crate::kernel_defaults::KernelDefaults;
use keepalive_sys::sock_diag::{self, Row, State};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A snapshot of a network namespace.
pub struct Namespace {
    /// The cookie that identifies the namespace; absent before Linux 5.14 without the right to read it.
    pub(super) cookie: Option<u64>,
    /// The addresses of listeners, by port.
    listeners: HashMap<u16, Vec<IpAddr>>,
    /// The values of a socket on which no program has set an option.
    pub defaults: KernelDefaults,
}

impl Namespace {
    /// Reads the namespace of the calling thread.
    pub fn read() -> (Self, io::Result<Vec<Row>>) {
        let defaults = KernelDefaults::read();
        let rows = sock_diag::dump();
        let mut listeners: HashMap<u16, Vec<IpAddr>> = HashMap::new();
        for row in rows.iter().flatten().filter(|row| row.state == State::Listen) {
            listeners.entry(row.local.port()).or_default().push(row.local.ip());
        }
        let namespace = Self {
            cookie: defaults.namespace,
            listeners,
            defaults,
        };
        (namespace, rows)
    }

    /// Returns a namespace that this process cannot enter. The defaults of the kernel stand for its sysctls.
    pub(super) fn unseen(cookie: u64) -> Self {
        Self {
            cookie: Some(cookie),
            listeners: HashMap::new(),
            defaults: KernelDefaults::BUILT_IN,
        }
    }

    /// Adds a listener that was found among the descriptors of a process.
    pub(super) fn add_listener(&mut self, local: SocketAddr) {
        self.listeners.entry(local.port()).or_default().push(local.ip());
    }

    /// Returns whether a listener accepts connections with this local address.
    pub fn listens(&self, local: SocketAddr) -> bool {
        let address = local.ip().to_canonical();
        let mut listeners = self.listeners.get(&local.port()).into_iter().flatten();
        listeners
            .any(|any| any.to_canonical() == address || any.is_unspecified() && (any.is_ipv6() || address.is_ipv4()))
    }
}
