//! A command that is killed at any call leaves either the previous policy or the new one, complete. `status` reports
//! which, and the next command completes the change and leaves nothing else.
//!
//! By default the command is killed before each system call that may have a lasting effect, with
//! `KEEPALIVE_TEST_KILL=every` before each call but read(2).

use super::policy_state::{CAP, ENFORCE, FILL, NONE, Policy, PolicyState};
use crate::support::keepalive;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::{Libc, compile};
use std::env;
use std::fs;
use std::process::Command;

/// Kills a command before its system call with this number. Returns the call, or `None` if the command ended before.
#[track_caller]
fn kill(number: u32, command: impl Fn(&[&str]) -> Command) -> Option<String> {
    let killer = compile(Libc::Host, "killed.c", &[]);
    let which = env::var("KEEPALIVE_TEST_KILL").unwrap_or_else(|_| "lasting".to_owned());
    let number = number.to_string();
    let wrapper = [killer.to_str().expect("a UTF-8 path"), "kill", &which, &number];
    let output = output_within(LIMIT, &mut command(&wrapper));
    assert!(output.status.success(), "{number}: {}", text(&output.stderr));
    let printed = text(&output.stdout);
    let call = printed
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("killed before "));
    call.map(str::to_owned)
}

/// Kills the command that changes from one policy to the other at every call.
fn check(mut policy_state: PolicyState, from: Policy, to: Policy) {
    let [none, old, new] = [NONE, from, to].map(|policy| policy_state.state_with(policy));
    for number in 1.. {
        for (next, expected) in [(to, &new), (NONE, &none)] {
            policy_state.set(NONE);
            policy_state.set(from);
            let Some(call) = kill(number, |wrapper| policy_state.command(wrapper, to)) else {
                assert!(number > 5, "it was never killed");
                return;
            };
            let what = format!("killed before call {number}, {call}");
            policy_state.wait_for(&what, |state| state.is_as(&old) || state.is_as(&new));
            policy_state.set(next);
            policy_state.wait_for(&format!("{what}; then {next:?}"), |state| state == expected);
        }
    }
}

#[test]
fn first_enable() {
    check(PolicyState::new(test_cgroup!()), NONE, ENFORCE);
}

#[test]
fn first_enable_that_mounts_the_file_system() {
    root!();
    match PolicyState::without_file_system() {
        Ok(policy_state) => check(policy_state, NONE, FILL),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn enable_from_fill_to_enforce() {
    check(PolicyState::new(test_cgroup!()), FILL, ENFORCE);
}

#[test]
fn enable_from_enforce_to_fill() {
    check(PolicyState::new(test_cgroup!()), ENFORCE, FILL);
}

#[test]
fn enable_from_enforce_to_cap() {
    check(PolicyState::new(test_cgroup!()), CAP, ENFORCE);
}

#[test]
fn enable_without_program_rules_after_one_with_them() {
    check(PolicyState::new(test_cgroup!()), ENFORCE, CAP);
}

#[test]
fn disable() {
    check(PolicyState::new(test_cgroup!()), ENFORCE, NONE);
}

#[test]
fn run_with_its_own_cgroup_and_the_process_that_removes_it() {
    let test_cgroup = test_cgroup!();
    let run = |wrapper: &[&str]| {
        let mut command = test_cgroup.enter("env");
        command.args(wrapper).arg(keepalive());
        command.args(["run", "--engine", "cgroup", "true"]);
        command
    };
    let is_empty = || {
        let entries = fs::read_dir(test_cgroup.directory()).expect("a cgroup").flatten();
        let mut kinds = entries.map(|entry| entry.file_type().expect("the type of a file"));
        (!kinds.any(|kind| kind.is_dir())).then_some(())
    };
    for number in 1.. {
        let call = kill(number, run);
        let output = output_within(LIMIT, &mut run(&[]));
        assert!(output.status.success(), "{call:?}: {}", text(&output.stderr));
        eventually(&format!("no cgroup is left, {number}, {call:?}"), LIMIT, is_empty);
        if call.is_none() {
            assert!(number > 5, "it was never killed");
            return;
        }
    }
}
