//! The counters of network namespaces: the events are provoked, and the kernel's counters say what each counts.

use super::{doctor, unfolded};
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, output_within, text, wrapped};
use crate::support::{PYTHON, find_program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// In a new network namespace: keepalive without an answer (two probes), data without an answer under a user timeout, a SYN
/// without an answer, and a RST, of which both ends are here.
const EVENTS: &str = r#"
import ctypes, socket, struct, sys, threading

def pair():
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    listener.close()
    return client, server

def muted():
    # The filter of the server's socket drops every packet: the kernel behind it does not answer.
    client, server = pair()
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    server.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop)))
    return client, server

def expect(error, call):
    try:
        call()
    except OSError as found:
        assert type(found) is error, found
        return
    sys.exit("no error")

def probes():
    client, server = muted()
    for option, value in (socket.TCP_KEEPCNT, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPIDLE, 1):
        client.setsockopt(socket.IPPROTO_TCP, option, value)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    expect(TimeoutError, lambda: client.recv(1))
    kept.append(server)

def data():
    client, server = muted()
    client.setsockopt(socket.IPPROTO_TCP, 18, 1000)
    client.send(b"x")
    expect(TimeoutError, lambda: client.recv(1))
    kept.append(server)

def syn():
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    expect(TimeoutError, lambda: client.connect(("192.0.2.1", 9)))

def reset():
    client, server = pair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    expect(ConnectionResetError, lambda: client.recv(1))

kept = []
threads = [threading.Thread(target=event) for event in (probes, data, syn, reset)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("done", flush=True)
sys.stdin.read()
"#;

struct Inner(Child);

impl Inner {
    fn start() -> Self {
        const PREPARE: &str = "ip link set lo up && ip route add 192.0.2.0/24 dev lo && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args([
                "--net", "--", "sh", "-c", PREPARE, "sh", PYTHON, "-I", "-S", "-c", EVENTS,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut inner = Self(command.spawn().expect("unshare starts"));
        let mut line = String::new();
        BufReader::new(inner.0.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("it prints");
        assert_eq!(line, "done\n");
        inner
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The counters of the namespace in the output of `doctor --json`.
fn counters(report: &Value, is_it: impl Fn(&Value) -> bool) -> Value {
    let all = report["counters"].as_array().expect("an array");
    assert_eq!(all.iter().filter(|entry| entry["own"] == true).count(), 1, "{report}");
    let found = all.iter().find(|entry| is_it(entry));
    found.unwrap_or_else(|| panic!("not there: {report}")).clone()
}

#[track_caller]
fn assert_counted(counters: &Value) {
    assert_eq!(counters["TCPKeepAlive"], 2, "{counters}");
    // Whatever timer expires: of keepalive, of data, of the SYN.
    assert_eq!(counters["TCPAbortOnTimeout"], 3, "{counters}");
    // The first two of them, and both ends of the one that was reset.
    assert_eq!(counters["EstabResets"], 4, "{counters}");
    assert!(counters["TCPTimeouts"].as_u64() >= Some(2), "{counters}");
    assert!(counters["TCPAbortFailed"].is_u64(), "{counters}");
}

#[test]
fn counters_of_each_network_namespace_are_shown() {
    root!();
    python!();
    for needed in ["unshare", "ip", "nsenter"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let inner = Inner::start();
    let number_of_process = inner.0.id();
    let pid = number_of_process.to_string();
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).expect("a link");
    let number = link
        .to_str()
        .and_then(|link| link.strip_prefix("net:[")?.strip_suffix(']'));
    let number: u64 = number.expect("a number").parse().expect("a number");

    let json = |command: &mut Command| -> Value {
        let output = output_within(LIMIT, command.arg("--json"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    };
    let outside = json(&mut doctor());
    let theirs = counters(&outside, |entry| entry["namespace"] == number);
    assert_counted(&theirs);
    assert_eq!(
        (&theirs["own"], theirs["pid"].to_string()),
        (&false.into(), pid.clone())
    );

    // Without the right to name the namespace, but it is counted by itself.
    let installed = Installed::new();
    let mut command = wrapped(&NOBODY, installed.keepalive());
    let ordinary = json(command.arg("doctor").current_dir("/"));
    let theirs = counters(&ordinary, |entry| entry["pid"] == number_of_process);
    assert_eq!(theirs["namespace"], Value::Null);
    assert_counted(&theirs);

    let mut within = Command::new("nsenter");
    within
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("--")
        .arg(doctor().get_program());
    let own = counters(&json(within.arg("doctor")), |entry| entry["own"] == true);
    assert_eq!(own["namespace"], number);
    assert_counted(&own);

    let shown = text(&output_within(LIMIT, doctor().args(["--pid", &pid])).stdout);
    let finding = "ok history: in the network namespace of the process, since it exists: 2 keepalive probes were sent \
                   (TCPKeepAlive); 3 connections were given up because no answer came, to probes, data or SYN \
                   (TCPAbortOnTimeout); 4 established connections ended without FIN, by a RST of either end or by giving \
                   up (EstabResets);";
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let findings: Vec<String> = unfolded(&shown).iter().map(|line| words(line)).collect();
    let history = findings.iter().find(|line| line.starts_with(finding));
    let advice = "-> keepalive trace shows which connections end";
    assert!(history.is_some_and(|line| line.contains(advice)), "{shown}");
}
