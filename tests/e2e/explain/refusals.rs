//! Arguments that `explain`, as every command with a policy, refuses, with the message for each.

use super::{explain_with, text};

#[test]
fn invalid_addresses_are_refused() {
    const ADDRESS: &str = "expected 10.1.2.3:5432, [::1]:443 or :8000; names are not looked up";
    const PORT: &str = "expected 1 to 65535, as in 10.1.2.3:5432 or [::1]:443";
    for (direction, place, message, hint) in [
        (
            "conect",
            ":80",
            "--for 'conect': unknown direction",
            "expected connect or accept",
        ),
        ("connect", "db:5432", "--for connect 'db:5432': not an address", ADDRESS),
        ("accept", "10.1.2", "--for accept '10.1.2': not an address", ADDRESS),
        ("connect", "[::1", "--for connect '[::1': not an address", ADDRESS),
        (
            "connect",
            "[::1]443",
            "--for connect '[::1]443': not an address",
            ADDRESS,
        ),
        (
            "connect",
            "10.0.0.0/8:1",
            "--for connect '10.0.0.0/8:1': not one address",
            "expected an address of the network",
        ),
        ("connect", "10.1.2.3:0", "--for connect '10.1.2.3:0': not a port", PORT),
        (
            "connect",
            "[::1]:https",
            "--for connect '[::1]:https': not a port",
            PORT,
        ),
    ] {
        let output = explain_with(&[], &["--for", direction, place]);
        assert_eq!(text(&output.stderr), format!("keepalive: {message}\nhint: {hint}\n"));
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stdout), "");
    }
    let output = explain_with(&[], &["--for", "connect"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).starts_with("keepalive: 2 values required for '--for <connect|accept> <ADDRESS:PORT>'")
    );
}

#[test]
fn invalid_values_are_refused() {
    const SECONDS: &str = "expected 1 to 32767 seconds, such as 90, 90s, 5m or 2h";
    const PROBES: &str = "expected 1 to 127 probes, such as 5";
    const TIMEOUT: &str = "expected off, auto, or up to 2147483647ms, such as 30, 1500ms, 30s or 2m";
    for (flag, value, problem, hint) in [
        ("--idle <TIME>", "", "there is no value", SECONDS),
        ("--idle <TIME>", "soon", "not a whole number", SECONDS),
        ("--idle <TIME>", "60x", "unknown unit after the number", SECONDS),
        ("--idle <TIME>", "1500ms", "not a whole number of seconds", SECONDS),
        ("--idle <TIME>", "0", "too small", SECONDS),
        ("--interval <TIME>", "32768", "too large", SECONDS),
        ("--interval <TIME>", "-1", "not a whole number", SECONDS),
        ("--count <N>", "128", "too large", PROBES),
        ("--count <N>", "5s", "not a whole number", PROBES),
        ("--user-timeout <TIME>", "2147483648ms", "too large", TIMEOUT),
        ("--user-timeout <TIME>", "never", "not a whole number", TIMEOUT),
        (
            "--mode <MODE>",
            "max",
            "unknown mode",
            "expected fill, cap, floor or enforce",
        ),
        (
            "--preset <NAME>",
            "nonesuch",
            "unknown preset",
            "keepalive presets lists them",
        ),
        (
            "--preset <NAME>",
            "aws-alb",
            "keepalive cannot help there",
            "it ends the connection and opens another to the target, and a probe, which carries no data, does not count: \
             raise its idle timeout",
        ),
    ] {
        let name = flag.split(' ').next().unwrap_or_default();
        let output = explain_with(&[], &[&format!("{name}={value}")]);
        let message = format!("invalid value '{value}' for '{flag}': {problem}");
        assert_eq!(
            text(&output.stderr),
            format!("keepalive: {message}\nhint: {hint}\n\nFor more information, try '--help'.\n")
        );
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn invalid_variables_are_refused() {
    for (name, value, problem, hint) in [
        ("KEEPALIVE_MODE", "max", "unknown word", "fill, cap, floor or enforce"),
        (
            "KEEPIDLE",
            "x",
            "not a whole number",
            "1 to 32767 seconds, such as 90, 90s, 5m or 2h",
        ),
    ] {
        let output = explain_with(&[(name, value)], &[]);
        assert_eq!(
            text(&output.stderr),
            format!("keepalive: {name}={value}: {problem}\nhint: expected {hint}\n")
        );
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn mistakes_in_rules_and_files_are_shown_with_their_position() {
    let output = explain_with(
        &[("KEEPALIVE_RULES", "program a off\nprogram b")],
        &["--rule", "connect * now"],
    );
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("--rule:1:11: not a setting\n 1 | connect * now\n"),
        "{stderr}"
    );
    assert!(
        stderr.contains("KEEPALIVE_RULES:2:9: nothing is set\n 2 | program b\n"),
        "{stderr}"
    );
    let rules = ["connect * idle=1", "", "connect * now", "program a off\nprogram b"];
    let flags: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    let stderr = text(&explain_with(&[], &flags).stderr);
    for expected in [
        "--rule:3:11: not a setting\n 3 | connect * now\n",
        "--rule:5:9: nothing is set\n 5 | program b\n",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    let output = explain_with(&[], &["--config", "nonesuch"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "keepalive: cannot read 'nonesuch': No such file or directory\n"
    );
}
