//! `keepalive run --engine cgroup`: the lifetime of the command's own cgroup. The options of sockets in it are tested
//! in [`crate::kernel`].

mod refused;

use super::{POLICY, pair_with};
use crate::support::process::{LIMIT, Running, eventually, output_within, text, within};
use crate::support::py_peer::PyPeer;
use crate::support::target::POLICY_VALUES;
use crate::support::test_cgroup::TestCgroup;
use crate::support::{PYTHON, keepalive};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Returns the cgroups directly below `directory`.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a cgroup").flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn processes(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).expect("a cgroup");
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// Waits until this cgroup contains neither cgroups nor processes.
#[track_caller]
fn wait_until_empty(directory: &Path) {
    eventually("nothing is left", LIMIT, || {
        (below(directory).is_empty() && processes(directory).is_empty()).then_some(())
    });
}

/// Returns `keepalive run --engine cgroup` with these options, in the test's cgroup; the caller adds the command.
fn run(test_cgroup: &TestCgroup, options: &[&str]) -> Command {
    let mut command = test_cgroup.enter(keepalive());
    command.args(["run", "--engine", "cgroup"]).args(options).arg("--");
    command
}

fn shell(test_cgroup: &TestCgroup, script: &str) -> Output {
    output_within(LIMIT, run(test_cgroup, &POLICY).args(["sh", "-c", script]))
}

/// Starts a Python program under `keepalive run`.
fn py_peer(test_cgroup: &TestCgroup, directory: &Path, options: &[&str]) -> PyPeer {
    let keepalive = keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    let words = [&[keepalive, "run", "--engine", "cgroup"], options, &["--"]].concat();
    test_cgroup.py_peer_in(directory, &words)
}

#[test]
fn exit_status_is_that_of_the_command() {
    let test_cgroup = test_cgroup!();
    for status in [0, 1, 7, 125, 255] {
        let output = shell(&test_cgroup, &format!("echo out; echo err >&2; exit {status}"));
        assert_eq!(output.status.code(), Some(status));
        assert_eq!([text(&output.stdout), text(&output.stderr)], ["out\n", "err\n"]);
    }
    for signal in [Signal::TERM, Signal::KILL, Signal::HUP] {
        let output = shell(&test_cgroup, &format!("kill -{} $$", signal.as_raw()));
        assert_eq!(output.status.signal(), Some(signal.as_raw()));
    }
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn command_keeps_its_process_number_and_has_no_child() {
    let test_cgroup = test_cgroup!();
    let mut program = run(&test_cgroup, &[]);
    program.args([
        "sh",
        "-c",
        "echo $$; echo $(cat /proc/$$/task/$$/children); exec sleep 1000",
    ]);
    let mut program = crate::support::line_peer::LinePeer::start(&mut program);
    assert_eq!(program.answer(), program.pid().to_string());
    // Only cat itself is in the cgroup.
    let children = program.answer();
    assert_eq!(children.split_whitespace().count(), 1, "{children}");
    let pid = Pid::from_raw(program.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(program.wait_for_end().signal(), Some(Signal::TERM.as_raw()));
    wait_until_empty(test_cgroup.directory());
}

/// The process that removes the cgroup is not a child of the first process of a container, or of a child subreaper
/// (PR_SET_CHILD_SUBREAPER, 36), which could wait for it.
#[test]
fn command_can_wait_for_all_children() {
    const SUBREAPER: &str =
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])";
    let test_cgroup = test_cgroup!();
    python!();
    let script = "
import os
if os.fork() == 0:
    os._exit(0)
os.wait()
try:
    os.wait()
    print('another child')
except ChildProcessError:
    print('no child')
";
    let container = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let subreaper = ["-c", SUBREAPER];
    for (first, words) in [("unshare", &container[..]), (PYTHON, &subreaper)] {
        let mut command = test_cgroup.enter(first);
        command
            .args(words)
            .arg(keepalive())
            .args(["run", "--engine", "cgroup", "--"]);
        let output = output_within(LIMIT, command.args([PYTHON, "-c", script]));
        assert_eq!(
            [text(&output.stdout), text(&output.stderr)],
            ["no child\n", ""],
            "{first}"
        );
    }
    wait_until_next_command_has_cleaned_up(&test_cgroup);
}

