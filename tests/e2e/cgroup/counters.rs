//! Counters of rules in `status`, and its output for a policy without problems.

use super::{POLICY, pair_with};
use crate::support::process::text;
use serde_json::json;
use std::fs;

#[test]
fn status_counts_the_connections_of_each_rule() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let path = path.to_str().expect("a UTF-8 path");
    fs::write(path, "# first\naccept [::1] idle=2m\n\ndefault interval=3s\n").expect("a file of the test");
    test_cgroup.enable(&[
        "--rule=connect 10.0.0.0/8:5432 idle=30s",
        "--rule=connect 127.0.0.1 idle=31s",
        "--idle=61",
        "--config",
        path,
    ]);
    let mut program = test_cgroup.py_peer();
    program.execute("listener = listen(); six = listen('::1', family=socket.AF_INET6)");
    program.execute("for _ in range(3): kept.append(pair(listener))");
    program.execute("for _ in range(5): kept.append(pair(six, '::1', socket.AF_INET6))");
    let name = test_cgroup.name();
    let mut status = test_cgroup.status();
    let [since, hash] = ["since", "hash"].map(|field| status[field].take());
    let [since, hash] = [&since, &hash].map(|value| value.as_str().expect("a text"));
    assert_eq!(
        status,
        json!({
            "cgroup": name,
            "state": "in-force",
            "hash": null,
            "since": null,
            "version": env!("CARGO_PKG_VERSION"),
            "default": "idle=61s interval=3s",
            // Three connections were accepted from 127.0.0.1, five were connected to ::1.
            "default_connections": 8,
            "default_ended": null,
            "rules": [
                {"rule": "connect 10.0.0.0/8:5432 idle=30s", "from": "--rule", "line": 1, "connections": 0, "ended": null},
                {"rule": "connect 127.0.0.1 idle=31s", "from": "--rule", "line": 2, "connections": 3, "ended": null},
                {"rule": "accept [::1] idle=120s", "from": path, "line": 2, "connections": 5, "ended": null},
            ],
            "refused": 0,
            "clamps": false,
            "owner": null,
            "error": null,
            "has_lost_its_watch": false,
            "made_again": false,
            "reads_fields": true,
            "compared_because": null,
            "uncounted_because": null,
            "shadowed": [],
            "before": [],
            "after": [],
        })
    );
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "status"]),
        format!(
            "{name}: active
  0  connect 10.0.0.0/8:5432 idle=30s  (--rule:1)
  3  connect 127.0.0.1 idle=31s  (--rule:2)
  5  accept [::1] idle=120s  ({path}:2)
  8  default idle=61s interval=3s
  policy {hash} since {since}
"
        )
    );
}

#[test]
fn matching_rules_of_both_sources_are_counted() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let path = path.to_str().expect("a UTF-8 path");
    fs::write(path, "connect * interval=3s\n").expect("a file of the test");
    test_cgroup.enable(&["--rule=connect * idle=31s", "--config", path]);
    let mut program = pair_with(&test_cgroup, "");
    assert_eq!(program.has("client"), "1 31 3 9 0");
    let status = test_cgroup.status();
    assert_eq!(status["rules"][0]["connections"], 1);
    assert_eq!(status["rules"][1]["connections"], 1);
    assert_eq!(status["default_connections"], 1);
}

#[test]
fn connection_that_a_rule_switches_off_is_counted() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&["--rule=connect * off"]);
    let _program = pair_with(&test_cgroup, "");
    let status = test_cgroup.status();
    assert_eq!(status["rules"][0]["connections"], 1);
    assert_eq!(status["default_connections"], 1);
}

#[test]
fn new_policy_starts_counting_at_zero() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut program = pair_with(&test_cgroup, "");
    assert_eq!(test_cgroup.status()["default_connections"], 2);
    test_cgroup.enable(&POLICY);
    assert_eq!(test_cgroup.status()["default_connections"], 0);
    program.execute("other, end = pair(listener)");
    assert_eq!(test_cgroup.status()["default_connections"], 2);
}

#[test]
fn concurrent_connections_of_many_processes_are_counted() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut programs: Vec<_> = (0..4).map(|_| test_cgroup.py_peer()).collect();
    for program in &mut programs {
        program.execute("listener = listen()");
    }
    for program in &mut programs {
        program
            .0
            .send_line("exec('for _ in range(500): [end.close() for end in pair(listener)]')");
    }
    for program in &mut programs {
        assert_eq!(program.answer(), "None");
    }
    assert_eq!(test_cgroup.status()["default_connections"], 4 * 500 * 2);
}

#[test]
fn status_shows_only_the_named_cgroups() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.name_of(&test_cgroup.child("child"));
    test_cgroup.enable(&POLICY);
    test_cgroup.enable_for(&child, &["--idle=5"]);
    let one = test_cgroup.quiet(&["cgroup", "status", &child]);
    let expected = format!("{child}: active\n  0  default idle=5s\n  policy ");
    assert!(one.starts_with(&expected), "{one}");
    assert_eq!(one.matches(": active\n").count(), 1, "{one}");
    let all = test_cgroup.quiet(&["cgroup", "status"]);
    assert_eq!(all.matches(": active\n").count(), 2, "{all}");

    let output = test_cgroup.output(&["cgroup", "status", &child, "/keepalive-test-nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).ends_with("/keepalive-test-nowhere: none\n"),
        "{output:?}"
    );
    assert_eq!(
        text(&output.stderr),
        "keepalive: /keepalive-test-nowhere has no policy\n"
    );
}

#[test]
fn status_reports_when_no_policy_is_active() {
    let test_cgroup = test_cgroup!();
    let expected = "engine cgroup: works here; no cgroup has a policy\n";
    assert_eq!(test_cgroup.quiet(&["cgroup", "status"]), expected);
    assert_eq!(test_cgroup.report(), json!({"obstacle": null, "cgroups": []}));
}
