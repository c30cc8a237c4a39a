//! A standard error that nobody reads: the program's calls are over all the same, and no line is written in part.

use crate::support::library;
use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY, bare, compile, no_config};
use std::path::Path;
use std::time::Duration;

/// What `targets/unread.c` prints of `program`, once with a standard error of this `kind` that nobody reads, once more
/// when it was read; `None` where there is none of this kind here.
fn unread(kind: &str, log: Option<&str>, program: &[&str]) -> Option<String> {
    let mut command = bare(&compile(Libc::Host, "unread.c", &[]));
    command.arg(kind).arg("/usr/bin/env");
    // Not for this program and `env`, which have no sockets.
    let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
    preload.push(library());
    let mut config = std::ffi::OsString::from("KEEPALIVE_CONFIG=");
    config.push(no_config());
    command.args([preload, config]);
    command.args(POLICY.map(|(name, value)| format!("{name}={value}")));
    command.args(log.map(|log| format!("KEEPALIVE_LOG={log}")));
    let output = output_within(Duration::from_secs(60), command.args(program));
    if output.status.code() == Some(77) {
        eprintln!("{kind}: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that logs more than any pipe or terminal holds.
fn many_sockets() -> Vec<String> {
    let program = compile(Libc::Host, "sockets.c", &[]);
    let mut words = vec![program.to_str().expect("an ASCII path").to_owned()];
    words.extend((0..1000).flat_map(|_| ["tcp".to_owned(), "close=3".to_owned()]));
    words
}

const READ: &str = "ended with 0, some lines, 0 others\n";

#[test]
fn no_program_waits_for_a_standard_error_that_nobody_reads() {
    let program = many_sockets();
    let program: Vec<_> = program.iter().map(String::as_str).collect();
    for (kind, first) in [
        ("terminal", READ),
        ("stopped", "ended with 0, no lines, 0 others\n"),
        ("pipe", READ),
        ("fifo", READ),
        ("full-pipe", "ended with 0, no lines, 0 others\n"),
        ("half-pipe", "ended with 0, no lines, 0 others\n"),
        ("stream", READ),
        ("packets", READ),
    ] {
        let seen = unread(kind, Some("stderr"), &program);
        assert_eq!(seen.as_deref(), Some(&*format!("{first}{READ}")), "{kind}");
    }
}

/// Nor for a file whose server does not answer: not to write to it, and not to see what it is.
#[test]
fn no_program_waits_for_a_file_server() {
    root!();
    if !Path::new("/dev/fuse").exists() {
        skip!("there is no /dev/fuse");
    }
    let program = many_sockets();
    let program: Vec<_> = program.iter().map(String::as_str).collect();
    for (kind, log, program) in [
        ("file", Some("stderr"), &*program),
        ("files", Some("stderr"), &*program),
        ("files", None, &*program),
        ("files", None, &["/bin/true"]),
    ] {
        let Some(seen) = unread(kind, log, program) else {
            skip!("there is no file system in user space");
        };
        assert_eq!(seen, "ended with 0\nended with 0\n", "{kind} {log:?} {}", program[0]);
    }
}
