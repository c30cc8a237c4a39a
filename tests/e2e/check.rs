//! `keepalive check`: every mistake with its position, notes, and valid files.

use crate::support::process::{LIMIT, output_within};
use crate::support::target::with_library;
use crate::support::{keepalive, library};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `keepalive check` for a file with this content, in a directory of its own.
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
fn every_mistake_is_shown_with_its_position_and_a_hint() {
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
fn rules_of_a_valid_file_are_counted() {
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
fn probable_mistakes_are_noted() {
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

/// The library does not read more, and would lose rules without a message.
#[test]
fn file_of_more_than_256_kib_is_refused() {
    let content = "#".repeat(256 * 1024 - 17) + "\ndefault idle=60s";
    assert_eq!(content.len(), 256 * 1024);
    assert_check(&content, 0, "keepalive.conf: no rules, a default\n", "");
    let error = "keepalive: cannot read 'keepalive.conf': it has more than 256 KiB\n\
        hint: a rules file is a regular file of at most 256 KiB\n";
    let output = check((content + "\n").as_bytes());
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(2), error.to_owned())
    );
}

#[test]
fn invalid_utf8_is_reported_with_its_position() {
    let output = check(b"connect \xff\xfe off\r\nprogram \xff off\r\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("keepalive.conf:1:9: not an address\n"));
}

#[test]
fn dash_means_standard_input() {
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
fn unreadable_file_is_an_error() {
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

/// Commands that read a rules file, each with its exit status if the file is unusable.
const READERS: [(&[&str], i32); 6] = [
    (&["check", "FILE"], 2),
    (&["explain", "--config", "FILE"], 2),
    (&["run", "--config", "FILE", "true"], 125),
    (&["attach", "--config", "FILE", "--dry-run", "1"], 2),
    (&["cgroup", "enable", "--config", "FILE", "/none"], 2),
    (&["unit", "enable", "--dry-run", "--config", "FILE", "none"], 2),
];

#[test]
fn files_that_are_not_regular_are_refused_without_waiting() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fifo = directory.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("a FIFO");
    let large = directory.path().join("large");
    fs::File::create(&large)
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for (path, reason) in [
        (fifo.as_path(), "it is a FIFO, not a regular file"),
        (Path::new("/dev/zero"), "it is a character device, not a regular file"),
        (Path::new("/dev/tty"), "it is a character device, not a regular file"),
        (&socket, "it is a socket, not a regular file"),
        (&large, "it has more than 256 KiB"),
    ] {
        let name = path.to_str().expect("a UTF-8 path");
        let expected = format!(
            "keepalive: cannot read '{name}': {reason}\nhint: a rules file is a regular file of at most 256 KiB\n"
        );
        for (words, status) in READERS {
            let words: Vec<&str> = words
                .iter()
                .map(|word| if *word == "FILE" { name } else { word })
                .collect();
            let mut command = Command::new(keepalive());
            let output = output_within(LIMIT, command.args(&words).stdin(Stdio::null()));
            assert_eq!(
                (output.status.code(), text(&output.stderr)),
                (Some(status), expected.clone()),
                "{words:?}"
            );
        }
        for words in [&["explain"][..], &["run", "true"], &["doctor"]] {
            let mut command = Command::new(keepalive());
            let output = output_within(LIMIT, command.args(words).env("KEEPALIVE_CONFIG", path));
            let printed = text(&output.stdout) + &text(&output.stderr);
            let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_ne!(output.status.code(), Some(0), "{words:?}");
            assert!(printed.contains(reason), "{words:?}: {printed}");
        }
        // The library ignores the file, and the program runs.
        let mut program = with_library(Path::new("/bin/true"));
        let output = output_within(LIMIT, program.env("KEEPALIVE_CONFIG", path));
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name}: {output:?}"
        );
    }
}

/// No more than the limit is read, also from files of /proc and from standard input.
#[test]
fn endless_file_is_read_up_to_the_limit() {
    for (command, reason) in [
        ("check - </dev/zero", "has more than 256 KiB"),
        ("check <(yes)", "has more than 256 KiB"),
        ("explain --config <(yes)", "has more than 256 KiB"),
        ("check /proc/kmsg", "cannot read"),
        ("check /proc/kcore", "cannot read"),
        ("check /proc/self/mem", "cannot read"),
    ] {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("exec \"$0\" {command}")).arg(keepalive());
        let output = output_within(LIMIT, &mut shell);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(
            text(&output.stderr).contains(reason),
            "{command}: {}",
            text(&output.stderr)
        );
    }
}

/// A pipe that the shell creates works for commands that read it immediately, and not for the library, which would read
/// it later.
#[test]
fn unnamed_pipe_works_as_a_file() {
    let rules = "<(sleep 0.1; echo 'default idle=77s')";
    for (command, status, words) in [
        (format!("check {rules}"), 0, "no rules, a default"),
        (format!("explain --config {rules}"), 0, "77s"),
        (
            format!("run --config {rules} true"),
            125,
            "it is a pipe, and the library in COMMAND would read it again",
        ),
        (
            format!("unit enable --dry-run --config {rules} none"),
            2,
            "it is a pipe, and the service would read it again",
        ),
        ("run --config /dev/null true".to_owned(), 0, ""),
        ("check /dev/null".to_owned(), 0, "it says nothing"),
        (
            "check <(exec sleep 60 2>&-); status=$?; kill $!; exit $status".to_owned(),
            2,
            "it has not ended within 10 s",
        ),
    ] {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("\"$0\" {command}")).arg(keepalive());
        shell.env("KEEPALIVE_LIBRARY", library());
        let output = output_within(LIMIT, &mut shell);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{command}: {printed}");
        assert!(printed.contains(words), "{command}: {printed}");
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
