//! `enable` and `disable`, killed at every system call: the system always runs its programs without messages, and the
//! same command again completes the change.

use super::test_system::{BACKUP, COMMAND, COPY, FILE, TestSystem, succeeded};
use crate::support::library;
use crate::support::process::text;
use crate::support::target::{Libc, POLICY_VALUES, compile};
use std::path::Path;

/// Kills `keepalive system WORDS` at its first system call, its second, and so on, each time after `prepare` and before
/// `finish`. Returns the number of calls.
fn at_every_call(system: &TestSystem, words: &[&str], prepare: impl Fn(), finish: impl Fn(&str)) -> usize {
    let killer = compile(Libc::Host, "killed_at.c", &["-static"]);
    system.root.install(&killer, Path::new("/killed_at"), 0o755);
    for number in 1.. {
        prepare();
        let call = number.to_string();
        let command = format!("{COMMAND}/keepalive");
        let words = [&[&call[..], &command, "system"], words].concat();
        let mut command = system.program("/killed_at", &words);
        command.env("KEEPALIVE_LIBRARY", format!("{COMMAND}/libkeepalive.so"));
        let output = command.output().expect("chroot starts");
        assert!(output.status.success(), "{output:?}");
        let when = format!("{words:?} killed at call {number}");
        system.assert_quiet(&when);
        finish(&when);
        // The command ended before this call, and killed_at printed the number of calls.
        let printed = text(&output.stdout);
        if printed.lines().last().is_some_and(|line| line.parse::<usize>().is_ok()) {
            return number - 1;
        }
    }
    unreachable!("numbers do not end")
}

/// Asserts that only these files of keepalive are left.
fn assert_only(system: &TestSystem, expected: &[&str], when: &str) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(system.keepalive_files(), expected, "{when}");
}

#[test]
fn enable_can_be_killed_at_any_call() {
    let system = system!();
    let calls = at_every_call(
        &system,
        &["enable"],
        || {
            succeeded(&mut system.host_command(&["disable"]));
        },
        |when| {
            system.succeeds(&["enable"]);
            assert_eq!(system.read(FILE), format!("{}\n", system.copy()), "{when}");
            assert_eq!(system.socket(), POLICY_VALUES, "{when}");
            assert_only(&system, &["ld.so.preload", COPY], when);
        },
    );
    assert!(calls > 100, "{calls}");
}

/// The library is replaced, and the line of another library is kept.
#[test]
fn update_can_be_killed_at_any_call() {
    let system = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    system.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    let calls = at_every_call(
        &system,
        &["enable", "--setuid"],
        || {
            // With an older copy and another spelling, so that the line is replaced too.
            for copy in [&system.copy(), "/usr/lib/keepalive-system.so"] {
                system.root.install(&library(), Path::new(copy), 0o644);
            }
            let line = "/usr/lib/../lib/keepalive-system.so\n/usr/lib/other.so";
            system.root.write(FILE, line);
        },
        |when| {
            system.succeeds(&["enable", "--setuid"]);
            let line = format!("/usr/lib/other.so\n{}", system.copy());
            assert_eq!(system.read(FILE), line, "{when}");
            assert_eq!(system.mode(&system.copy()), 0o4644, "{when}");
            let expected = ["ld.so.preload", "ld.so.preload.before-keepalive", COPY, COPY];
            assert_only(&system, &expected, when);
        },
    );
    assert!(calls > 100, "{calls}");
}

#[test]
fn disable_can_be_killed_at_any_call() {
    let system = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    system.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    for other in ["", "/usr/lib/other.so"] {
        let calls = at_every_call(
            &system,
            &["disable"],
            || {
                if !other.is_empty() {
                    system.root.write(FILE, other);
                }
                succeeded(&mut system.host_command(&["enable"]));
            },
            |when| {
                system.succeeds(&["disable"]);
                if other.is_empty() {
                    assert_only(&system, &[], when);
                } else {
                    assert_eq!(system.read(FILE), other, "{when}");
                    assert_eq!(system.read(BACKUP), other, "{when}");
                    let expected = ["ld.so.preload", "ld.so.preload.before-keepalive"];
                    assert_only(&system, &expected, when);
                }
            },
        );
        assert!(calls > 50, "{calls}");
    }
}
