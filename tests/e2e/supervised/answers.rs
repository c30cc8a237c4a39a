//! The kernel's results, and the options that a failed call leaves on the socket, are the same under the supervisor:
//! for invalid descriptors, sockets of every kind, lengths, pointers and values (`targets/answers.c`).

use super::{BUILDS, Keepalive, LIMIT, static_target, text};
use crate::support::process::output_within;
use crate::support::target::{Libc, without_library};
use keepalive_policy::Mode;

/// Returns what the target prints without keepalive.
fn answers(libc: Libc, what: &str) -> String {
    let output = output_within(LIMIT, without_library(&static_target(libc, "answers.c")).arg(what));
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Returns what the target prints under the supervisor.
fn supervised(libc: Libc, what: &str, options: &[&str]) -> String {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.args(options).arg(static_target(libc, "answers.c")).arg(what);
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Fails with the lines that differ, among those that `is_compared`.
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
        .filter(|(alone, supervised)| alone != supervised)
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
fn setsockopt_returns_the_result_of_the_kernel() {
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

/// A connect(2) that the kernel refuses immediately changes no option that the program has set, whatever the mode.
#[test]
fn failed_connect_leaves_options_of_the_program() {
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
fn failed_listen_leaves_every_option() {
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
            // On accepted sockets the mode already applies when the program sets their options.
            let is_compared = |line: &str| !line.contains("-accepted ");
            same(&expected, &actual, &format!("{libc:?} {mode:?}"), is_compared);
        }
    }
}
