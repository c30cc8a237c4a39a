//! `status --metrics` and `enable --watch --metrics-file`, read by the parser of the Prometheus project and by node_exporter.

use super::watch::Watch;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::test_cgroup::TestCgroup;
use crate::support::{PYTHON, find_program};
use keepalive_sys::cgroup;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// Prints each sample as a line of JSON: name, labels and value. Refuses what is not OpenMetrics.
const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    for sample in family.samples:
        print(json.dumps([sample.name, sample.labels, sample.value]))
";

/// Returns from the test if the parser of OpenMetrics is not installed.
macro_rules! parser {
    () => {
        python!();
        let output = output_within(
            LIMIT,
            Command::new(PYTHON).args(["-c", "import prometheus_client.openmetrics.parser"]),
        );
        if !output.status.success() {
            skip!("python3-prometheus-client is not installed");
        }
    };
}

mod endpoint;

/// Returns the samples of a text, as the parser reads them.
#[track_caller]
fn parse(metrics: &str) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), metrics).expect("a file of the test");
    let output = output_within(LIMIT, Command::new(PYTHON).args(["-c", PARSE]).arg(file.path()));
    assert!(output.status.success(), "{}\n{metrics}", text(&output.stderr));
    let printed = text(&output.stdout);
    printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Returns the value of the only sample with this name and, among others, these labels.
#[track_caller]
fn value(samples: &[Value], name: &str, labels: &Value) -> u64 {
    let labels = labels.as_object().expect("an object");
    let mut found = samples
        .iter()
        .filter(|sample| sample[0] == name && labels.iter().all(|(label, value)| sample[1][label] == *value));
    let sample = found
        .next()
        .unwrap_or_else(|| panic!("{name} {labels:?} is not in {samples:?}"));
    assert_eq!(found.next(), None, "{name} {labels:?}");
    sample[2].as_u64().expect("a whole number")
}

/// Returns what `status --metrics` prints, with any exit status, as the parser reads it.
#[track_caller]
fn metrics(test_cgroup: &TestCgroup) -> Vec<Value> {
    parse(&text(&test_cgroup.output(&["cgroup", "status", "--metrics"]).stdout))
}

