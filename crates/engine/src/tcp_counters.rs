//! The kernel's counters of TCP events, for each network namespace (`Documentation/networking/snmp_counter.rst`).

use keepalive_sys::proc;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

/// The events in a network namespace since it was created. `None` where the kernel does not count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// `TCPKeepAlive`: keepalive probes sent, with an answer or without.
    pub keepalive_probes: Option<u64>,
    /// `TCPAbortOnTimeout`: connections that the kernel gave up because no answer came, whatever timer expired: of
    /// keepalive, retransmission, user timeout or SYN, also after the program closed the socket (`tcp_write_err`,
    /// `net/ipv4/tcp_timer.c`).
    pub aborts_on_timeout: Option<u64>,
    /// `TCPTimeouts`: expiries of the retransmission timer, also that of SYN and SYN-ACK.
    pub retransmission_timeouts: Option<u64>,
    /// `TCPAbortFailed`: RSTs that the kernel wanted to send and could not.
    pub aborts_failed: Option<u64>,
    /// `EstabResets`: established connections that ended without FIN: reset by either end, or given up.
    pub established_resets: Option<u64>,
}

/// A network namespace, and its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedNamespace {
    /// The number in `/proc/PID/ns/net`; `None` without the right to read it.
    pub inode: Option<u64>,
    /// A process in it.
    pub pid: u32,
    /// Whether it is that of this process.
    pub is_own: bool,
    /// The counters.
    pub counters: TcpCounters,
}

/// More bytes than the kernel's files have.
const MOST: u64 = 1 << 18;

impl TcpCounters {
    /// Reads the counters of this process's network namespace.
    ///
    /// # Errors
    /// `ENOENT` where `/proc` is mounted without them (`subset=pid`).
    pub fn read() -> io::Result<Self> {
        Self::read_of("self")
    }

    /// Reads the counters of the network namespace of a process. Requires no privilege.
    ///
    /// # Errors
    /// `ENOENT` if the process has ended.
    pub fn read_in(pid: u32) -> io::Result<Self> {
        Self::read_of(&pid.to_string())
    }

    fn read_of(process: &str) -> io::Result<Self> {
        let mut text = String::new();
        for name in ["netstat", "snmp"] {
            let file = File::open(format!("/proc/{process}/net/{name}"))?;
            file.take(MOST).read_to_string(&mut text)?;
        }
        Ok(Self::parse(&text))
    }

    /// Parses pairs of lines: names, and their values.
    fn parse(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        let mut lines = text.lines();
        while let Some((names, values)) = lines.next().zip(lines.next()) {
            let (mut names, mut values) = (names.split_whitespace(), values.split_whitespace());
            let protocol = names.next();
            if protocol == values.next() && [Some("TcpExt:"), Some("Tcp:")].contains(&protocol) {
                counters.extend(names.zip(values));
            }
        }
        // A few values, as MaxConn, may be negative.
        let number = |name: &str| counters.get(name)?.parse().ok();
        Self {
            keepalive_probes: number("TCPKeepAlive"),
            aborts_on_timeout: number("TCPAbortOnTimeout"),
            retransmission_timeouts: number("TCPTimeouts"),
            aborts_failed: number("TCPAbortFailed"),
            established_resets: number("EstabResets"),
        }
    }
}

/// Returns the counters of every network namespace with a process that `/proc` shows. This process's own is the first.
/// Those that have no process, as of ip-netns(8), are not found.
pub fn namespaces() -> Vec<CountedNamespace> {
    // Each namespace has its own instance of the file, so its inode tells the namespace without a privilege.
    let instance = |process: &str| {
        let metadata = fs::metadata(format!("/proc/{process}/net/netstat")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = instance("self");
    let mut pids = vec![std::process::id()];
    pids.extend(proc::processes().unwrap_or_default());
    let mut found = BTreeMap::new();
    for pid in pids {
        let Some(key) = instance(&pid.to_string()) else {
            continue;
        };
        let is_own = Some(key) == own;
        let key = (!is_own, key);
        if found.contains_key(&key) {
            continue;
        }
        if let Ok(counters) = TcpCounters::read_in(pid) {
            let namespace = CountedNamespace {
                inode: inode(pid),
                pid,
                is_own,
                counters,
            };
            found.insert(key, namespace);
        }
    }
    found.into_values().collect()
}

fn inode(pid: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    let text = link.to_str()?.strip_prefix("net:[")?;
    text.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent TCPTimeouts TCPKeepAlive TCPAbortOnTimeout\nTcpExt: 0 5 7 2\n\
                    MPTcpExt: TCPKeepAlive\nMPTcpExt: 99\n\
                    Tcp: MaxConn EstabResets\nTcp: -1 4\nTcp: odd\n";
        let expected = TcpCounters {
            keepalive_probes: Some(7),
            aborts_on_timeout: Some(2),
            retransmission_timeouts: Some(5),
            aborts_failed: None,
            established_resets: Some(4),
        };
        assert_eq!(TcpCounters::parse(text), expected);
        for damaged in ["", "TcpExt: A\n", "TcpExt: TCPKeepAlive\nTcpExt: x\n", "Tcp:\nUdp: 1\n"] {
            assert_eq!(TcpCounters::parse(damaged), TcpCounters::default(), "{damaged}");
        }
    }

    #[test]
    fn the_own_namespace_is_the_first() {
        let namespaces = namespaces();
        let first = namespaces.first().expect("one namespace");
        assert!(first.is_own && first.counters.keepalive_probes.is_some(), "{first:?}");
        assert_eq!(namespaces.iter().filter(|namespace| namespace.is_own).count(), 1);
    }
}
