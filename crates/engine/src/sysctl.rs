//! The kernel's defaults: the sysctls of this network namespace (`ip-sysctl`, tcp(7)).

use crate::kernel_defaults::KernelDefaults;
use keepalive_policy::SocketOption;
use serde::{Deserialize, Serialize};
use std::fs;

/// The sysctls that decide when a connection is probed and when it is closed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sysctls {
    /// `tcp_keepalive_time`, seconds.
    pub idle: u32,
    /// `tcp_keepalive_intvl`, seconds.
    pub interval: u32,
    /// `tcp_keepalive_probes`.
    pub count: u32,
    /// `tcp_retries2`: how often unacknowledged data is retransmitted.
    pub retries: u32,
    /// `tcp_syn_retries`: how often a SYN is retransmitted.
    pub syn_retries: u32,
    /// `tcp_syn_linear_timeouts` (Linux 6.5): how often a SYN is retransmitted before that, each time after
    /// one second.
    pub syn_linear_timeouts: u32,
}

impl Sysctls {
    /// Reads the sysctls of the calling thread's network namespace. Those that are socket options come from a
    /// fresh socket, since `/proc` may be mounted without sysctls (`subset=pid`). An unreadable sysctl has
    /// the kernel's built-in value (`include/net/tcp.h`).
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
