//! What cannot be asked for, and what cannot be reached.

use super::{LIMIT, Lab, stderr, stdout};
use crate::support::keepalive;
use crate::support::process::output_within;
use std::process::{Command, Output};

#[track_caller]
fn assert_says(output: &Output, status: i32, messages: &[&str]) {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for message in messages {
        assert!(errors.contains(message), "'{message}' is not in: {errors}");
    }
    assert_eq!(stdout(output), "");
}

/// Asserts that `keepalive probe` refuses these words at once.
#[track_caller]
fn assert_refused(words: &[&str], messages: &[&str]) {
    let output = output_within(LIMIT, Command::new(keepalive()).arg("probe").args(words));
    assert_says(&output, 2, messages);
}

#[test]
fn a_target_that_is_not_a_host_and_a_port_is_refused() {
    for target in [
        "",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:+80",
        "localhost:65536",
        "localhost:http",
        ":80",
        "2001:db8::1",
        "2001:db8::1:80",
        "[2001:db8::1]",
        "[2001:db8::1]80",
        "tcp://localhost:80",
    ] {
        let expected = "hint: expected db.example.com:5432, 10.1.2.3:5432 or [2001:db8::1]:5432";
        let named = format!("keepalive: '{target}': not a host and a port\n");
        assert_refused(&[target], &[&named, expected]);
    }
    assert_refused(&[], &["<HOST:PORT>"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    const OUT_OF_RANGE: &str = "out of range\nhint: expected 10 seconds to 9 hours";
    const NO_TIME: &str = "not a time\nhint: expected 90, 90s, 20m or 2h";
    const NO_PERCENTAGE: &str = "not a percentage from 1 to 50\nhint: expected 5%";
    for (option, value, why) in [
        ("--max", "9", OUT_OF_RANGE),
        ("--max", "32401", OUT_OF_RANGE),
        ("--max", "10h", OUT_OF_RANGE),
        ("--max", "0", OUT_OF_RANGE),
        ("--max", "soon", NO_TIME),
        ("--max", "", ""),
        ("--precision", "0", NO_PERCENTAGE),
        ("--precision", "0.5%", NO_PERCENTAGE),
        ("--precision", "51%", NO_PERCENTAGE),
        ("--precision", "NaN", NO_PERCENTAGE),
        ("--precision", "fine", NO_PERCENTAGE),
        ("--parallel", "1", "1 is not in 2..=64"),
        ("--parallel", "65", "65 is not in 2..=64"),
        ("--parallel", "many", "invalid digit"),
    ] {
        assert_refused(&["127.0.0.1:1", option, value], &["keepalive: ", option, why]);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    python!();
    let keepalive = keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    for (target, reason) in [
        ("10.0.2.2:7001", "Connection refused"),
        ("[fd00:2::2]:7001", "Connection refused"),
        ("10.9.9.9:7000", "Network is unreachable"),
    ] {
        let output = output_or_skip!(Lab::default().client(&[keepalive, "probe", target]));
        let message = format!("keepalive: cannot connect to '{target}': {reason}\nhint: ");
        assert_says(&output, 1, &[&message]);
    }
}

#[test]
fn unknown_program_name_is_an_error() {
    python!();
    let keepalive = keepalive();
    let keepalive = keepalive.to_str().expect("a UTF-8 path");
    // In the laboratory no name server is reached.
    let output = output_or_skip!(Lab::default().client(&[keepalive, "probe", "db.example.invalid:80"]));
    assert_says(&output, 1, &["keepalive: cannot find 'db.example.invalid:80': "]);
}
