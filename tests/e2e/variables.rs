//! Invalid environment variables: a mistake if only keepalive uses the name, and a note if other products use it too.

use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::no_config;
use crate::support::{keepalive, library};
use std::env;
use std::process::{Command, Output};

/// Variables that other products use too, with values that are invalid for keepalive.
const SHARED: [(&str, &[&str]); 12] = [
    ("KEEPALIVE", &["65", "", "1", "true", "5s", "\u{202e}"]),
    ("TCP_KEEPIDLE", &["7200000", "", "on"]),
    ("TCP_KEEPINTVL", &["x", ""]),
    ("TCP_KEEPCNT", &["128", ""]),
    ("TCP_USER_TIMEOUT", &["30s", ""]),
    ("TCP_SYNCNT", &["128", ""]),
    ("TCP_DEFER_ACCEPT", &["on", ""]),
    ("TCP_MAXSEG", &["x", ""]),
    ("TCP_WINDOW_CLAMP", &["x", ""]),
    ("DD_TCP_KEEPALIVE_TIME", &["x", ""]),
    ("DD_TCP_KEEPALIVE_INTVL", &["0", ""]),
    ("DD_TCP_KEEPALIVE_PROBES", &["x", ""]),
];

/// Variables that only keepalive uses, with invalid values.
const ONLY_KEEPALIVE: [(&str, &[&str]); 8] = [
    ("KEEPIDLE", &["65x", "", "0"]),
    ("KEEPINTVL", &["x", ""]),
    ("KEEPCNT", &["128", ""]),
    ("KEEPALIVE_USER_TIMEOUT", &["x", ""]),
    ("KEEPALIVE_MODE", &["max", ""]),
    ("KEEPALIVE_RULES", &["nonsense"]),
    ("KEEPALIVE_CONFIG", &["/no/such/file", ""]),
    ("KEEPALIVE_LOG", &["log", ""]),
];

/// Runs the command with only this variable in the environment.
fn command(words: &[&str], name: &str, value: &str) -> Output {
    let mut command = Command::new(keepalive());
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("KEEPALIVE_LIBRARY", library())
        .env("KEEPALIVE_CONFIG", no_config())
        .env(name, value)
        .args(words);
    output_within(LIMIT, &mut command)
}

/// Returns the words of a text, without its line breaks.
fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn each(variables: &[(&'static str, &'static [&'static str])], mut check: impl FnMut(&str, &str)) {
    for (name, values) in variables {
        values.iter().for_each(|value| check(name, value));
    }
}

#[test]
fn variables_of_other_products_are_ignored_with_a_note() {
    let pid = std::process::id().to_string();
    each(&SHARED, |name, value| {
        let shown = value.replace('\u{202e}', "\u{fffd}");
        let note = format!("{name}={shown}: ");
        let ignored = format!("ignored, since other products use {name} too (expected ");
        let assert_note = |place: &str, what: &str| {
            let place = unfolded(place);
            assert_eq!(place.matches(&note).count(), 1, "{what}: {note}: {place}");
            assert_eq!(place.matches(&ignored).count(), 1, "{what}: {place}");
            assert!(!place.contains('\u{202e}'), "{what}: {place:?}");
        };

        let output = command(&["run", "--", "true"], name, value);
        assert_eq!(
            (output.status.code(), &*text(&output.stderr)),
            (Some(0), ""),
            "{name}={value}"
        );
        let output = command(&["run", "-v", "--", "true"], name, value);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}={value}: {}",
            text(&output.stderr)
        );
        assert_note(&text(&output.stderr), "run -v");
        assert!(text(&output.stderr).contains("\nkeepalive: settings: keepalive=on, the rest as the kernel has it\n"));

        let output = command(&["attach", "--dry-run", &pid], name, value);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}={value}: {}",
            text(&output.stderr)
        );
        assert_note(&text(&output.stderr), "attach");

        let output = command(&["explain"], name, value);
        assert_eq!(
            (output.status.code(), &*text(&output.stderr)),
            (Some(0), ""),
            "{name}={value}"
        );
        assert_note(&text(&output.stdout), "explain");
        let output = command(&["explain", "--json"], name, value);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_note(
            json["warnings"]
                .as_array()
                .and_then(|all| all.last())
                .expect("a warning")
                .as_str()
                .expect("a note"),
            "explain --json",
        );

        let output = command(&["doctor"], name, value);
        let findings = text(&output.stdout);
        assert_note(&findings, "doctor");
        assert!(
            findings.contains("\nnote   variable: ") || findings.starts_with("note   variable: "),
            "{findings}"
        );
        assert!(!findings.contains("WRONG  policy"), "{findings}");

        let output = command(&["cgroup", "enable", "/no/such/cgroup"], name, value);
        assert_ne!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert_note(&text(&output.stderr), "cgroup enable");
    });
}

#[test]
fn invalid_variables_of_keepalive_are_mistakes() {
    let pid = std::process::id().to_string();
    each(&ONLY_KEEPALIVE, |name, value| {
        for (words, status) in [
            (&["run", "--", "true"][..], 125),
            (&["attach", "--dry-run", &pid], 2),
            (&["explain"], 2),
            (&["cgroup", "enable", "/no/such/cgroup"], 2),
        ] {
            let output = command(words, name, value);
            assert_eq!(
                output.status.code(),
                Some(status),
                "{words:?} {name}={value}: {output:?}"
            );
            let errors = text(&output.stderr);
            let mark = match name {
                "KEEPALIVE_CONFIG" => format!("cannot read '{value}'"),
                "KEEPALIVE_RULES" => String::from("KEEPALIVE_RULES:1:1"),
                _ => format!("keepalive: {name}={value}: "),
            };
            assert!(
                errors.contains(&mark) && !errors.contains("other products"),
                "{words:?}: {errors}"
            );
        }
        let output = command(&["doctor"], name, value);
        assert_eq!(output.status.code(), Some(1), "{name}={value}");
        assert!(text(&output.stdout).contains("WRONG  policy: "), "{name}={value}");
    });
}

/// These commands print their own messages and ignore the environment.
#[test]
fn units_and_checks_ignore_the_environment() {
    let file = no_config().to_str().expect("a UTF-8 path");
    for words in [&["unit", "enable", "--dry-run", "no-such-unit"][..], &["check", file]] {
        let expected = command(words, "PLAIN", "1");
        each(&[SHARED, [ONLY_KEEPALIVE[0]; 12]].concat(), |name, value| {
            let output = command(words, name, value);
            assert_eq!(output, expected, "{words:?} {name}={value}");
        });
    }
}
