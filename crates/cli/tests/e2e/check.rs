//! `keepalive check`: every mistake with its place, what is noted, and what is fine.

use crate::support::keepalive;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `keepalive check` of a file with this content, in a directory of its own.
fn check(content: &[u8]) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("keepalive.conf"), content).expect("a file");
    check_in(directory.path(), "keepalive.conf")
}

fn check_in(directory: &Path, file: &str) -> Output {
    Command::new(keepalive())
        .args(["check", file])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("keepalive starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_check(content: &str, status: i32, stdout: &str, stderr: &str) {
    let output = check(content.as_bytes());
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(status), stdout.to_owned(), stderr.to_owned()),
        "{content}"
    );
}

#[test]
fn every_mistake_is_shown_with_its_place_and_a_hint() {
    let output = check(include_bytes!("check/every_mistake.conf"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), include_str!("check/every_mistake.txt"));
}

#[test]
fn mistakes_fit_80_columns() {
    for line in include_str!("check/every_mistake.txt").lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_file_that_can_be_used_is_counted() {
    for (content, summary) in [
        ("default idle=1m", "no rules, a default"),
        ("connect * off\n", "1 rule, no default"),
        (
            "connect * off; accept * off\ndefault preset=azure",
            "2 rules, a default",
        ),
    ] {
        assert_check(content, 0, &format!("keepalive.conf: {summary}\n"), "");
    }
}

#[test]
fn what_is_surely_not_meant_is_noted() {
    for (content, count, note) in [
        (
            "connect 10.0.0.0/8:5000-6000 idle=30s\nconnect [::ffff:10.1.2.3]:5432 off\n",
            "2 rules",
            "keepalive.conf:2: it never matches: line 1 comes first for all of it",
        ),
        (
            "connect * off\nprogram ssh connect *:22 idle=30s",
            "2 rules",
            "keepalive.conf:2: it never matches: line 1 comes first for all of it",
        ),
        (
            "program /usr/sbin/sshd off",
            "1 rule",
            "keepalive.conf:1: it never matches: a program is named by the last part of its path, 'sshd'",
        ),
        (
            "connect * idle=60 interval=15 user-timeout=89",
            "1 rule",
            "keepalive.conf:1: the user timeout is less than idle + 2 x interval = 90s: lost probes end live connections",
        ),
        (
            "connect * defer-accept=5",
            "1 rule",
            "keepalive.conf:1: defer-accept is for sockets that listen, not for those that connect",
        ),
        (
            "accept * syn-count=5",
            "1 rule",
            "keepalive.conf:1: syn-count is for sockets that connect, not for accepted ones",
        ),
        (
            "accept 10.0.0.0/8:80 defer-accept=5",
            "1 rule",
            "keepalive.conf:1: a socket that listens has no peer: defer-accept has no effect beside an address",
        ),
        ("# nothing\n", "no rules", "keepalive.conf: it says nothing"),
    ] {
        assert_check(
            content,
            0,
            &format!("keepalive.conf: {count}, no default\n"),
            &format!("note: {note}\n"),
        );
    }
}

#[test]
fn a_file_that_the_library_reads_only_in_part_is_noted() {
    let content = "#\n".repeat(128 * 1024) + "default idle=60s\n";
    let note = "note: keepalive.conf: it has 262161 bytes, and the library reads the first 262144\n";
    assert_check(&content, 0, "keepalive.conf: no rules, a default\n", note);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_they_can_be() {
    let output = check(b"connect \xff\xfe off\r\nprogram \xff off\r\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("keepalive.conf:1:9: not an address\n"));
}

#[test]
fn a_dash_is_standard_input() {
    for (content, status, stdout, stderr) in [
        ("accept :80 idle=9", 0, "<stdin>: 1 rule, no default\n", ""),
        (
            "accept :80",
            2,
            "",
            "<stdin>:1:8: nothing is set\n 1 | accept :80\n   |        ^^^\n\
             hint: say what to set, as in: idle=60s, or off\n",
        ),
    ] {
        let mut child = Command::new(keepalive())
            .args(["check", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keepalive starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(content.as_bytes()).expect("keepalive reads");
        drop(stdin);
        let output = child.wait_with_output().expect("keepalive ends");
        assert_eq!(
            (output.status.code(), text(&output.stdout), text(&output.stderr)),
            (Some(status), stdout.to_owned(), stderr.to_owned())
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (file, reason) in [("nonesuch", "No such file or directory"), (".", "Is a directory")] {
        let output = check_in(directory.path(), file);
        assert_eq!(
            (output.status.code(), text(&output.stdout), text(&output.stderr)),
            (
                Some(2),
                String::new(),
                format!("keepalive: cannot read '{file}': {reason}\n")
            )
        );
    }
}

#[test]
fn without_a_file_the_usage_is_shown() {
    let output = Command::new(keepalive())
        .arg("check")
        .output()
        .expect("keepalive starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: keepalive check <FILE>"));
}