#[test]
fn metrics_have_the_counters_of_each_rule() {
    let test_cgroup = test_cgroup!();
    parser!();
    // A name that has to be escaped, and two rules with the same text.
    let child = test_cgroup.child("a\\b \"c\"");
    let path = test_cgroup.name_of(&child);
    test_cgroup.enable_for(
        &path,
        &[
            "--rule=connect 127.0.0.1 idle=31s",
            "--rule=connect 127.0.0.1 idle=31s",
            "--idle=61",
            "--count-endings",
        ],
    );
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("listener = listen(); kept = [pair(listener) for _ in range(3)]");
    let samples = metrics(&test_cgroup);
    let count = |number: &str, rule: &str| {
        let labels = json!({"cgroup": path, "number": number, "rule": rule});
        value(&samples, "keepalive_cgroup_connections_total", &labels)
    };
    assert_eq!(count("1", "connect 127.0.0.1 idle=31s"), 3);
    assert_eq!(count("2", "connect 127.0.0.1 idle=31s"), 0);
    assert_eq!(count("0", "default idle=61s"), 3);
    for number in ["0", "1", "2"] {
        for cause in ["dead-peer", "reset-on-probe", "timeout"] {
            let labels = json!({"cgroup": path, "number": number, "cause": cause});
            assert_eq!(value(&samples, "keepalive_cgroup_ended_connections_total", &labels), 0);
        }
    }
    let of_path = json!({"cgroup": path});
    for (name, expected) in [
        ("keepalive_cgroup_policy_active", 1),
        ("keepalive_cgroup_policy_error", 0),
        ("keepalive_cgroup_policy_watch_lost", 0),
        ("keepalive_cgroup_options_refused_total", 0),
    ] {
        assert_eq!(value(&samples, name, &of_path), expected, "{name}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&samples, "keepalive_build_info", &json!({"version": version})), 1);
    let report = test_cgroup.report();
    let hash = report["cgroups"][0]["hash"].as_str().expect("a text");
    let labels = json!({"cgroup": path, "hash": hash, "version": version});
    assert_eq!(value(&samples, "keepalive_cgroup_policy_info", &labels), 1);
    assert!(value(&samples, "keepalive_cgroup_policy_start_time_seconds", &of_path) > 1_700_000_000);
}

/// The same default and rules have the same hash, whatever their source.
#[test]
fn hash_is_that_of_default_and_rules() {
    let test_cgroup = test_cgroup!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "# a remark\ndefault idle=61s\nconnect 10.0.0.0/8 off\n").expect("a file of the test");
    let config = format!("--config={}", path.display());
    let hash = |flags: &[&str]| {
        test_cgroup.enable(flags);
        test_cgroup.status()["hash"].as_str().expect("a text").to_owned()
    };
    let first = hash(&[&config]);
    assert_eq!(first.len(), 16);
    assert_eq!(hash(&["--idle=61", "--rule=connect 10.0.0.0/8 off"]), first);
    assert_ne!(hash(&["--idle=61"]), first);
    assert_ne!(hash(&["--idle=62", "--rule=connect 10.0.0.0/8 off"]), first);
}

#[test]
fn metrics_show_policies_that_are_not_active() {
    let test_cgroup = test_cgroup!();
    parser!();
    assert_eq!(metrics(&test_cgroup).len(), 1);
    let child = test_cgroup.child("child");
    let path = test_cgroup.name_of(&child);
    // Two policies of the same path; the cgroup of the first is removed.
    for _ in 0..2 {
        test_cgroup.enable_for(&path, &["--idle=61"]);
        cgroup::remove(&child).expect("it is empty");
        fs::create_dir(&child).expect("it is gone");
    }
    let labels = json!({"cgroup": path});
    // The kernel detaches the policy of a removed cgroup asynchronously.
    eventually("an inactive policy", LIMIT, || {
        let state = &test_cgroup.report()["cgroups"][0]["state"];
        (*state == "dangling").then_some(())
    });
    let samples = metrics(&test_cgroup);
    assert_eq!(value(&samples, "keepalive_cgroup_policy_active", &labels), 0);
    let output = test_cgroup.output(&["cgroup", "status", "--metrics", "/not-there"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let samples = parse(&text(&output.stdout));
    let labels = json!({"cgroup": "/not-there"});
    assert_eq!(value(&samples, "keepalive_cgroup_policy_active", &labels), 0);
}

/// Starts a command with `--watch` that keeps this file.
fn watch(test_cgroup: &TestCgroup, config: &Path, file: &Path) -> Watch {
    let [config, file] = [config, file].map(|path| path.to_str().expect("a UTF-8 path"));
    let name = test_cgroup.name();
    let mut watch = Watch::start(test_cgroup, &[&name, "--config", config, "--metrics-file", file]);
    watch.expect_line(&format!("{name}: active"));
    watch
}

/// Waits until the file contains this text. Each state of the file is complete.
#[track_caller]
fn wait_for(file: &Path, wanted: &str) -> String {
    eventually(wanted, LIMIT, || {
        let content = fs::read_to_string(file).ok()?;
        assert!(content.ends_with("# EOF\n"), "{content}");
        content.contains(wanted).then_some(content)
    })
}

#[test]
fn watch_keeps_the_metrics_file() {
    let test_cgroup = test_cgroup!();
    parser!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let [config, file] = ["some.conf", "keepalive.prom"].map(|name| files.path().join(name));
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let mut watch = watch(&test_cgroup, &config, &file);
    let name = test_cgroup.name();
    let content = wait_for(
        &file,
        &format!("keepalive_cgroup_policy_active{{cgroup=\"{name}\"}} 1\n"),
    );
    parse(&content);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o644);
    fs::write(&config, "default idel=31s\n").expect("a file of the test");
    let content = wait_for(
        &file,
        &format!("keepalive_cgroup_policy_error{{cgroup=\"{name}\"}} 1\n"),
    );
    let message = format!("{}:1:9: unknown setting", config.display());
    let labels = json!({"cgroup": name, "message": message});
    assert_eq!(
        value(&parse(&content), "keepalive_cgroup_policy_error_info", &labels),
        1
    );
    fs::write(&config, "default idle=32s\n").expect("a file of the test");
    wait_for(&file, "rule=\"default idle=32s\"");
    watch.end(Signal::TERM);
    let left: Vec<_> = fs::read_dir(files.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "only the rules file is left: {left:?}");
}

/// As during the update of a DaemonSet: the old pod ends when the new one has written the file.
#[test]
fn metrics_file_of_another_command_stays() {
    let test_cgroup = test_cgroup!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let [config, file] = ["some.conf", "keepalive.prom"].map(|name| files.path().join(name));
    fs::write(&config, "default idle=31s\n").expect("a file of the test");
    let mut watch = watch(&test_cgroup, &config, &file);
    wait_for(&file, "# EOF");
    let other = files.path().join("other");
    fs::write(&other, "other\n").expect("a file of the test");
    fs::rename(&other, &file).expect("a file of the test");
    watch.end(Signal::TERM);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "other\n");
}

#[test]
fn metrics_file_is_never_a_device_or_a_link() {
    let test_cgroup = test_cgroup!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let link = files.path().join("link.prom");
    symlink("/etc/passwd", &link).expect("a link of the test");
    let link = link.to_str().expect("a UTF-8 path");
    let name = test_cgroup.name();
    for (file, expected) in [
        (
            "/dev/null",
            "cannot write metrics to '/dev/null': it is not a regular file\nhint: ",
        ),
        (link, "it is not a regular file\nhint: "),
        ("/", "cannot write metrics to '/': it names no file\nhint: "),
        (
            "/nowhere/keepalive.prom",
            "cannot write metrics to '/nowhere/keepalive.prom': its directory: No such file or directory\nhint: ",
        ),
    ] {
        let output = test_cgroup.output(&["cgroup", "enable", "--watch", &name, "--metrics-file", file]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let output = test_cgroup.output(&["cgroup", "enable", &name, "--metrics-file", "/tmp/keepalive.prom"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// Returns what node_exporter exports from the files of this directory.
fn exported(directory: &Path) -> String {
    // Another program could take the port in between; then node_exporter ends, and another port is tried.
    eventually("an answer of node_exporter", LIMIT, || {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .expect("a port")
            .local_addr()
            .ok()?
            .port();
        let mut command = Command::new("prometheus-node-exporter");
        command
            .args(["--collector.disable-defaults", "--collector.textfile"])
            .arg(format!("--collector.textfile.directory={}", directory.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut exporter = Running::start(command.stderr(Stdio::null()));
        let mut stream = eventually("its listener", LIMIT, || {
            if exporter.has_ended() {
                return Some(None);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(Some)
        })?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// Its textfile collector reads an older format, and refuses types that it does not know.
#[test]
fn node_exporter_reads_the_metrics_file() {
    let test_cgroup = test_cgroup!();
    if find_program("prometheus-node-exporter").is_none() {
        skip!("prometheus-node-exporter is not installed");
    }
    let files = tempfile::tempdir().expect("a temporary directory");
    let [config, file] = ["some.conf", "keepalive.prom"].map(|name| files.path().join(name));
    fs::write(&config, "default idle=31s\nconnect 10.0.0.0/8 idle=32s\n").expect("a file of the test");
    let mut watch = watch(&test_cgroup, &config, &file);
    let written = wait_for(&file, "keepalive_cgroup_connections_total");
    let exported = exported(files.path());
    assert!(exported.contains("\nnode_textfile_scrape_error 0\n"), "{exported}");
    for line in written.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a sample");
        assert!(
            exported.contains(&format!("\n{series} ")),
            "{series} is not in {exported}"
        );
    }
    watch.end(Signal::TERM);
}
