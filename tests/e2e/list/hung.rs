//! Processes that wait for a file system that does not answer: they do not delay the output about other processes.

use super::rights::TRACER;
use super::{CONNECTION, assert_has, entries, list, parsed};
use crate::support::hung::{HungFuse, TIME, with_hung_process};
use crate::support::observe::family;
use crate::support::ordinary::Installed;
use crate::support::process::{Running, eventually, output_within, text, wrapped};
use crate::support::py_peer::PyPeer;
use crate::support::{PYTHON, keepalive};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Returns the interpreter's name if its own path cannot be read.
fn executable() -> String {
    let path = fs::canonicalize(PYTHON).expect("it is installed");
    path.file_name().expect("a file").to_str().expect("text").to_owned()
}

fn parsed_output(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    parsed(&text(&output.stdout))
}

#[test]
fn name_in_unreadable_memory_is_not_read() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.execute(CONNECTION);
    program.execute("map_hung_over_name()");
    program.hang();
    let entry = program.entry("client");
    assert_has(
        &entry,
        &json!({"keepalive": true, "idle_s": 61, "program": executable()}),
    );
    for name in ["no-such-program", &executable()] {
        let output = output_within(TIME, list(&["--json", "--program"]).arg(name));
        assert_eq!(
            output.status.success(),
            name == executable(),
            "{}",
            text(&output.stderr)
        );
    }
}

/// With only CAP_SYS_PTRACE each descriptor is duplicated, and closing the duplicate of a file sends a request to its
/// file system.
#[test]
fn descriptor_on_a_hung_file_system_delays_no_other_process() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.execute(CONNECTION);
    program.execute("file = open(os.environ['HUNG_FILE'])");
    program.hang();
    let pid = program.pid().to_string();
    // Root duplicates only sockets.
    assert_eq!(entries(&[&pid]).len(), 3);
    let mut other = PyPeer::start();
    other.execute(CONNECTION);
    let installed = Installed::new();
    let other_pid = other.pid().to_string();
    let mut command = wrapped(&TRACER, installed.keepalive());
    let output = output_within(
        TIME,
        command.args(["list", "--json", &pid, &other_pid]).current_dir("/"),
    );
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains(&format!("cannot see process {pid}: it does not answer")),
        "{errors}"
    );
    assert_eq!(parsed(&text(&output.stdout)).len(), 3, "{errors}");
}

/// While a process is in execve(2) and closes a file whose file system hangs, the kernel lets no other process inspect
/// it: even reading the links in its /proc directory waits.
#[test]
fn sockets_of_a_process_that_hangs_in_execve_are_shown_without_a_holder() {
    let fuse = hung!();
    let _guard = with_hung_process();
    let mut program = fuse.py_peer();
    program.execute("file = open(os.environ['HUNG_FILE'])");
    program.execute("listener = listen(); os.set_inheritable(listener.fileno(), True)");
    program
        .execute("child = os.fork() or (os.kill(int(os.environ['HUNG_SERVER']), 10), os.execv('/bin/true', ['true']))");
    let child = program.number("child");
    // Sockets of other network namespaces can have the same address.
    let inode = program.number("os.fstat(listener.fileno()).st_ino");
    program.execute("listener.close()");
    // The process already has the new program's memory, which is still small.
    let status = format!("/proc/{child}/status");
    eventually("it executes the other program", TIME, || {
        let status = fs::read_to_string(&status).ok()?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
        let size: u64 = size.split_whitespace().next()?.parse().ok()?;
        (size < 1000).then_some(())
    });
    let mut other = PyPeer::start();
    other.execute(CONNECTION);
    let output = output_within(TIME, &mut list(&["--json"]));
    let entries = parsed_output(&output);
    let of_other = entries.iter().filter(|entry| entry["pid"] == other.pid());
    assert_eq!(of_other.count(), 3);
    let mut of_child = entries.iter().filter(|entry| entry["inode"] == inode);
    let expected = json!({"pid": null, "state": "listen", "keepalive": null, "idle_s": null});
    assert_has(of_child.next().expect("it is in the kernel's table"), &expected);
    let errors = text(&output.stderr);
    assert!(
        errors.contains(" not answer") && errors.contains(&child.to_string()),
        "{errors}"
    );
    let output = output_within(TIME, &mut list(&[&child.to_string()]));
    let error = format!("keepalive: cannot see process {child}: it does not answer\n");
    assert!(text(&output.stderr).contains(&error), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn watch_continues_and_leaves_at_most_one_worker() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.execute("file = open(os.environ['HUNG_FILE'])");
    program.hang();
    let mut other = PyPeer::start();
    other.execute(CONNECTION);
    let installed = Installed::new();
    let numbers = [program.pid(), other.pid()].map(|pid| pid.to_string());
    let mut command = wrapped(&TRACER, installed.keepalive());
    command.args(["list", "--json", "--watch"]).args(&numbers);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    let mut watch = Running::start(&mut command);
    let mut lines = BufReader::new(watch.child.stdout.take().expect("a pipe")).lines();
    for _ in 0..6 {
        let line = lines.next().expect("another line").expect("text");
        let of_other = parsed(&line).iter().filter(|entry| entry["pid"] == other.pid()).count();
        assert_eq!(of_other, 3, "{line}");
    }
    let pid = watch.pid();
    let workers = || family(pid).len() - 1;
    eventually("few workers", TIME, || (workers() <= 2).then_some(()));
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a number"), Signal::TERM).expect("a child of the test");
    assert_eq!(watch.wait_for_end().code(), None);
}

#[test]
fn executable_on_a_hung_file_system_delays_neither_list_nor_doctor() {
    let fuse = hung!();
    let wrapper = fuse.wrapper(Path::new("/bin/sleep"));
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let running = Running::start(wrapped(&words, "sh").args(["-c", "exec \"$HUNG_FILE\" 1000"]));
    let pid = running.pid().to_string();
    let state = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    eventually("it sleeps", TIME, || {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (exe == fuse.file() && state().contains("nanosleep")).then_some(())
    });
    HungFuse::hang(&running);
    let output = output_within(TIME, &mut list(&[&pid]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut doctor = Command::new(keepalive());
    let output = output_within(TIME, doctor.args(["doctor", "--pid", &pid, "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let finding = |subject: &str| {
        findings
            .iter()
            .find(|finding| finding["subject"] == subject)
            .expect("it is there")
    };
    assert!(
        finding("program")["text"]
            .as_str()
            .expect("text")
            .starts_with("is not known:"),
        "{report}"
    );
    assert_eq!(finding("connections")["text"], "none to other machines");
}
