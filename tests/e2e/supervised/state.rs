//! What the command finds in its own process at its start, and in /proc: the same as without keepalive, under every engine
//! and whatever its parent has left there (`targets/state.c`).

use super::{Keepalive, LIMIT};
use crate::support::process::{output_within, text};
use crate::support::target::{Libc, compile, static_target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the parent has left, in the words of `targets/state.c`.
const CIRCUMSTANCES: [&str; 10] = [
    "",
    "odd",
    "blocked",
    "ignored",
    "subreaper",
    "daemon",
    "odd blocked subreaper",
    // Orphans cannot be made there without a trace: the kernel has the supervisor in its list of children.
    "unlisted child",
    "unlisted child blocked subreaper",
    "unlisted blocked pending",
];

fn dynamic_state() -> PathBuf {
    compile(Libc::Host, "state.c", &[])
}

/// The lines that `command` prints; they name no path of keepalive's.
#[track_caller]
fn lines(mut command: Command) -> Vec<String> {
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Under `wrapper`, `program` prints the same as a child of the same parent as under `keepalive run` with these options.
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
    let mut bare = start();
    bare.arg(program);
    let mut run = start();
    run.arg(keepalive.path())
        .arg("run")
        .args(options)
        .arg("--")
        .arg(program);
    let (bare, run) = (lines(bare), lines(run));
    let changed: Vec<_> = bare.iter().filter(|line| !run.contains(line)).collect();
    let new: Vec<_> = run.iter().filter(|line| !bare.contains(line)).collect();
    assert!(
        changed.is_empty() && new.is_empty(),
        "'{circumstances}' {options:?} {}: without keepalive {changed:#?}, with it {new:#?}",
        program.display()
    );
    assert!(bare.len() > 60, "{bare:#?}");
}

#[test]
fn the_library_leaves_no_trace() {
    for circumstances in CIRCUMSTANCES {
        assert_same(&[], circumstances, &["--engine", "preload"], &dynamic_state());
    }
}

#[test]
fn the_supervisors_leave_no_trace() {
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
fn library_and_supervisors_together_leave_no_trace() {
    for circumstances in CIRCUMSTANCES {
        // Static, so that both are chosen; then the script's way.
        assert_same(&[], circumstances, &[], &static_target(Libc::Host, "state.c"));
        assert_same(&["env"], circumstances, &["--io-uring=deny"], &dynamic_state());
    }
}

/// There the supervisors are children of the command, but none that it can wait for.
#[test]
fn the_first_process_of_a_pid_namespace_has_no_child_to_wait_for() {
    root!();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for circumstances in ["unlisted", "unlisted odd blocked subreaper"] {
        for options in [&["--engine", "seccomp"][..], &[]] {
            assert_same(&wrapper, circumstances, options, &static_target(Libc::Host, "state.c"));
        }
    }
}
