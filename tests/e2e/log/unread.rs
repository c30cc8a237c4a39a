//! A standard error that is not read: the program's calls return, and no line is written partly.

use crate::support::library;
use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY, compile, no_config, without_library};
use std::path::Path;
use std::time::Duration;

/// Returns what `targets/unread.c` prints of `program`, once with an unread standard error of this `kind`, and once
/// more after it was read; `None` if this kind is impossible here.
fn unread(kind: &str, log: Option<&str>, program: &[&str]) -> Option<String> {
    let mut command = without_library(&compile(Libc::Host, "unread.c", &[]));
    command.arg(kind).arg("/usr/bin/env");
    // The library is not preloaded into `unread` and `env`, which have no sockets.
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
fn unread_standard_error_does_not_block() {
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

/// Nor does a program wait for a file whose server does not answer, neither to write to it nor to examine it.
#[test]
fn unanswering_file_server_does_not_block() {
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
