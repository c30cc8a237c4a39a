//! The policy of the environment applies to every kind of socket: created, connected, accepted and inherited; it is
//! read once. The accepted values are tested in `compat.rs`.

use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile, output, with_library};
use std::process::Command;

fn sockets() -> Command {
    with_library(&compile(Libc::Host, "sockets.c", &[]))
}

/// One socket of each kind: created, connected, listening, accepted, and accepted from an inherited listener.
const EACH: &str = "tcp show connect show tcp listen show client accept show \
                    raw-tcp raw-listen client pass accept show";

/// Returns the options of the five sockets, which must be the same.
fn values_of_each(command: &mut Command) -> String {
    let printed = output(command.args(EACH.split(' ')));
    let mut values: Vec<_> = printed
        .lines()
        .filter(|line| !line.starts_with("connect:"))
        .map(|line| line.split_once(": ").expect("a name and values").1.to_owned())
        .collect();
    assert_eq!(values.len(), 5, "{printed}");
    values.dedup();
    assert_eq!(values.len(), 1, "{printed}");
    values.remove(0)
}

/// Nor does it set the timings, which have variables of their own.
#[test]
fn off_sets_nothing_at_all() {
    let mut command = sockets();
    command.env("KEEPALIVE", "off").env("KEEPALIVE_USER_TIMEOUT", "30s");
    assert_eq!(values_of_each(&mut command), KERNEL_DEFAULTS);
}

/// The program switches keepalive on itself, and its sockets get the policy's timings.
#[test]
fn skip_sets_the_timings_only() {
    assert_eq!(values_of_each(sockets().env("KEEPALIVE", "skip")), "0 61 13 4 0");
    assert_eq!(
        output(
            sockets()
                .env("KEEPALIVE", "skip")
                .args(["tcp", "keepalive=1", "connect", "show"])
        ),
        "connect: 0\ntcp: 1 61 13 4 0\n"
    );
}

/// As with libkeepalive 0.3, with the kernel's timings.
#[test]
fn without_variables_keepalive_is_on() {
    let mut command = sockets();
    for (variable, _) in crate::support::target::POLICY {
        command.env_remove(variable);
    }
    assert_eq!(values_of_each(&mut command), "1 7200 75 9 0");
}

#[test]
fn invalid_values_are_ignored_and_valid_ones_apply() {
    for (variable, value, expected) in [
        ("KEEPIDLE", "60x", "1 7200 13 4 0"),
        ("KEEPIDLE", "32768", "1 7200 13 4 0"),
        ("KEEPINTVL", "0", "1 61 75 4 0"),
        ("KEEPINTVL", "", "1 61 75 4 0"),
        ("KEEPCNT", "128", "1 61 13 9 0"),
        ("KEEPCNT", "18446744073709551620", "1 61 13 9 0"),
        ("KEEPALIVE", "0", "1 61 13 4 0"),
        ("KEEPALIVE_USER_TIMEOUT", "-1", "1 61 13 4 0"),
        ("KEEPALIVE_USER_TIMEOUT", "2147483648ms", "1 61 13 4 0"),
    ] {
        assert_eq!(
            values_of_each(sockets().env(variable, value)),
            expected,
            "{variable}={value}"
        );
    }
}

/// Other products have variables of these names, with values that mean something else: they only cause a note in the
/// log. A value that is not a number does not bring other defaults either.
#[test]
fn values_of_other_products_cause_only_a_note_in_the_log() {
    for (variable, value) in [
        ("KEEPALIVE", "65"),
        ("KEEPALIVE", "true"),
        ("KEEPALIVE", ""),
        ("KEEPALIVE_MODE", "always"),
        ("TCP_KEEPIDLE", "60s"),
        ("TCP_KEEPINTVL", "none"),
        ("TCP_KEEPCNT", "1000"),
        ("TCP_USER_TIMEOUT", "1m"),
        ("TCP_MAXSEG", "auto"),
        ("DD_TCP_KEEPALIVE_TIME", "PT60S"),
    ] {
        let mut command = sockets();
        command.env(variable, value).args(["tcp", "show"]);
        let quiet = command.output().expect("it starts");
        assert_eq!(
            (&*quiet.stdout, &*quiet.stderr),
            (format!("tcp: {POLICY_VALUES}\n").as_bytes(), &b""[..]),
            "{variable}={value}"
        );
        let logged = command.env("KEEPALIVE_LOG", "stderr").output().expect("it starts");
        let text = String::from_utf8_lossy(&logged.stderr);
        assert_eq!(logged.stdout, quiet.stdout, "{variable}={value}");
        let note = format!("]: ignored {variable}={value}: ");
        assert_eq!(text.lines().filter(|line| line.contains(&note)).count(), 1, "{text}");
    }
}

/// nginx wipes its environment before its workers start.
#[test]
fn later_changes_of_the_environment_have_no_effect() {
    let mut command = sockets();
    assert_eq!(values_of_each(command.arg("clearenv")), "1 61 13 4 0");
}
