//! The process state of the command at its start, and in /proc, is the same as without keepalive, under every engine
//! and for every state that its parent left (`targets/state.c`).

use super::{Keepalive, LIMIT};
use crate::support::process::{output_within, text};
use crate::support::target::{Libc, compile, static_target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The state that the parent leaves, as arguments of `targets/state.c`.
const CIRCUMSTANCES: [&str; 10] = [
    "",
    "odd",
    "blocked",
    "ignored",
    "subreaper",
    "daemon",
    "odd blocked subreaper",
    // Orphaned children would be visible: the kernel has the supervisor in the list of children.
    "unlisted child",
    "unlisted child blocked subreaper",
    "unlisted blocked pending",
];

fn dynamic_state() -> PathBuf {
    compile(Libc::Host, "state.c", &[])
}

/// Returns the lines that `command` prints. They contain no path of keepalive.
#[track_caller]
fn lines(mut command: Command) -> Vec<String> {
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Asserts that `program` under `wrapper` prints the same as a child of the same parent as under `keepalive run` with
/// these options.
#[track_caller]
fn assert_same(wrapper: &[&str], circumstances: &str, options: &[&str], program: &Path) {
    let keepalive = Keepalive::new();
    let start = || {
        let state = static_target(Libc::Host, "state.c");
        let mut command = match wrapper {
            [] => keepalive.environment(&state),
            [first, rest @ ..] => {
                let mut command = keepalive.environment(first.as_ref());
                command.args(rest).arg(&state);
                command
            }
        };
        command.args(circumstances.split_whitespace()).arg("--");
        command
    };
    let mut without = start();
    without.arg(program);
    let mut run = start();
    run.arg(keepalive.path())
        .arg("run")
        .args(options)
        .arg("--")
        .arg(program);
    let (without, run) = (lines(without), lines(run));
    let changed: Vec<_> = without.iter().filter(|line| !run.contains(line)).collect();
    let new: Vec<_> = run.iter().filter(|line| !without.contains(line)).collect();
    assert!(
        changed.is_empty() && new.is_empty(),
        "'{circumstances}' {options:?} {}: without keepalive {changed:#?}, with it {new:#?}",
        program.display()
    );
    assert!(without.len() > 60, "{without:#?}");
}

#[test]
fn process_state_is_the_same_with_the_library() {
    for circumstances in CIRCUMSTANCES {
        assert_same(&[], circumstances, &["--engine", "preload"], &dynamic_state());
    }
}

#[test]
fn process_state_is_the_same_with_the_supervisors() {
    for circumstances in CIRCUMSTANCES {
        assert_same(
            &[],
            circumstances,
            &["--engine", "seccomp"],
            &static_target(Libc::Host, "state.c"),
        );
    }
}

#[test]
fn process_state_is_the_same_with_library_and_supervisors() {
    for circumstances in CIRCUMSTANCES {
        // First a static program, for which both engines are chosen; then a program that is started like a script's.
        assert_same(&[], circumstances, &[], &static_target(Libc::Host, "state.c"));
        assert_same(&["env"], circumstances, &["--io-uring=deny"], &dynamic_state());
    }
}

/// In that case the supervisors are children of the command, but it cannot wait for them.
#[test]
fn first_process_of_a_pid_namespace_has_no_child_to_wait_for() {
    root!();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for circumstances in ["unlisted", "unlisted odd blocked subreaper"] {
        for options in [&["--engine", "seccomp"][..], &[]] {
            assert_same(&wrapper, circumstances, options, &static_target(Libc::Host, "state.c"));
        }
    }
}
