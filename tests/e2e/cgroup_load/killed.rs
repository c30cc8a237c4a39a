//! A command that is killed at any moment leaves the policy from before or the new one, whole; `status` knows which; and
//! the next command finishes the work, and leaves nothing behind.
//!
//! In the suite it is killed before each system call that may leave something behind, with `KEEPALIVE_TEST_KILL=every`
//! before each but read(2).

use super::place::{CAP, FILL, HOLD, NONE, Place, Policy};
use crate::support::keepalive;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::{Libc, compile};
use std::env;
use std::fs;
use std::process::Command;

/// Kills a command before its system call of this number; gives which that was, and nothing where the command ended before.
#[track_caller]
fn kill(number: u32, command: impl Fn(&[&str]) -> Command) -> Option<String> {
    let killer = compile(Libc::Host, "killed.c", &[]);
    let which = env::var("KEEPALIVE_TEST_KILL").unwrap_or_else(|_| "lasting".to_owned());
    let number = number.to_string();
    let wrapper = [killer.to_str().expect("a path of ours"), "kill", &which, &number];
    let output = output_within(LIMIT, &mut command(&wrapper));
    assert!(output.status.success(), "{number}: {}", text(&output.stderr));
    let said = text(&output.stdout);
    let call = said.lines().last().and_then(|line| line.strip_prefix("killed before "));
    call.map(str::to_owned)
}

/// Kills the command that leads from one policy to the other at every moment of its life.
fn check(mut place: Place, from: Policy, to: Policy) {
    let [none, old, new] = [NONE, from, to].map(|policy| place.state_with(policy));
    for number in 1.. {
        for (next, expected) in [(to, &new), (NONE, &none)] {
            place.set(NONE);
            place.set(from);
            let Some(call) = kill(number, |wrapper| place.command(wrapper, to)) else {
                assert!(number > 5, "it was never killed");
                return;
            };
            let what = format!("killed before call {number}, {call}");
            place.wait_for(&what, |state| state.is_as(&old) || state.is_as(&new));
            place.set(next);
            place.wait_for(&format!("{what}; then {next:?}"), |state| state == expected);
        }
    }
}

#[test]
fn the_first_enable() {
    check(Place::new(test_cgroup!()), NONE, HOLD);
}

#[test]
fn the_first_enable_which_mounts_the_file_system() {
    root!();
    match Place::without_file_system() {
        Ok(place) => check(place, NONE, FILL),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn an_enable_that_goes_on_to_hold_programs() {
    check(Place::new(test_cgroup!()), FILL, HOLD);
}

#[test]
fn an_enable_that_lets_them_go() {
    check(Place::new(test_cgroup!()), HOLD, FILL);
}

#[test]
fn an_enable_that_holds_them_to_other_numbers() {
    check(Place::new(test_cgroup!()), CAP, HOLD);
}

#[test]
fn an_enable_that_asks_for_their_names_no_more() {
    check(Place::new(test_cgroup!()), HOLD, CAP);
}

#[test]
fn a_disable() {
    check(Place::new(test_cgroup!()), HOLD, NONE);
}

#[test]
fn a_run_with_its_own_cgroup_and_with_it_the_process_that_would_remove_that() {
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
