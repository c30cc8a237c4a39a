//! What the kernel answers to a call, and what a call that fails leaves on the socket, is the same under the supervisor: for
//! bad descriptors, sockets of every kind, lengths, pointers and values (`targets/answers.c`).

use super::{BUILDS, Keepalive, LIMIT, static_target, text};
use crate::support::process::output_within;
use crate::support::target::{Libc, bare};
use keepalive_policy::Mode;

/// What it prints without keepalive.
fn answers(libc: Libc, what: &str) -> String {
    let output = output_within(LIMIT, bare(&static_target(libc, "answers.c")).arg(what));
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// What it prints under the supervisor.
fn supervised(libc: Libc, what: &str, options: &[&str]) -> String {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.args(options).arg(static_target(libc, "answers.c")).arg(what);
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Fails with the lines that are different, of those that `is_compared`.
#[track_caller]
fn same(expected: &str, actual: &str, what: &str, is_compared: impl Fn(&str) -> bool) {
    assert_eq!(expected.lines().count(), actual.lines().count(), "{what}");
    let pairs = expected
        .lines()
        .zip(actual.lines())
        .filter(|(line, _)| is_compared(line));
    let mut count = 0;
    let wrong: Vec<_> = pairs
        .inspect(|_| count += 1)
        .filter(|(bare, ours)| bare != ours)
        .collect();
    assert!(count > 0, "{what}: nothing is compared");
    assert!(
        wrong.is_empty(),
        "{what}: {} of {count}: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
}

#[test]
fn setting_an_option_has_the_kernels_answer() {
    root!();
    builds!();
    for libc in BUILDS {
        let expected = answers(libc, "setsockopt");
        for mode in Mode::ALL {
            let options = ["--mode", mode.name(), "--user-timeout", "30s"];
            let actual = supervised(libc, "setsockopt", &options);
            same(&expected, &actual, &format!("{libc:?} {mode:?}"), |_| true);
        }
    }
}

/// A connect that the kernel refuses at once changes nothing that the program has set, whatever the mode.
#[test]
fn a_connect_that_fails_leaves_the_programs_own_options() {
    root!();
    builds!();
    for libc in [Libc::Host, Libc::Cross("i686-linux-gnu-gcc")] {
        let expected = answers(libc, "connect");
        for mode in Mode::ALL {
            let rule = format!(
                "connect *:1-65535 idle=61 interval=13 count=4 syn-count=2 mode={}",
                mode.name()
            );
            let actual = supervised(libc, "connect", &["--rule", &rule]);
            same(&expected, &actual, &format!("{libc:?} {mode:?}"), |_| true);
        }
    }
}

#[test]
fn a_listen_that_fails_leaves_every_option() {
    root!();
    builds!();
    for libc in BUILDS {
        let expected = answers(libc, "listen");
        for mode in Mode::ALL {
            let rule = format!(
                "accept *:1-65535 idle=61 interval=13 count=4 user-timeout=30s defer-accept=30 mode={}",
                mode.name()
            );
            let actual = supervised(libc, "listen", &["--rule", &rule]);
            // The mode is at work on accepted sockets already when the program sets their options.
            let is_compared = |line: &str| !line.contains("-accepted ");
            same(&expected, &actual, &format!("{libc:?} {mode:?}"), is_compared);
        }
    }
}
