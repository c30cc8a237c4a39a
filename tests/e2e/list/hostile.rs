//! Processes whose page faults are not served, that are frozen, or that start others without end: `list` and `attach`
//! still end.

use super::{CONNECTION, assert_has, entries, list, parsed};
use crate::support::hung::TIME;
use crate::support::keepalive;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, compile, no_config};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

/// Runs `keepalive attach` with a policy of its own.
fn attach(words: &[&str]) -> Output {
    let mut command = Command::new(keepalive());
    command
        .args(["attach", "--idle=62"])
        .args(words)
        .env("KEEPALIVE_CONFIG", no_config());
    output_within(TIME, &mut command)
}

/// Asserts that the program's connection has the settings of [`attach`].
#[track_caller]
fn assert_attached(program: &PyPeer) {
    let pid = program.pid().to_string();
    let seen = entries(&[&pid]);
    assert_eq!(seen.len(), 3);
    for entry in &seen {
        assert!(
            [61, 62].map(serde_json::Value::from).contains(&entry["idle_s"]),
            "{entry}"
        );
        assert_eq!(entry["keepalive"], true, "{entry}");
    }
}

/// A process that reads such a page waits until its fault is served.
#[test]
fn name_with_unserved_page_faults_delays_nothing() {
    root!();
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let answer = program.ask("userfault_over_name()");
    if answer != "registered" {
        skip!("userfaultfd: {answer}");
    }
    let pid = program.pid().to_string();
    assert_has(&program.entry("client"), &json!({"keepalive": true, "idle_s": 61}));
    let output = output_within(TIME, list(&["--json", "--program"]).arg("no-such-program"));
    assert!(text(&output.stderr).contains("no process is called"), "{output:?}");
    let output = attach(&[&pid]);
    assert!(output.status.success(), "{output:?}");
    assert_attached(&program);
}

/// A frozen process cannot run, but its sockets are in the kernel.
#[test]
fn frozen_process_is_shown_and_attached_to() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let pid = program.pid().to_string();
    let cgroup = test_cgroup.child("frozen");
    fs::write(cgroup.join("cgroup.procs"), &pid).expect("a cgroup of the test");
    fs::write(cgroup.join("cgroup.freeze"), "1").expect("a cgroup of the test");
    eventually("it is frozen", LIMIT, || {
        let events = fs::read_to_string(cgroup.join("cgroup.events")).ok()?;
        events.contains("frozen 1").then_some(())
    });
    let output = attach(&[&pid]);
    assert!(output.status.success(), "{output:?}");
    assert_attached(&program);
    let output = output_within(TIME, &mut list(&["--json"]));
    let shown = parsed(&text(&output.stdout));
    assert_eq!(shown.iter().filter(|entry| entry["pid"] == program.pid()).count(), 3);
    fs::write(cgroup.join("cgroup.freeze"), "0").expect("a cgroup of the test");
    program.execute("1");
}

#[test]
fn endless_process_starts_delay_nothing() {
    root!();
    python!();
    if let Some(why) = Libc::Host.missing() {
        skip!("{why}");
    }
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let pid = program.pid().to_string();
    let endless = compile(Libc::Host, "endless.c", &[]);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(&endless)
        .stdout(Stdio::piped());
    let mut processes = Running::start(&mut command);
    let mut line = String::new();
    let stdout = processes.child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    for _ in 0..3 {
        let output = output_within(TIME, &mut list(&["--json"]));
        assert!(output.status.success(), "{output:?}");
        let shown = parsed(&text(&output.stdout));
        assert_eq!(shown.iter().filter(|entry| entry["pid"] == program.pid()).count(), 3);
        let output = output_within(TIME, &mut list(&["--json", "--program", "endless"]));
        let shown = parsed(&text(&output.stdout));
        assert!(output.status.success() && !shown.is_empty(), "{output:?}");
        let output = attach(&["--program", "endless"]);
        assert!(output.status.success(), "{output:?}");
    }
    let output = attach(&[&pid]);
    assert!(output.status.success(), "{output:?}");
    assert_attached(&program);
}
