//! `enable` and `disable`, killed at every system call in turn: the system always runs its programs silently, and doing it
//! again finishes the work.

use super::stage::{BACKUP, COMMAND, COPY, FILE, Stage, succeeded};
use crate::support::library;
use crate::support::process::text;
use crate::support::target::{Libc, TREATED, compile};
use std::path::Path;

/// Kills `keepalive system WORDS` at its first system call, its second, and so on, each time after `prepare` and before
/// `finish`; gives how many there were.
fn at_every_call(stage: &Stage, words: &[&str], prepare: impl Fn(), finish: impl Fn(&str)) -> usize {
    let killer = compile(Libc::Host, "killed_at.c", &["-static"]);
    stage.root.install(&killer, Path::new("/killed_at"), 0o755);
    for number in 1.. {
        prepare();
        let call = number.to_string();
        let command = format!("{COMMAND}/keepalive");
        let words = [&[&call[..], &command, "system"], words].concat();
        let mut command = stage.program("/killed_at", &words);
        command.env("KEEPALIVE_LIBRARY", format!("{COMMAND}/libkeepalive.so"));
        let output = command.output().expect("chroot starts");
        assert!(output.status.success(), "{output:?}");
        let when = format!("{words:?} killed at call {number}");
        stage.assert_quiet(&when);
        finish(&when);
        // It has ended by itself, and said how many there were.
        let printed = text(&output.stdout);
        if printed.lines().last().is_some_and(|line| line.parse::<usize>().is_ok()) {
            return number - 1;
        }
    }
    unreachable!("numbers do not end")
}

/// What may be left beside what was there.
fn assert_only(stage: &Stage, expected: &[&str], when: &str) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(stage.ours(), expected, "{when}");
}

#[test]
fn enable_may_be_killed_at_any_moment() {
    let stage = system!();
    let calls = at_every_call(
        &stage,
        &["enable"],
        || {
            succeeded(&mut stage.outside(&["disable"]));
        },
        |when| {
            stage.does(&["enable"]);
            assert_eq!(stage.read(FILE), format!("{}\n", stage.copy()), "{when}");
            assert_eq!(stage.socket(), TREATED, "{when}");
            assert_only(&stage, &["ld.so.preload", COPY], when);
        },
    );
    assert!(calls > 100, "{calls}");
}

/// The library is replaced, and another library's line is kept.
#[test]
fn bringing_it_up_to_date_may_be_killed_at_any_moment() {
    let stage = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    stage.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    let calls = at_every_call(
        &stage,
        &["enable", "--setuid"],
        || {
            // An older copy, and another spelling, so that the line is replaced too.
            for copy in [&stage.copy(), "/usr/lib/keepalive-system.so"] {
                stage.root.install(&library(), Path::new(copy), 0o644);
            }
            let line = "/usr/lib/../lib/keepalive-system.so\n/usr/lib/other.so";
            stage.root.write(FILE, line);
        },
        |when| {
            stage.does(&["enable", "--setuid"]);
            let line = format!("/usr/lib/other.so\n{}", stage.copy());
            assert_eq!(stage.read(FILE), line, "{when}");
            assert_eq!(stage.mode(&stage.copy()), 0o4644, "{when}");
            let expected = ["ld.so.preload", "ld.so.preload.before-keepalive", COPY, COPY];
            assert_only(&stage, &expected, when);
        },
    );
    assert!(calls > 100, "{calls}");
}

#[test]
fn disable_may_be_killed_at_any_moment() {
    let stage = system!();
    let empty = compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]);
    stage.root.install(&empty, Path::new("/usr/lib/other.so"), 0o644);
    for other in ["", "/usr/lib/other.so"] {
        let calls = at_every_call(
            &stage,
            &["disable"],
            || {
                if !other.is_empty() {
                    stage.root.write(FILE, other);
                }
                succeeded(&mut stage.outside(&["enable"]));
            },
            |when| {
                stage.does(&["disable"]);
                if other.is_empty() {
                    assert_only(&stage, &[], when);
                } else {
                    assert_eq!(stage.read(FILE), other, "{when}");
                    assert!(stage.exists(BACKUP), "{when}");
                    let expected = ["ld.so.preload", "ld.so.preload.before-keepalive"];
                    assert_only(&stage, &expected, when);
                }
            },
        );
        assert!(calls > 50, "{calls}");
    }
}
