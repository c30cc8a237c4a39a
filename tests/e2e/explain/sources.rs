//! The source of each setting.

use super::*;

#[test]
fn every_setting_names_its_source() {
    let object = object_with(
        &[
            ("KEEPINTVL", "7"),
            ("KEEPIDLE", "99"),
            ("KEEPALIVE", "skip"),
            ("TCP_KEEPCNT", "4"),
            ("KEEPALIVE_MODE", "cap"),
        ],
        &["--idle", "31", "--config", "test.conf"],
    );
    assert_setting(&object, "keepalive", "leave", "KEEPALIVE");
    assert_setting(&object, "idle_s", 31, "--idle");
    assert_setting(&object, "interval_s", 7, "KEEPINTVL");
    assert_setting(&object, "count", 4, "TCP_KEEPCNT");
    assert_setting(&object, "user_timeout_ms", 59_000, "TCP_KEEPCNT");
    assert_setting(&object, "mode", "cap", "KEEPALIVE_MODE");
}

#[test]
fn presets_rules_and_variables_are_named_as_sources() {
    let preset = object(&["--preset", "azure", "--count", "3", "--config", "test.conf"]);
    assert_setting(&preset, "idle_s", 80, "--preset");
    assert_setting(&preset, "count", 3, "--count");
    let rule = object(&["--rule", "program a idle=5", "--config", "test.conf", "--program", "a"]);
    assert_setting(&rule, "idle_s", 5, "--rule");
    assert_setting(&rule, "interval_s", 10, "test.conf:2");
    let lines = [
        ("KEEPALIVE_RULES", "# first\nprogram a idle=5;default count=2"),
        ("KEEPALIVE_CONFIG", "test.conf"),
    ];
    let variable = object_with(&lines, &["--program", "a"]);
    assert_setting(&variable, "idle_s", 5, "KEEPALIVE_RULES:2");
    assert_setting(&variable, "count", 6, "test.conf:2");
    assert_setting(&object_with(&lines, &[]), "count", 2, "KEEPALIVE_RULES:2");
}

#[test]
fn rules_of_the_command_line_are_numbered() {
    let rules = [
        "program a idle=5",
        "program b idle=6\nprogram c idle=7",
        "program d idle=8",
        "default count=3",
    ];
    let flags: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    for (program, idle, line) in [("a", 5, 1), ("b", 6, 2), ("c", 7, 3), ("d", 8, 4)] {
        let object = object(&[&flags[..], &["--program", program]].concat());
        assert_setting(&object, "idle_s", idle, &format!("--rule:{line}"));
        let rule = &object["rule"];
        assert_eq!(rule["text"], format!("program {program} idle={idle}"), "{object}");
        assert_eq!(
            (&rule["source"], &rule["line"]),
            (&"--rule".into(), &line.into()),
            "{object}"
        );
    }
    assert_setting(&object(&flags), "count", 3, "--rule:5");
}

#[test]
fn without_a_policy_the_fallback_of_run_is_shown() {
    if has_policy() {
        skip!("there is an /etc/keepalive.conf");
    }
    let without_policy = object(&[]);
    for (name, value) in [("idle_s", 60), ("interval_s", 15), ("count", 5)] {
        assert_setting(&without_policy, name, value, "fallback");
    }
    assert_eq!(without_policy["dead_after_s"], 135);
    assert_eq!(without_policy["outlives"], json!(HELPFUL));
    assert_eq!(without_policy["no_remedy"], json!(USELESS));
    for field in ["at_risk", "forgotten_by", "warnings"] {
        assert_eq!(without_policy[field], json!([]), "{field}");
    }
    assert!(explain(&[]).contains("\n  (no option, rule or file sets a time: unset values are those of 'keepalive\n"));
    let variable = object_with(&[("KEEPIDLE", "99")], &[]);
    assert_setting(&variable, "idle_s", 99, "KEEPIDLE");
    assert_setting(&variable, "count", 5, "fallback");
    let off = object_with(
        &[("KEEPALIVE", "off"), ("KEEPALIVE_RULES", "program a idle=5")],
        &["--program", "a"],
    );
    assert_setting(&off, "keepalive", "off", "KEEPALIVE");
    assert!(off["rule"].is_null());
}

#[test]
fn sysctls_of_the_network_namespace_are_shown() {
    let script = "echo 100 > /proc/sys/net/ipv4/tcp_keepalive_time && \
                  echo 3 > /proc/sys/net/ipv4/tcp_retries2 && exec \"$0\" explain --interval 1 --json";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
        .arg(keepalive())
        .output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => skip!("cannot create a network namespace: {}", text(&output.stderr).trim()),
        Err(error) => skip!("no unshare: {error}"),
    };
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_setting(&object, "idle_s", 100, "net.ipv4.tcp_keepalive_time");
    assert_eq!(object["data_in_flight_s"], 3.0);
}
