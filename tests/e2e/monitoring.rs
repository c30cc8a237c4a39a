//! packaging/monitoring: the alerts and the dashboard use metrics that `keepalive cgroup status --metrics` prints, and the
//! manual describes all of these.

use crate::support::process::{LIMIT, output_within, text};
use crate::support::{find_program, repository};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The metric of node_exporter that an alert uses.
const OF_NODE_EXPORTER: &str = "node_textfile_mtime_seconds";

fn packaging(file: &str) -> PathBuf {
    repository().join("packaging/monitoring").join(file)
}

fn read(file: &str) -> String {
    let path = packaging(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let is_name = |word: &&str| word.starts_with("keepalive_") || word.starts_with("node_textfile_");
    words.filter(is_name).map(str::to_owned).collect()
}

/// Returns the queries of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("keepalive-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("a list"));
    targets
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect()
}

#[test]
fn alerts_dashboard_and_manual_have_the_metrics_of_the_command() {
    let test_cgroup = test_cgroup!();
    let printed = test_cgroup.quiet(&["cgroup", "status", "--metrics"]);
    let types = printed.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<String> = types
        .map(|line| match line.split_once(' ') {
            Some((name, "counter")) => format!("{name}_total"),
            Some((name, _)) => name.to_owned(),
            None => panic!("{line}"),
        })
        .collect();
    let manual = fs::read_to_string(repository().join("man/keepalive-cgroup.1")).expect("a manual");
    assert_eq!(names(&manual), known);
    let alerts = read("keepalive-alerts.yaml");
    let expressions: String = alerts
        .lines()
        .filter(|line| line.trim().starts_with("expr: "))
        .collect();
    let mut used = names(&expressions);
    assert!(used.remove(OF_NODE_EXPORTER), "{used:?}");
    assert!(used.len() > 4, "{used:?}");
    used.extend(queries().iter().flat_map(|query| names(query)));
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Returns from the test if promtool is not installed.
macro_rules! promtool {
    () => {
        if find_program("promtool").is_none() {
            skip!("promtool is not installed");
        }
    };
}

#[track_caller]
fn promtool(words: &[&str]) -> String {
    let output = output_within(LIMIT, Command::new("promtool").args(words));
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output.stdout)
}

#[test]
fn alerts_fire_as_their_tests_expect() {
    promtool!();
    let path = |file: &str| packaging(file).to_str().expect("a UTF-8 path").to_owned();
    promtool(&["check", "rules", &path("keepalive-alerts.yaml")]);
    promtool(&["test", "rules", &path("keepalive-alerts-test.yaml")]);
    let alerts = read("keepalive-alerts.yaml");
    let tests = read("keepalive-alerts-test.yaml");
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

#[test]
fn queries_of_the_dashboard_are_valid() {
    promtool!();
    let rules: Vec<Value> = queries()
        .iter()
        .enumerate()
        .map(|(number, query)| {
            let query = query.replace("$__rate_interval", "5m").replace("$cgroup", ".*");
            json!({"record": format!("query:{number}"), "expr": query})
        })
        .collect();
    assert!(rules.len() >= 10, "{rules:?}");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a temporary file");
    // JSON is YAML.
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(file.path(), groups).expect("a file of the test");
    promtool(&["check", "rules", file.path().to_str().expect("a UTF-8 path")]);
}
