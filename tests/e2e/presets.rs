//! `keepalive presets`: what people see, and what programs read.

use crate::support::keepalive;
use serde_json::Value;
use std::fs::File;
use std::io;
use std::process::{Command, Stdio};

/// The names in the manual of middleboxes with which keepalive helps (preset `default` names none), and those with which it cannot.
pub const HELPFUL: [&str; 15] = [
    "aws-nat", "aws-nlb", "aws-gwlb", "aws-ec2", "aws-nfw", "azure", "azure-fw", "gcp", "oci-nlb", "ipvs", "swarm",
    "fw-30m", "fw-1h", "home", "mobile",
];
pub const USELESS: [&str; 9] = [
    "aws-elb",
    "aws-alb",
    "aws-ga",
    "istio",
    "envoy",
    "haproxy",
    "octavia",
    "nginx",
    "docker-desktop",
];

const FIELDS: [&str; 10] = [
    "name",
    "what",
    "timeout_s",
    "when_idle",
    "idle_s",
    "interval_s",
    "count",
    "useless",
    "source",
    "date",
];

/// `keepalive presets` with these arguments, which must succeed without a word on standard error.
#[track_caller]
fn presets(arguments: &[&str]) -> String {
    let output = Command::new(keepalive())
        .arg("presets")
        .args(arguments)
        .output()
        .expect("keepalive starts");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The JSON output's objects.
#[track_caller]
fn objects() -> Vec<Value> {
    let Ok(Value::Array(objects)) = serde_json::from_str(&presets(&["--json"])) else {
        panic!("not a JSON array")
    };
    objects
}

fn names(objects: &[Value], useless: bool) -> Vec<&str> {
    let those = objects.iter().filter(|object| object["useless"].is_string() == useless);
    those.filter_map(|object| object["name"].as_str()).collect()
}

#[test]
fn every_preset_of_the_manual_exists() {
    let objects = objects();
    assert_eq!(names(&objects, false), [&HELPFUL[..], &["default"]].concat());
    assert_eq!(names(&objects, true), USELESS);
}

#[test]
fn the_json_has_every_field_of_every_preset() {
    for object in objects() {
        let fields = object.as_object().expect("an object");
        assert_eq!(fields.len(), FIELDS.len(), "{object}");
        for field in ["name", "what", "when_idle", "source", "date"] {
            assert!(object[field].is_string(), "{field}: {object}");
        }
        assert!(FIELDS.iter().all(|field| fields.contains_key(*field)), "{object}");
        let is_default = object["name"] == "default";
        assert_eq!(object["timeout_s"].is_u64(), !is_default, "{object}");
        for field in ["idle_s", "interval_s", "count"] {
            let is_right = if object["useless"].is_string() {
                object[field].is_null()
            } else {
                object[field].is_u64()
            };
            assert!(is_right, "{field}: {object}");
        }
    }
}

#[test]
fn the_text_fits_80_columns_and_addresses_stay_whole() {
    for line in presets(&[]).lines() {
        let is_address = line.starts_with("  ") && line.contains('/') && !line.trim().contains(' ');
        assert!(line.chars().count() <= 80 || is_address, "{line}");
        assert_eq!(line, line.trim_end(), "a line ends with a space");
        assert!(line.chars().all(|character| !character.is_control()), "{line:?}");
    }
}

#[test]
fn text_and_json_agree() {
    let text = presets(&[]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for object in objects() {
        let field = |name: &str| object[name].as_str().unwrap_or_default();
        let row = text.lines().find(|line| line.split(' ').next() == Some(field("name")));
        let columns: Vec<_> = row
            .unwrap_or_else(|| panic!("no {object}"))
            .split_whitespace()
            .collect();
        for name in ["timeout_s", "idle_s", "interval_s"] {
            let expected = object[name].as_u64().map(|seconds| format!("{seconds}s"));
            assert!(
                expected.is_none_or(|expected| columns.contains(&expected.as_str())),
                "{name}: {columns:?}"
            );
        }
        assert_eq!(columns.last(), Some(&field("date")));
        for name in ["what", "source", "useless"] {
            let expected = field(name).trim_start_matches("https://");
            assert!(words.contains(expected), "{name}: {object}");
        }
    }
}

#[test]
fn middleboxes_that_ignore_keepalive_are_listed_separately() {
    let text = presets(&[]);
    let (helpful, useless) = text
        .split_once("Keepalive cannot help")
        .expect("there is a second part");
    let is_in = |text: &str, name: &str| text.lines().any(|line| line.split(' ').next() == Some(name));
    let mut helping = HELPFUL.iter().chain(&["default"]);
    assert!(helping.all(|name| is_in(helpful, name) && !is_in(useless, name)));
    assert!(USELESS.iter().all(|name| is_in(useless, name) && !is_in(helpful, name)));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for argument in [None, Some("--json")] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(keepalive());
        let output = command
            .arg("presets")
            .args(argument)
            .stdout(writer)
            .stderr(Stdio::piped());
        let output = output
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("keepalive starts");
        assert!(output.status.success(), "{}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has /dev/full");
    let mut command = Command::new(keepalive());
    let output = command.arg("presets").stdout(full).stderr(Stdio::piped());
    let output = output
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("keepalive starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "keepalive: cannot write to standard output: write: No space left on device\n"
    );
}
