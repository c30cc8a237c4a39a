//! Programs that confine themselves: a system call of ours that their filter does not foresee would be their death. A real
//! one is in `programs/sandbox.rs`.

use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY_VALUES, compile, output, with_library, without_library};
use std::time::Duration;

/// What `targets/confined.c` prints, with a policy under which the library would do all that it ever does.
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

/// Each way in which a filter can be installed; libseccomp goes by syscall(2). The filter kills at all but the calls that
/// the program then makes.
#[test]
fn a_program_with_a_filter_of_its_own_lives() {
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
fn a_program_in_strict_mode_lives() {
    for how in ["strict", "syscall-strict"] {
        assert_eq!(confined(Libc::Host, how), "alive\n", "{how}");
    }
}

/// Neither a filter that the kernel refuses nor a question about filters is a reason to stop. Without rules here, since it
/// shows what a socket has.
#[test]
fn a_filter_that_the_kernel_refuses_changes_nothing() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(
        output(with_library(&program).arg("failing")),
        format!("socket: {POLICY_VALUES}\n")
    );
}

/// A filter outlives exec(2): a service manager or a sandbox may have forbidden a program all that belongs to sockets
/// (systemd's `SystemCallFilter=~@network-io`). One that has no sockets must start all the same.
#[test]
fn a_program_that_was_forbidden_sockets_starts() {
    let program = compile(Libc::Host, "confined.c", &[]);
    assert_eq!(output(without_library(&program).arg("exec")), "alive\n");
    assert_eq!(output(with_library(&program).arg("exec")), "alive\n");
}

/// What `targets/in_flight.c` prints and how it ends, as often as it takes: bare it always lives.
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

/// A filter for all threads comes while they are in the middle of calls of the library's: those are over before it holds.
#[test]
fn calls_in_flight_are_over_before_a_filter_holds() {
    in_flight("seccomp", 300);
}

#[test]
fn calls_in_flight_are_over_before_a_thread_has_its_filter() {
    in_flight("prctl", 100);
}

/// The child would wait in vain for the calls that its parent's threads were in when it was forked.
#[test]
fn a_child_forked_during_calls_in_flight_has_its_filter_too() {
    in_flight("fork", 100);
}

/// The call that the handler has interrupted cannot end before the handler does: it is waited for a tenth of a second at
/// most, and makes no system call any more when it goes on.
#[test]
fn a_call_that_a_filter_interrupts_makes_no_system_call_any_more() {
    in_flight("signal", 100);
}
