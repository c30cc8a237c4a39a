//! Only the kernel checks the arguments of a call: calls that fail without keepalive fail in the same way under every
//! policy and engine, and a failing call changes nothing.

use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY, compile, no_config, with_library, without_library};
use crate::support::{keepalive, library};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Returns what `command` prints, with its standard error. It must succeed.
fn printed(command: &mut Command) -> String {
    let output = output_within(Duration::from_secs(120), command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn expect_same(expected: &str, what: &str, command: &mut Command) {
    let seen = printed(command);
    let different: Vec<_> = expected.lines().zip(seen.lines()).filter(|(a, b)| a != b).collect();
    assert!(seen == expected, "{what}: {} lines: {different:#?}", different.len());
}

const EARLY: &str = "connect *:1-65535 syn-count=2 max-segment=600 idle=9s user-timeout=9s; accept *:1-65535 count=7";

/// Environments in which the library takes different paths through connect(2).
const POLICIES: [(&str, &str); 7] = [
    ("KEEPALIVE", "on"),
    ("KEEPALIVE_USER_TIMEOUT", "2s"),
    ("KEEPALIVE_MODE", "cap"),
    ("KEEPALIVE_MODE", "floor"),
    ("KEEPALIVE_MODE", "enforce"),
    ("KEEPALIVE_RULES", EARLY),
    ("KEEPALIVE_RULES", "connect *:1-65535 off"),
];

/// Returns the command of `program` under both engines, the library and the supervisor, which are chosen for scripts.
fn with_both_engines(program: &Path) -> Command {
    let mut command = without_library(&keepalive());
    // `env` can start any program, so both engines are chosen.
    command.args(["run", "--", "/usr/bin/env"]).arg(program);
    command
        .env("KEEPALIVE_LIBRARY", library())
        .env("KEEPALIVE_CONFIG", no_config())
        .envs(POLICY);
    command
}

/// Every family, length and kind of memory on every kind of socket, thousands of calls. A length of 110 passes a
/// supervisor's filter: the library may use it only where the kernel would have accepted the program's length.
#[test]
fn connect_fails_as_without_keepalive() {
    for libc in [Libc::Host, Libc::Musl] {
        if let Some(why) = libc.missing() {
            skip!("{why}");
        }
        let program = compile(libc, "arguments.c", &[]);
        let expected = printed(&mut without_library(&program));
        assert!(expected.lines().count() > 5000, "{}", expected.lines().count());
        for (name, value) in POLICIES {
            let mut command = with_library(&program);
            command.env(name, value);
            expect_same(&expected, &format!("{name}={value}"), &mut command);
            // The library assumes a supervisor.
            command.env("KEEPALIVE_SUPERVISED", "1");
            expect_same(&expected, &format!("supervised, {name}={value}"), &mut command);
        }
    }
}

#[test]
fn connect_fails_as_without_keepalive_with_both_engines() {
    let program = compile(Libc::Host, "arguments.c", &[]);
    let expected = printed(&mut without_library(&program));
    for (name, value) in POLICIES {
        let mut command = with_both_engines(&program);
        expect_same(&expected, &format!("{name}={value}"), command.env(name, value));
    }
}

/// listen(2) on a port in use, or on a connection, connect(2) on a listener, or on a connection to another address: no
/// option of the socket changes.
#[test]
fn failing_call_changes_no_option() {
    let program = compile(Libc::Host, "own_options.c", &[]);
    let expected = printed(&mut without_library(&program));
    assert!(
        expected.contains("after listen that failed, 01: user timeout 7000 "),
        "{expected}"
    );
    // Not in every mode: floor and enforce change the program's option immediately.
    let mut policies = vec![
        "default defer-accept=5s".to_owned(),
        "default defer-accept=5s mode=cap".to_owned(),
    ];
    for mode in ["fill", "cap", "floor", "enforce"] {
        policies.extend([
            format!("default user-timeout=9s mode={mode}"),
            format!("connect *:1-65535 syn-count=2 max-segment=600 window-clamp=20000 mode={mode}"),
            format!(
                "accept *:1-65535 user-timeout=9s syn-count=2 defer-accept=5s max-segment=600 window-clamp=20000 mode={mode}"
            ),
        ]);
    }
    for rules in policies {
        let mut command = without_library(&program);
        command
            .env("LD_PRELOAD", library())
            .env("KEEPALIVE_CONFIG", no_config())
            .env("KEEPALIVE", "skip")
            .env("KEEPALIVE_RULES", &rules);
        expect_same(&expected, &rules, &mut command);
    }
}