#[test]
fn cgroup_lasts_until_the_last_process_has_ended() {
    let test_cgroup = test_cgroup!();
    python!();
    let output = shell(&test_cgroup, "sleep 1000 >&- 2>&- & echo $!");
    let left: u32 = text(&output.stdout).trim().parse().expect("a number");
    let [directory] = &below(test_cgroup.directory())[..] else {
        panic!("one cgroup");
    };
    assert_eq!(processes(directory), [left]);
    // Other processes can join the cgroup.
    let mut program = test_cgroup.py_peer_in(directory, &[]);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);
    program.0.finish();
    program.0.wait_for_end();
    let pid = Pid::from_raw(left.cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("it sleeps");
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn next_command_removes_the_cgroup_of_a_killed_helper() {
    let test_cgroup = test_cgroup!();
    let mut first = Running::start(run(&test_cgroup, &[]).args(["sleep", "1000"]));
    let directory = test_cgroup.directory().to_owned();
    let helper = eventually("the helper", LIMIT, || {
        let all = processes(&directory);
        let others: Vec<u32> = all.into_iter().filter(|pid| *pid != first.pid()).collect();
        let is_begun = below(&directory)
            .first()
            .is_some_and(|below| processes(below) == [first.pid()]);
        is_begun.then_some(others)
    });
    let [helper] = helper[..] else {
        panic!("{helper:?}");
    };
    let helper = Pid::from_raw(helper.cast_signed()).expect("a process");
    kill_process(helper, Signal::KILL).expect("it waits");
    eventually("its end", LIMIT, || processes(&directory).is_empty().then_some(()));
    // A cgroup with processes is not removed.
    let [left] = &below(&directory)[..] else {
        panic!("one cgroup");
    };
    assert!(shell(&test_cgroup, "").status.success());
    assert_eq!(processes(left), [first.pid()]);
    let pid = Pid::from_raw(first.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("it sleeps");
    first.wait_for_end();
    eventually("it is empty", LIMIT, || processes(left).is_empty().then_some(()));
    assert!(shell(&test_cgroup, "").status.success());
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn commands_with_the_same_process_number_have_separate_cgroups() {
    let test_cgroup = test_cgroup!();
    python!();
    // Both are the first processes of their pid namespaces, so they have the same number.
    let keepalive = keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    let words = [
        &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"][..],
        &[keepalive, "run", "--engine", "cgroup"],
        &POLICY,
        &["--"],
    ]
    .concat();
    let mut programs: Vec<_> = (0..3)
        .map(|_| test_cgroup.py_peer_in(test_cgroup.directory(), &words))
        .collect();
    for program in &mut programs {
        // The test would look in the wrapper, whose child holds the descriptor: so the program reads its options
        // itself.
        program.execute("client, accepted = pair(listen())");
        assert_eq!(
            program.ask("[client.getsockopt(*OPTIONS[name]) for name in OPTIONS]"),
            "[1, 61, 13, 4, 0]"
        );
    }
    assert_eq!(below(test_cgroup.directory()).len(), 3);
    drop(programs);
    wait_until_next_command_has_cleaned_up(&test_cgroup);
}

/// In a pid namespace the helpers are killed with its first process; the next command removes the remaining cgroups.
#[track_caller]
fn wait_until_next_command_has_cleaned_up(test_cgroup: &TestCgroup) {
    eventually("nothing is left", LIMIT, || {
        assert!(shell(test_cgroup, "").status.success());
        // That command has a helper of its own, which needs some time.
        within(Duration::from_secs(2), || {
            (below(test_cgroup.directory()).is_empty() && processes(test_cgroup.directory()).is_empty()).then_some(())
        })
    });
}

#[test]
fn nested_command_takes_what_it_does_not_set_from_the_environment() {
    let test_cgroup = test_cgroup!();
    python!();
    let keepalive = keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    let inner = ["--", keepalive, "run", "--engine", "cgroup", "--idle=31"];
    let mut program = py_peer(&test_cgroup, test_cgroup.directory(), &[&POLICY[..], &inner].concat());
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), "1 31 13 4 0");
    drop(program);
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn policy_of_the_command_replaces_the_policy_of_the_enclosing_cgroup() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&["--idle=31", "--mode=enforce"]);
    let child = test_cgroup.child("child");
    let mut program = py_peer(&test_cgroup, &child, &POLICY);
    program.execute("client, accepted = pair(listen(), count=7)");
    assert_eq!(program.has("client"), "1 61 13 7 0");
    let [directory] = &below(&child)[..] else {
        panic!("one cgroup");
    };
    assert_eq!(processes(directory), [program.pid()]);
    let mut other = pair_with(&test_cgroup, "");
    assert_eq!(other.has("client"), "1 31 75 9 0");
    drop((program, other));
    wait_until_empty(&child);
}

#[test]
fn policy_off_creates_no_cgroup() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    let mut command = run(&test_cgroup, &POLICY);
    command
        .env("KEEPALIVE", "off")
        .args(["grep", "^0::", "/proc/self/cgroup"]);
    let output = output_within(LIMIT, &mut command);
    assert_eq!(text(&output.stdout), format!("0::{name}\n"), "{output:?}");
    let output = output_within(
        LIMIT,
        run(&test_cgroup, &POLICY).args(["grep", "^0::", "/proc/self/cgroup"]),
    );
    let begin = format!("0::{name}/keepalive-");
    assert!(text(&output.stdout).starts_with(&begin), "{output:?}");
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn verbose_names_the_engine() {
    let test_cgroup = test_cgroup!();
    let output = output_within(LIMIT, run(&test_cgroup, &["-v", "--idle=61"]).arg("true"));
    assert!(output.status.success(), "{output:?}");
    let begin = "keepalive: engine cgroup: because --engine cgroup asks for it\nkeepalive: settings: idle=61s\n";
    assert!(text(&output.stderr).starts_with(begin), "{output:?}");
    wait_until_empty(test_cgroup.directory());
}
