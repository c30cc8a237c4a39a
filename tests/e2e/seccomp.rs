//! Programs with their own seccomp filter: a system call of the library that the filter does not permit would end them.
//! `programs/sandbox.rs` tests a real program.

use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY_VALUES, compile, output, with_library, without_library};
use std::time::Duration;

/// Returns what `targets/confined.c` prints, with a policy for which the library makes all its calls.
fn confined(libc: Libc, how: &str) -> String {
    let program = compile(libc, "confined.c", &[]);
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = with_library(&program);
    command
        .env("KEEPALIVE_USER_TIMEOUT", "auto")
        .env("KEEPALIVE_LOG", log.path())
        .env("KEEPALIVE_RULES", "connect *:1-65535 idle=9s; accept *:1-65535 count=7")
        .arg(how);
    output(&mut command)
}

const ALIVE: &str = "alive: 1 0 1 1 0 1\n";

/// Every way to install a filter; libseccomp uses syscall(2). The filter kills at all calls but those that the program
/// then makes.
#[test]
fn program_with_its_own_filter_survives() {
    for libc in [Libc::Host, Libc::Musl] {
        if let Some(why) = libc.missing() {
            skip!("{why}");
        }
        for how in ["prctl", "syscall-prctl", "seccomp", "listener"] {
            assert_eq!(confined(libc, how), ALIVE, "{how} under {libc:?}");
        }
    }
}

#[test]
fn program_in_strict_mode_survives() {
    for how in ["strict", "syscall-strict"] {
        assert_eq!(confined(Libc::Host, how), "alive\n", "{how}");
    }
}

/// Neither a filter that the kernel refuses nor a query about filters makes the library stop. There are no rules in
/// this test, because it prints a socket's options.
#[test]
fn refused_filter_changes_nothing() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(
        output(with_library(&program).arg("failing")),
        format!("socket: {POLICY_VALUES}\n")
    );
}

/// A filter outlives execve(2): a service manager or a sandbox may forbid all socket calls (systemd's
/// `SystemCallFilter=~@network-io`). A program without sockets must still start.
#[test]
fn program_without_socket_calls_starts() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(output(without_library(&program).arg("exec")), "alive\n");
    assert_eq!(output(with_library(&program).arg("exec")), "alive\n");
}

/// Runs `targets/in_flight.c` this many times, which must succeed as without the library.
fn in_flight(how: &str, runs: u32) {
    let program = compile(Libc::Host, "in_flight.c", &["-pthread"]);
    for run in 0..runs {
        let mut command = with_library(&program);
        command.env("KEEPALIVE_USER_TIMEOUT", "auto").env(
            "KEEPALIVE_RULES",
            "connect *:1-65535 idle=9s syn-count=3; accept *:1-65535 count=7",
        );
        let output = output_within(Duration::from_secs(60), command.arg(how));
        assert!(output.status.success(), "{how}, run {run}: {output:?}");
        assert_eq!(output.stdout, b"alive\n", "{how}, run {run}");
    }
}

/// A filter for all threads is set while they are in calls of the library: those must be complete before the filter
/// applies.
#[test]
fn calls_are_complete_before_a_filter_applies() {
    in_flight("seccomp", 300);
}

#[test]
fn calls_are_complete_before_the_filter_of_a_thread_applies() {
    in_flight("prctl", 100);
}

/// The child would wait forever for calls in which its parent's threads were at the fork.
#[test]
fn child_forked_during_calls_can_set_its_filter() {
    in_flight("fork", 100);
}

/// The interrupted call cannot end before the handler does: the library waits for at most a tenth of a second, and the
/// call makes no further system call when it continues.
#[test]
fn interrupted_call_makes_no_further_system_call() {
    in_flight("signal", 100);
}
