//! What `keepalive run` says about commands that let a daemon start the program, or move it into another cgroup.

use crate::support::keepalive;
use crate::support::packaged_library;
use crate::support::process::{install, output_within, text};
use crate::support::target::{no_config, without_library};
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;

/// A script of this name that ends with status 7.
fn script(directory: &TempDir, name: &str) -> PathBuf {
    let source = directory.path().join("source");
    fs::write(&source, "#!/bin/sh\nexit 7\n").expect("a file of ours");
    let path = directory.path().join(name);
    install(&source, &path, 0o755);
    path
}

fn run(options: &[&str], name: &str, arguments: &[&str]) -> Output {
    let directory = TempDir::new().expect("a temporary directory");
    let program = script(&directory, name);
    let mut command = without_library(&keepalive());
    command
        .env("KEEPALIVE_CONFIG", no_config())
        .env("KEEPALIVE_LIBRARY", packaged_library());
    command.arg("run").args(options).arg("--").arg(&program).args(arguments);
    output_within(Duration::from_secs(60), &mut command)
}

/// The message in one line; the exit status must be the command's.
#[track_caller]
fn note(options: &[&str], name: &str, arguments: &[&str]) -> String {
    let output = run(options, name, arguments);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let errors = text(&output.stderr);
    assert!(errors.lines().all(|line| line.len() <= 80), "{errors}");
    errors.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_note_says_that_a_daemon_starts_the_program() {
    for (name, arguments, starter) in [
        ("docker", &["run", "-d", "image"][..], "dockerd"),
        ("nerdctl", &["exec", "name", "sh"], "containerd"),
        ("ctr", &["task", "exec", "name", "sh"], "containerd"),
        (
            "kubectl",
            &["exec", "pod", "--", "sh"],
            "the container runtime of a node",
        ),
        ("systemd-run", &["sleep", "1"], "systemd"),
        ("at", &["now"], "atd"),
    ] {
        let note = note(&[], name, arguments);
        let expected = format!("keepalive: note: {name} lets {starter} start the program: ");
        assert!(note.starts_with(&expected), "{note}");
        assert!(
            note.contains(&format!("reaches {name} itself, not that program")),
            "{note}"
        );
    }
}

#[test]
fn other_uses_of_these_commands_are_not_noted() {
    for (name, arguments) in [
        ("docker", &["ps"][..]),
        ("kubectl", &["port-forward", "svc/db", "5432"]),
        ("systemd-run", &["--scope", "sleep", "1"]),
        ("podman", &["run", "image"]),
    ] {
        assert_eq!(note(&[], name, arguments), "", "{name}");
    }
}
