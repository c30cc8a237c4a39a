//! A socket as a program reads it.

use super::Socket;
use keepalive_linux::sock_diag::{State, Timer};
use keepalive_linux::sockopt::{Options, Protocol};
use serde::Serialize;

/// The object for one socket of one holder. `None` is null: not known, or, where the manual says so, does not apply.
#[derive(Serialize)]
pub(crate) struct Entry {
    pid: Option<u32>,
    program: Option<String>,
    tid: Option<u32>,
    fd: Option<i32>,
    inode: u64,
    family: Option<&'static str>,
    protocol: &'static str,
    local: Option<String>,
    peer: Option<String>,
    state: Option<&'static str>,
    keepalive: Option<bool>,
    idle_s: Option<u32>,
    interval_s: Option<u32>,
    count: Option<u32>,
    user_timeout_ms: Option<u32>,
    timer: Option<TimerEntry>,
    unanswered_probes: Option<u8>,
    dead_after_s: Option<u64>,
}

/// A timer.
#[derive(Serialize)]
pub(crate) struct TimerEntry {
    kind: &'static str,
    expires_ms: u64,
}

impl Entry {
    pub(crate) fn new(socket: &Socket, program: Option<String>) -> Self {
        let address = socket.local.or(socket.peer);
        let number = |number: fn(&Options) -> Option<u32>| socket.options.as_ref().and_then(number);
        Self {
            pid: socket.holder.map(|holder| holder.pid),
            program,
            tid: socket.holder.map(|holder| holder.tid),
            fd: socket.holder.map(|holder| holder.fd),
            inode: socket.inode,
            family: address.map(|address| if address.is_ipv4() { "inet" } else { "inet6" }),
            protocol: match socket.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Mptcp => "mptcp",
            },
            local: socket.local.map(|address| address.to_string()),
            peer: socket.peer.map(|address| address.to_string()),
            state: socket.state.map(State::name),
            keepalive: socket.keepalive(),
            idle_s: number(|options| options.idle),
            interval_s: number(|options| options.interval),
            count: number(|options| options.count),
            user_timeout_ms: number(|options| options.user_timeout),
            timer: socket.timer.timer().map(Into::into),
            unanswered_probes: socket.unanswered,
            dead_after_s: socket.dead_after(),
        }
    }
}

impl From<Timer> for TimerEntry {
    fn from(timer: Timer) -> Self {
        Self {
            kind: timer.kind.name(),
            expires_ms: timer.expires_ms,
        }
    }
}

/// An array of objects, each in a line of its own.
pub(crate) fn array<T: Serialize>(entries: impl Iterator<Item = T>) -> String {
    let lines: Vec<String> = entries.map(|entry| line(&entry)).collect();
    if lines.is_empty() {
        return String::from("[]\n");
    }
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// An object in one line.
pub(crate) fn line(entry: &impl Serialize) -> String {
    // Nothing here can be refused: there are no maps, and no numbers that are none.
    serde_json::to_string(entry).unwrap_or_default()
}
