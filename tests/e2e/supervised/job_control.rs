//! A terminal, a shell and its jobs work as without keepalive.

use super::{Keepalive, LIMIT, outcome, printed, sockets};
use crate::support::process::{eventually, output_within};
use crate::support::target::POLICY_VALUES;
use crate::support::{PYTHON, find_program, repository};
use std::process::Command;

/// Runs `steps` at a terminal of `command`, see `targets/terminal.py`. `RUN` stands for the command under test.
#[track_caller]
pub(super) fn run_at_terminal(keepalive: &Keepalive, command: &mut Command, steps: &[&str]) {
    let run = format!("{} run --engine seccomp", keepalive.path().display());
    let steps = steps.iter().map(|step| step.replace("RUN", &run));
    let output = output_within(LIMIT + LIMIT, command.args(steps));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the command of an interactive shell at a terminal.
pub(super) fn terminal(command: &mut Command) -> &mut Command {
    let script = repository().join("tests/targets/terminal.py");
    command.env("PS1", "ready>").arg(script);
    command.arg("bash --norc --noprofile --noediting -i")
}

/// Steps with `cat` and with a shell.
pub(super) const INTERRUPT: [&str; 8] = [
    "see ready>",
    "type RUN cat^M",
    "type first^M",
    "see first",
    "type ^C",
    "see ready>",
    "type echo status=$?^M",
    "see status=130",
];
pub(super) const STOP_AND_CONTINUE: [&str; 13] = [
    "see ready>",
    "type RUN cat^M",
    "type first^M",
    "see first",
    "type ^Z",
    "see Stopped",
    "see ready>",
    "type fg^M",
    "type second^M",
    "see second",
    "type ^D",
    "type echo status=$?^M",
    "see status=0",
];
pub(super) const BACKGROUND: [&str; 10] = [
    "see ready>",
    "type RUN sh -c 'exit 7' & wait $!; echo status=$?^M",
    "see status=7",
    "type RUN sleep 1000 &^M",
    "type kill %1; wait %1; echo status=$?^M",
    "see status=143",
    // A background job that reads is stopped, and continues in the foreground.
    "type RUN cat & wait $!; echo status=$?^M",
    "see status=149",
    "type fg^M",
    "type ^D",
];

fn at_a_terminal(steps: &[&str]) {
    if find_program("bash").is_none() || find_program(PYTHON).is_none() {
        skip!("bash or python3 is not installed");
    }
    let keepalive = Keepalive::new();
    run_at_terminal(&keepalive, terminal(&mut keepalive.environment(PYTHON.as_ref())), steps);
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
}

#[test]
fn interrupt_key_ends_the_command() {
    at_a_terminal(&INTERRUPT);
}

#[test]
fn stop_key_stops_the_command_until_it_is_continued() {
    at_a_terminal(&STOP_AND_CONTINUE);
}

#[test]
fn background_jobs_can_be_awaited_and_ended() {
    at_a_terminal(&BACKGROUND);
}

#[test]
fn handler_of_the_command_is_called_for_the_key() {
    at_a_terminal(&[
        "see ready>",
        "type RUN sh -c 'trap \"echo caught; exit 9\" INT; echo set; while :; do sleep 0.1; done'^M",
        "see set",
        "type ^C",
        "see caught",
        "see ready>",
        "type echo status=$?^M",
        "see status=9",
    ]);
}

/// After the terminal is closed, no process is left.
#[test]
fn closing_the_terminal_ends_the_command() {
    at_a_terminal(&["see ready>", "type RUN cat^M", "type first^M", "see first"]);
}

#[test]
fn pipeline_of_two_is_one_job() {
    at_a_terminal(&[
        "see ready>",
        "type RUN cat | RUN cat^M",
        "type first^M^D",
        "see first",
        "see ready>",
        "type RUN cat | RUN cat^M",
        "type second^M",
        "see second",
        "type ^C",
        "see ready>",
        "type echo ${PIPESTATUS[@]}^M",
        "see 130 130",
    ]);
}

#[test]
fn no_terminal_is_needed() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.environment("setsid".as_ref());
    command
        .arg("--wait")
        .arg(keepalive.path())
        .args(["run", "--engine", "seccomp"]);
    let words = ["tcp", "connect", "show"];
    assert_eq!(
        printed(command.arg(sockets()).args(words)),
        format!("connect: 0\ntcp: {POLICY_VALUES}\n")
    );
    let mut command = keepalive.environment("setsid".as_ref());
    command
        .arg("--wait")
        .arg(keepalive.path())
        .args(["run", "--engine", "seccomp"]);
    assert_eq!(outcome(command.args(["sh", "-c", "exit 3"])).2, Some(3));
}
