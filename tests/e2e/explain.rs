//! `keepalive explain`: its text, its JSON, and that both describe what the policy does.

mod refusals;
mod sources;
mod warnings;

use crate::presets::{HELPFUL, USELESS};
use crate::support::{PYTHON, keepalive, library};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// The rules file of these tests: the example of the manual, and more.
const CONFIG: &str = "\
# who                            settings
default                          idle=60s interval=10s count=6
connect 10.0.0.0/8:5432          idle=30s user-timeout=auto   # databases
connect [2001:db8::/32]:443      off
accept  :8000-8999               idle=2m mode=enforce; accept 192.0.2.0/24 keepalive=leave
program sshd                     off
program java connect *:27017     preset=aws-nlb count=7 syn-count=6
";

/// Runs `keepalive explain` with only `variables` in the environment, and [`CONFIG`] in `test.conf` in its directory.
fn explain_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("test.conf"), CONFIG).expect("a file");
    Command::new(keepalive())
        .arg("explain")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .output()
        .expect("keepalive starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `explain`, which must succeed without messages. Returns its output.
#[track_caller]
fn explain(arguments: &[&str]) -> String {
    let output = explain_with(&[], arguments);
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the JSON object.
#[track_caller]
fn object(arguments: &[&str]) -> Value {
    object_with(&[], arguments)
}

#[track_caller]
fn object_with(variables: &[(&str, &str)], arguments: &[&str]) -> Value {
    let output = explain_with(variables, &[arguments, &["--json"]].concat());
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Returns the value of a setting, and its source.
fn setting(object: &Value, name: &str) -> (Value, String) {
    let setting = &object["settings"][name];
    (
        setting["value"].clone(),
        setting["source"].as_str().unwrap_or("no source").to_owned(),
    )
}

#[track_caller]
fn assert_setting(object: &Value, name: &str, value: impl Into<Value>, source: &str) {
    assert_eq!(
        setting(object, name),
        (value.into(), source.to_owned()),
        "{name}: {object:#}"
    );
}

fn sysctl(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("Linux has IPv4");
    text.trim().parse().expect("a number")
}

/// Whether this machine has a rules file, which applies if no file is named.
fn has_policy() -> bool {
    Path::new("/etc/keepalive.conf").exists()
}

#[test]
fn text_explains_a_connection() {
    let arguments = [
        "--config",
        "test.conf",
        "--program",
        "java",
        "--for",
        "connect",
        "192.0.2.1:27017",
    ];
    assert_eq!(
        explain(&[&arguments[..], &["--user-timeout", "auto"]].concat()),
        "\
A connection to 192.0.2.1:27017, of java
  test.conf:7: program java connect *:27017 preset=aws-nlb count=7 syn-count=6

  keepalive            on   built in
  idle               110s   test.conf:7
  interval            30s   test.conf:7
  count                 7   test.conf:7
  user-timeout       320s   --user-timeout (auto: idle + interval x count)
  mode               fill   built in (what the program sets itself stays)
  syn-count             6   test.conf:7

Timeline, from the last answer of the peer
  after 1 min 50 s          first probe
  then every 30 s           another, 7 in all, as long as none is answered
  after 5 min 20 s          dead: the program's calls fail with ETIMEDOUT
  while data is in flight   given up after 5 min 20 s (user timeout)
  while connecting          given up after about 2 min (syn-count=6); the user
                            timeout does not count yet

Middleboxes that forget idle connections (see keepalive presets)
  two probes may be lost    aws-nat, aws-nlb, aws-gwlb, aws-ec2, aws-nfw, azure,
                            azure-fw, gcp, oci-nlb, ipvs, swarm, fw-30m, fw-1h,
                            home, mobile
  no keepalive can help     aws-elb, aws-alb, aws-ga, istio, envoy, haproxy,
                            octavia, nginx, docker-desktop

Unwise
  - the user timeout also ends the connection to a live peer that stops reading
    for 5 min 20 s
"
    );
}

#[test]
fn text_explains_a_socket_that_is_not_changed() {
    let shown = explain(&["--config", "test.conf", "--for", "connect", "[2001:db8::1]:443"]);
    let (settings, rest) = shown.split_once("\nTimeline\n").expect("a timeline");
    assert_eq!(
        settings,
        "\
A connection to [2001:db8::1]:443
  test.conf:4: connect [2001:db8::/32]:443 off
  (rules for programs were passed over: name one with --program)

  keepalive           off   test.conf:4
"
    );
    assert!(
        rest.contains("no probe, unless the program asks for keepalive"),
        "{rest}"
    );
    assert!(rest.contains("forgotten before a probe  aws-nat"), "{rest}");
    assert!(rest.contains("  - keepalive is off here"), "{rest}");
}

#[test]
fn matching_rule_and_its_line_are_shown() {
    for (place, program, line) in [
        (&["connect", "10.1.2.3:5432"][..], "psql", Some(3)),
        (&["connect", "[::ffff:10.1.2.3]:5432"], "psql", Some(3)),
        (&["connect", "10.1.2.3:5433"], "psql", None),
        (&["connect", "10.1.2.3"], "psql", None),
        (&["accept", "10.1.2.3:5432"], "psql", None),
        (&["connect", "[2001:db8::1]:443"], "curl", Some(4)),
        (&["connect", "[2001:db9::1]:443"], "curl", None),
        (&["accept", "198.51.100.1:8000"], "x", Some(5)),
        (&["accept", "[::1]:8999"], "x", Some(5)),
        (&["accept", ":8999"], "x", Some(5)),
        (&["accept", "[::1]:9000"], "x", None),
        (&["connect", "[::1]:8000"], "x", None),
        (&["connect", "[::1]:8000"], "sshd", Some(6)),
        (&["accept", "192.0.2.1:22"], "sshd", Some(5)),
        (&["connect", "[::1]:27017"], "java", Some(7)),
        (&["connect", "[::1]:27017"], "/usr/bin/java", Some(7)),
        (&["connect", "[::1]:27017"], "javac", None),
        (&[], "sshd", Some(6)),
        (&[], "java", None),
    ] {
        let mut arguments = vec!["--config", "test.conf", "--program", program];
        if !place.is_empty() {
            arguments.push("--for");
            arguments.extend(place);
        }
        let object = object(&arguments);
        assert_eq!(object["rule"]["line"], json!(line), "{arguments:?}");
        let source = line.map(|_| "test.conf");
        assert_eq!(object["rule"]["source"], json!(source), "{arguments:?}");
        if line.is_none() {
            assert_setting(&object, "idle_s", 60, "test.conf:2");
        }
    }
}

#[test]
fn rule_is_shown_as_written() {
    for (place, written) in [
        ("10.1.2.3:8000", "accept :8000-8999 idle=2m mode=enforce"),
        ("192.0.2.3:1", "accept 192.0.2.0/24 keepalive=leave"),
    ] {
        let object = object(&["--config", "test.conf", "--for", "accept", place]);
        assert_eq!(
            object["rule"],
            json!({"text": written, "source": "test.conf", "line": 5})
        );
    }
}

#[test]
fn the_json_has_the_documented_fields() {
    let object = object(&["--config", "test.conf", "--for", "connect", "[::ffff:10.1.2.3]:5432"]);
    let (interval, count) = (sysctl("tcp_keepalive_intvl"), sysctl("tcp_keepalive_probes"));
    let dead_after = 30 + interval * count;
    let names = |list: &Value| list.as_array().expect("an array").len();
    assert_eq!(names(&object["warnings"]), 1);
    let linear = fs::read_to_string("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
        .map_or(0, |text| text.trim().parse().expect("a number"));
    let retries = u32::try_from(sysctl("tcp_syn_retries")).expect("few");
    let connecting: u64 = (0..=retries).map(|tried| 120.min(1 << tried.min(9))).sum::<u64>() + linear;
    assert_eq!(
        object,
        json!({
            "for": {"direction": "connect", "address": "10.1.2.3", "port": 5432},
            "program": null,
            "rule": {
                "text": "connect 10.0.0.0/8:5432 idle=30s user-timeout=auto",
                "source": "test.conf",
                "line": 3,
            },
            "settings": {
                "keepalive": {"value": "on", "source": "built-in"},
                "idle_s": {"value": 30, "source": "test.conf:3"},
                "interval_s": {"value": interval, "source": "net.ipv4.tcp_keepalive_intvl"},
                "count": {"value": count, "source": "net.ipv4.tcp_keepalive_probes"},
                "user_timeout_ms": {"value": 1000 * dead_after, "source": "test.conf:3"},
                "mode": {"value": "fill", "source": "built-in"},
                "syn_count": null,
                "defer_accept_s": null,
                "max_segment": null,
                "window_clamp": null,
            },
            "first_probe_s": 30,
            "lost_probes": count,
            "dead_after_s": dead_after,
            // serde_json does not compare integers and floating-point numbers as equal.
            "data_in_flight_s": f64::from(u32::try_from(dead_after).expect("small")),
            "connecting_s": connecting,
            "outlives": object["outlives"],
            "at_risk": object["at_risk"],
            "forgotten_by": object["forgotten_by"],
            "no_remedy": USELESS,
            "warnings": object["warnings"],
        })
    );
}

#[test]
fn off_has_no_times_and_the_kernel_defaults() {
    let object = object(&["--config", "test.conf", "--program", "sshd"]);
    assert_setting(&object, "keepalive", "off", "test.conf:6");
    assert_setting(
        &object,
        "idle_s",
        sysctl("tcp_keepalive_time"),
        "net.ipv4.tcp_keepalive_time",
    );
    for field in ["first_probe_s", "lost_probes", "dead_after_s", "for"] {
        assert!(object[field].is_null(), "{field}");
    }
    assert_eq!(object["forgotten_by"], json!(HELPFUL));
    assert!(object["connecting_s"].is_u64());
}

/// The library and this command share the decision, but read the policy separately.
#[test]
fn explained_settings_are_those_of_a_connection() {
    python!();
    let script = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); \
                  print(*[s.getsockopt(*o) for o in ((6, 4), (6, 5), (6, 6), (6, 18))])";
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port().to_string();
    for rules in [
        "connect 127.0.0.0/8 idle=44 user-timeout=auto",
        "program python3 connect *:1-65535 preset=azure count=3\nconnect * idle=1",
        "accept * idle=1; program other idle=2; default interval=7",
        "program python3 off",
    ] {
        let policy = ["--count=8", "--rule", rules];
        let output = Command::new(keepalive())
            .arg("run")
            .args(policy)
            .args(["--", PYTHON, "-c", script, &port])
            .env_clear()
            .env("KEEPALIVE_LIBRARY", library())
            .output()
            .expect("keepalive starts");
        let place = format!("127.0.0.1:{port}");
        let connection = ["--for", "connect", &place, "--program", "python3"];
        let object = object(&[&policy[..], &connection].concat());
        let explained = ["idle_s", "interval_s", "count", "user_timeout_ms"]
            .map(|name| object["settings"][name]["value"].to_string())
            .join(" ");
        assert_eq!(
            text(&output.stdout).trim(),
            explained,
            "{rules}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn times_match_measured_ones() {
    for (timeout, probes, dead_after) in [
        ("off", 3, 8),
        ("20s", 9, 20),
        ("3s", 1, 4),
        ("auto", 3, 8),
        ("1ms", 1, 4),
    ] {
        let object = object(&["--idle=2", "--interval=2", "--count=3", "--user-timeout", timeout]);
        assert_eq!(
            (
                &object["first_probe_s"],
                &object["lost_probes"],
                &object["dead_after_s"]
            ),
            (&json!(2), &json!(probes), &json!(dead_after)),
            "{timeout}"
        );
    }
}

#[test]
fn middleboxes_are_classified_by_idle_and_interval() {
    for (idle, interval, kept, at_risk) in [
        ("60", "15", HELPFUL.len(), 0),
        ("90", "75", HELPFUL.len() - 3, 3),
        ("237", "1", HELPFUL.len(), 0),
        ("238", "1", HELPFUL.len() - 3, 3),
        ("239", "1", HELPFUL.len() - 3, 3),
        ("240", "1", HELPFUL.len() - 3, 0),
        ("2h", "75", 0, 0),
    ] {
        let object = object(&["--idle", idle, "--interval", interval]);
        let count = |field: &str| object[field].as_array().expect("an array").len();
        assert_eq!(
            (count("outlives"), count("at_risk")),
            (kept, at_risk),
            "{idle} {interval}"
        );
        assert_eq!(
            count("forgotten_by"),
            HELPFUL.len() - kept - at_risk,
            "{idle} {interval}"
        );
    }
    let object = object(&["--idle", "90", "--interval", "75"]);
    assert_eq!(object["at_risk"], json!(["azure", "azure-fw", "home"]));
}

#[test]
fn text_fits_80_columns() {
    for arguments in [
        &["--config=test.conf"][..],
        &[
            "--config=test.conf",
            "--for",
            "accept",
            "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "--program=node",
        ],
        &[
            "--idle=32767",
            "--interval=32767",
            "--count=127",
            "--user-timeout=2147483647ms",
        ],
        &[
            "--idle=5m",
            "--interval=30",
            "--user-timeout=1ms",
            "--mode=floor",
            "--program=redis-server",
        ],
        &[
            "--rule",
            "program a keepalive=leave user-timeout=auto syn-count=127 window-clamp=2147483647",
            "--program=a",
        ],
        &["--config=test.conf", "--program=sshd"],
    ] {
        for line in explain(arguments).lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line, line.trim_end(), "a line ends with a space");
        }
    }
}
