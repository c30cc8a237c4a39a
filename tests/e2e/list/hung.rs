//! Processes that wait for a file system which answers nothing: they cannot delay what is shown of the others.

use super::rights::TRACER;
use super::{CONNECTION, assert_has, entries, list, parsed};
use crate::support::hung::{HungFuse, TIME, may_hang};
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

/// The name by which the interpreter is known where its own path cannot be read.
fn executable() -> String {
    let path = fs::canonicalize(PYTHON).expect("it is installed");
    path.file_name().expect("a file").to_str().expect("text").to_owned()
}

fn parsed_output(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    parsed(&text(&output.stdout))
}

#[test]
fn a_name_in_memory_that_cannot_be_read_is_not_read() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.does(CONNECTION);
    program.does("map_hung_over_name()");
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

/// With the right to trace alone each descriptor is duplicated, and closing the duplicate of a file asks its file system.
#[test]
fn a_descriptor_whose_file_system_hangs_delays_no_other_process() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.does(CONNECTION);
    program.does("file = open(os.environ['HUNG_FILE'])");
    program.hang();
    let pid = program.pid().to_string();
    // Root looks at sockets alone.
    assert_eq!(entries(&[&pid]).len(), 3);
    let mut other = PyPeer::start();
    other.does(CONNECTION);
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

/// While a process starts another program, and closes a file whose file system hangs, the kernel lets nobody look into it:
/// even the links in its directory of /proc wait.
#[test]
fn of_a_process_that_hangs_in_execve_its_sockets_are_shown_as_of_unknown_holders() {
    let fuse = hung!();
    let _guard = may_hang();
    let mut program = fuse.py_peer();
    program.does("file = open(os.environ['HUNG_FILE'])");
    program.does("listener = listen(); os.set_inheritable(listener.fileno(), True)");
    program.does("child = os.fork() or (os.kill(int(os.environ['HUNG_SERVER']), 10), os.execv('/bin/true', ['true']))");
    let child = program.number("child");
    let address = format!("127.0.0.1:{}", program.number("listener.getsockname()[1]"));
    program.does("listener.close()");
    // It has the new program's memory already, of which there is little yet.
    let status = format!("/proc/{child}/status");
    eventually("it executes the other program", TIME, || {
        let status = fs::read_to_string(&status).ok()?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
        let size: u64 = size.split_whitespace().next()?.parse().ok()?;
        (size < 1000).then_some(())
    });
    let mut other = PyPeer::start();
    other.does(CONNECTION);
    let output = output_within(TIME, &mut list(&["--json"]));
    let entries = parsed_output(&output);
    let of_other = entries.iter().filter(|entry| entry["pid"] == other.pid());
    assert_eq!(of_other.count(), 3);
    let mut of_child = entries.iter().filter(|entry| entry["local"] == address);
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
fn a_watch_goes_on_and_leaves_one_worker_behind_at_most() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.does("file = open(os.environ['HUNG_FILE'])");
    program.hang();
    let mut other = PyPeer::start();
    other.does(CONNECTION);
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
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a number"), Signal::TERM).expect("it is ours");
    assert_eq!(watch.wait_for_end().code(), None);
}

#[test]
fn an_executable_whose_file_system_hangs_delays_neither_list_nor_doctor() {
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
