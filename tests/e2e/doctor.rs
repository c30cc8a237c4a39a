//! `keepalive doctor`: what is wrong comes first, with what to do; the rest is true.

mod access;
mod container;
mod history;
mod namespaces;
mod requirements;

use crate::support::target::{Libc, compile};
use crate::support::{PYTHON, keepalive, library};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

fn doctor() -> Command {
    let mut command = Command::new(keepalive());
    command
        .arg("doctor")
        .env("KEEPALIVE_LIBRARY", library())
        .stdin(Stdio::null());
    command
}

fn shown(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = command.output().expect("keepalive starts");
    let text = String::from_utf8(stdout).expect("UTF-8");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
    (status.code(), text)
}

/// One line for each finding, its advice behind it.
fn unfolded(text: &str) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("       "), findings.last_mut()) {
            (Some(more), Some(finding)) => *finding = format!("{finding} {}", more.trim_start()),
            _ => findings.push(line.to_owned()),
        }
    }
    findings
}

#[track_caller]
fn expect_first(command: &mut Command, words: &[&str]) {
    let (status, text) = shown(command);
    assert_eq!(status, Some(1), "{text}");
    let first = unfolded(&text).remove(0);
    for word in words {
        assert!(first.contains(word), "no '{word}' in {first}\n{text}");
    }
}

#[test]
fn the_machine_is_examined_without_anything_being_changed() {
    let (_, text) = shown(&mut doctor());
    for subject in [
        "kernel: Linux",
        "engine preload:",
        "engine seccomp:",
        "engine cgroup:",
        "sysctls:",
        "policy:",
    ] {
        assert!(text.contains(subject), "{subject}: {text}");
    }
}

#[test]
fn problems_come_first_with_a_hint() {
    let missing = "WRONG  LD_PRELOAD: names /nowhere/lib.so, which is not there";
    expect_first(
        doctor().env("LD_PRELOAD", "/nowhere/lib.so"),
        &[missing, "-> take it out"],
    );
    expect_first(
        doctor().env("KEEPIDLE", "60x"),
        &["WRONG  policy: KEEPIDLE=60x", "-> the library ignores"],
    );
    expect_first(
        doctor().env("KEEPALIVE_LIBRARY", "/nowhere/lib.so"),
        &[
            "WRONG  engine preload: cannot find",
            "-> name the library in KEEPALIVE_LIBRARY",
        ],
    );
    let rules = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(rules.path(), "conect off\n").expect("it can be written");
    let place = format!("{}:1:1", rules.path().display());
    expect_first(
        doctor().env("KEEPALIVE_CONFIG", rules.path()),
        &["WRONG  policy:", &place],
    );
}

#[test]
fn program_is_examined_by_its_file() {
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    // Its files show no call that the library does not see.
    let dynamic = compile(Libc::Host, "client.c", &[]);
    let (_, text) = shown(doctor().arg("--").arg(&dynamic));
    let findings = unfolded(&text).join("\n");
    assert!(findings.contains("is a dynamic program (glibc, /lib"), "{text}");
    let (engine, why) = if rustix::process::geteuid().is_root() {
        ("preload and seccomp", "the supervisor takes no privilege here")
    } else {
        ("preload", "starts no other and loads no modules")
    };
    let uses = format!("keepalive run: uses engine {engine}: ");
    assert!(findings.contains(&uses) && findings.contains(why), "{text}");
    let fixed = compile(Libc::Host, "churn.c", &["-static"]);
    let (_, text) = shown(doctor().arg("--").arg(&fixed));
    let findings = unfolded(&text).join("\n");
    assert!(findings.contains("is a static program for"), "{text}");
    assert!(
        findings.contains("note   library:") && findings.contains("no library can be loaded into it"),
        "{text}"
    );
    let output = doctor()
        .args(["--", "/nowhere/program"])
        .output()
        .expect("keepalive starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no such program"),
        "{output:?}"
    );
}

#[test]
fn json_is_valid() {
    let output = doctor()
        .args(["--json", "--", "/bin/sh"])
        .output()
        .expect("keepalive starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["engine"].is_string(), "{report}");
    let findings = report["findings"].as_array().expect("an array");
    let rank = |finding: &Value| {
        ["wrong", "note", "fine"]
            .iter()
            .position(|level| finding["level"] == *level)
    };
    let ranks: Vec<_> = findings.iter().map(|finding| rank(finding).expect("a level")).collect();
    assert!(ranks.is_sorted(), "{report}");
    for finding in findings {
        assert!(
            finding["subject"].is_string() && finding["text"].is_string(),
            "{finding}"
        );
    }
}

/// A program in a network namespace of its own, connected to itself by an address that is not loopback's.
const CONNECTED: &str = "
import socket, sys
listener = socket.create_server(('10.9.9.9', 0))
client = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
print('ready', flush=True)
sys.stdin.read()";

#[test]
fn process_is_examined_by_its_connections() {
    root!();
    python!();
    let mut program = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up; ip address add 10.9.9.9/32 dev lo; exec \"$@\"",
            "sh",
            PYTHON,
            "-c",
        ])
        .arg(CONNECTED)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut line = String::new();
    let mut output = BufReader::new(program.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("it says something");
    assert_eq!(line, "ready\n");
    let pid = program.id().to_string();
    let words = [
        "WRONG  connections: 2 of 2 to other machines have no keepalive",
        &format!("-> keepalive attach {pid}"),
    ];
    expect_first(doctor().args(["--pid", &pid]), &words);

    let attached = Command::new(keepalive())
        .args(["attach", "--idle", "1000", &pid])
        .output()
        .expect("keepalive starts");
    assert!(attached.status.success(), "{attached:?}");
    let (_, text) = shown(doctor().args(["--pid", &pid]));
    assert!(
        unfolded(&text)
            .join("\n")
            .contains("note   connections: 2 of 2 to other machines are probed after more than"),
        "{text}"
    );

    let attached = Command::new(keepalive())
        .args(["attach", "--idle", "60", "--mode", "enforce", &pid])
        .output()
        .expect("keepalive starts");
    assert!(attached.status.success(), "{attached:?}");
    let (_, text) = shown(doctor().args(["--pid", &pid]));
    let findings = unfolded(&text).join("\n");
    assert!(
        findings.contains("ok     connections: 2 to other machines, all with keepalive"),
        "{text}"
    );
    assert!(findings.contains("ok     library: is not in the process"), "{text}");
    assert!(findings.contains("the network namespace of the process"), "{text}");

    drop(program.stdin.take());
    program.wait().expect("it ends");
    let output = doctor().args(["--pid", &pid]).output().expect("keepalive starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("there is no such process"),
        "{output:?}"
    );
}

#[test]
fn a_process_and_a_command_are_not_examined_at_once() {
    let output = doctor()
        .args(["--pid", "1", "--", "ls"])
        .output()
        .expect("keepalive starts");
    assert_eq!(output.status.code(), Some(2));
    let output = doctor().args(["--pid", "0"]).output().expect("keepalive starts");
    assert_eq!(output.status.code(), Some(2));
}
