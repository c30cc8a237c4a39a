//! What the kernel does where nobody says otherwise: the sysctls of this network namespace (`ip-sysctl`, tcp(7)).

use crate::kernel_defaults::KernelDefaults;
use keepalive_policy::SocketOption;
use serde::{Deserialize, Serialize};
use std::fs;

/// The sysctls that decide when a connection is probed and given up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sysctls {
    /// `tcp_keepalive_time`, seconds.
    pub idle: u32,
    /// `tcp_keepalive_intvl`, seconds.
    pub interval: u32,
    /// `tcp_keepalive_probes`.
    pub count: u32,
    /// `tcp_retries2`: how often unacknowledged data is sent again.
    pub retries: u32,
    /// `tcp_syn_retries`: how often connecting is tried again.
    pub syn_retries: u32,
    /// `tcp_syn_linear_timeouts` (Linux 6.5): how often, before that, after one second each.
    pub syn_linear_timeouts: u32,
}

impl Sysctls {
    /// Reads them, of the network namespace of the calling thread. Those that are options come from a fresh socket, since `/proc`
    /// may be mounted without them (`subset=pid`). Where one cannot be read, it is as the kernel is built
    /// (`include/net/tcp.h`).
    pub fn read() -> Self {
        let fresh = KernelDefaults::read();
        let number = |option| fresh.of(option).unwrap_or_default();
        Self {
            idle: number(SocketOption::Idle),
            interval: number(SocketOption::Interval),
            count: number(SocketOption::Count),
            retries: read("tcp_retries2").unwrap_or(15),
            syn_retries: number(SocketOption::SynCount),
            syn_linear_timeouts: read("tcp_syn_linear_timeouts").unwrap_or(0),
        }
    }
}

fn read(name: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
    text.trim().parse().ok()
}
