//! The JSON object of a socket.

use keepalive_engine::sockets::Socket;
use keepalive_engine::text::is_format;
use keepalive_policy::SocketOption;
use keepalive_sys::sock_diag::{State, Timer};
use keepalive_sys::sockopt::Protocol;
use serde::Serialize;
use std::fmt::Write as _;

/// The object for one socket of one holder. `None` becomes null: the value is unknown or, as the manual
/// states, does not apply.
#[derive(Serialize)]
pub(crate) struct Entry {
    pid: Option<u32>,
    program: Option<String>,
    container: Option<String>,
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
    pub(crate) fn new(socket: &Socket, program: Option<String>, container: Option<String>) -> Self {
        let address = socket.local.or(socket.peer);
        let number = |option| socket.number(option);
        Self {
            pid: socket.holder.map(|holder| holder.pid),
            program,
            container,
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
            idle_s: number(SocketOption::Idle),
            interval_s: number(SocketOption::Interval),
            count: number(SocketOption::Count),
            user_timeout_ms: number(SocketOption::UserTimeout),
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

/// Returns an array of objects, one per line.
pub(crate) fn array<T: Serialize>(entries: impl Iterator<Item = T>) -> String {
    let lines: Vec<String> = entries.map(|entry| line(&entry)).collect();
    if lines.is_empty() {
        return String::from("[]\n");
    }
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// Returns an object on one line.
pub(crate) fn line(entry: &impl Serialize) -> String {
    // Serialization cannot fail here: there are no maps, and no numbers like NaN.
    escaped(&serde_json::to_string(entry).unwrap_or_default())
}

/// Returns an indented object, with a line feed at its end.
pub(crate) fn pretty(entry: &impl Serialize) -> String {
    escaped(&serde_json::to_string_pretty(entry).unwrap_or_default()) + "\n"
}

/// Escapes each character in `text`, which is JSON, that is unsafe for a terminal ([`is_format`]). Outside
/// strings, JSON contains no such character except line feeds.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_format(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_kept() {
        let name = "a\u{202e}\u{e0041}\n\u{7f}\u{9b}ö";
        let json = line(&name);
        assert_eq!(json, "\"a\\u202e\\udb40\\udc41\\n\\u007f\\u009bö\"");
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), name);
        assert_eq!(pretty(&[name]), format!("[\n  {json}\n]\n"));
    }
}
