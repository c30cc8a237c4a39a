//! Many connections at once: no line is wrong, and what is lost is counted.

use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, eventually};
use crate::support::target::{Libc, compile};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::Command;

/// The connections of the test, each with two ends: ten seconds of 50,000 a second, where the machine makes so many.
const CONNECTIONS: u64 = 500_000;
const THREADS: u64 = 4;

/// What the test compares of a line.
#[derive(Deserialize)]
struct End {
    pid: Option<u32>,
    local: String,
    peer: String,
    direction: Option<String>,
    cause: String,
    idle_s: f64,
    lived_s: Option<f64>,
}

#[test]
fn every_end_is_shown_once_or_counted_as_lost() {
    super::traceable!(write);
    let directory = tempfile::tempdir().expect("a directory");
    let lines = directory.path().join("lines");
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" trace --all --json 2>&1 >\"$1\""])
        .arg(keepalive())
        .arg(&lines);
    let mut tracer = LinePeer::start(&mut command);
    let started = tracer.answer();
    assert!(started.starts_with("keepalive: tracing "), "{started}");

    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(compile(Libc::Host, "connect_load.c", &["-pthread"]));
    command.args([THREADS, CONNECTIONS / THREADS].map(|number| number.to_string()));
    let mut program = LinePeer::start(&mut command);
    let pid = program.pid();
    let port = eventually("the listener", LIMIT, || listening_port(pid));
    let made = program.answer();
    assert!(made.starts_with(&format!("{CONNECTIONS} made, 0 failed, ")), "{made}");

    let tracer_pid = Pid::from_raw(tracer.pid().cast_signed()).expect("a process");
    kill_process(tracer_pid, Signal::INT).expect("it runs");
    let (mut messages, mut empty) = (Vec::new(), 0);
    // An empty line is in the summary, which the number of its connections follows.
    while empty < 2 {
        let line = tracer.answer();
        empty = if line.is_empty() { empty + 1 } else { 0 };
        messages.push(line);
    }
    assert!(tracer.wait_for_end().success(), "{messages:?}");
    let lost = messages.iter().find_map(|line| {
        let count = line.strip_prefix("keepalive: at most ")?;
        count
            .strip_suffix(" ends of connections were not recorded")?
            .parse::<u64>()
            .ok()
    });

    let address = format!("127.0.0.1:{port}");
    let mut ends = [0, 0];
    for line in BufReader::new(File::open(&lines).expect("the output")).lines() {
        let line = line.expect("text");
        let end: End = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // The program resets the connecting end and closes the accepted one; either may be first.
        let (which, direction, cause) = match (end.local == address, end.peer == address) {
            (false, true) => (0, "connect", "closed-by-peer"),
            (true, false) => (1, "accept", "reset"),
            _ => continue,
        };
        ends[which] += 1;
        assert_eq!(end.direction.as_deref(), Some(direction), "{line}");
        assert!(end.cause == cause || end.cause == "closed", "{line}");
        assert!(end.pid.is_none_or(|owner| owner == pid), "{line}");
        assert!(
            end.idle_s < 2.0 && end.lived_s.is_some_and(|lived| lived < 10.0),
            "{line}"
        );
    }
    println!("{made}; {ends:?} shown, {lost:?} not recorded");
    for count in ends {
        assert!(
            count <= CONNECTIONS && count + lost.unwrap_or(0) >= CONNECTIONS,
            "{ends:?}, {lost:?} lost: {messages:?}"
        );
    }
}

/// Returns the port on which the process listens, the only one of its network.
fn listening_port(pid: u32) -> Option<u16> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == "connect_load").then_some(())?;
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listener = lines.find(|fields| fields.get(3) == Some(&"0A"))?;
    u16::from_str_radix(listener[1].rsplit_once(':')?.1, 16).ok()
}
