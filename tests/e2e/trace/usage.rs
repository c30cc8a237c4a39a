//! Refusals and mistakes.

use crate::support::keepalive;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, ended, output_within, text, wrapped};
use std::process::Command;

#[test]
fn ordinary_user_is_told_what_is_missing_and_what_else_to_do() {
    root!();
    let installed = Installed::new();
    let mut command = wrapped(&NOBODY, installed.keepalive());
    let output = output_within(LIMIT, command.arg("trace"));
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for words in [
        "keepalive: cannot trace: it requires root; this process lacks CAP_BPF and CAP_PERFMON\n",
        "keepalive list --watch",
        "KEEPALIVE_LOG",
        "keepalive probe",
    ] {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn mistakes_are_named() {
    for (words, status, message) in [
        (vec!["--min-idle", "soon"], 2, "not a time"),
        (vec!["--min-idle", "481h"], 2, "out of range"),
        (vec!["--for", "0"], 2, "out of range"),
        (vec!["--all", "--min-idle", "5"], 2, "cannot be used with"),
        (vec!["--port", "0"], 2, "0 is not in 1..=65535"),
    ] {
        let mut command = Command::new(keepalive());
        let output = output_within(LIMIT, command.arg("trace").args(&words));
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {errors}");
        assert!(errors.contains(message), "{words:?}: {errors}");
    }
}

#[test]
fn process_that_does_not_exist_is_an_error() {
    let mut command = Command::new(keepalive());
    let pid = ended().to_string();
    let output = output_within(LIMIT, command.args(["trace", &pid]));
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("cannot trace process {pid}: ")), "{errors}");
}
