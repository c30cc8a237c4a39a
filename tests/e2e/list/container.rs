//! Processes in the cgroup of a container: `list`, `attach` and `doctor --pid` show its id.

use super::CONNECTION;
use crate::support::process::text;
use crate::support::py_peer::PyPeer;
use crate::support::test_cgroup::TestCgroup;
use serde_json::Value;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SHORT: &str = "0123456789ab";

/// Starts a program in a cgroup, named and arranged as Docker does.
fn contained(test_cgroup: &TestCgroup) -> PyPeer {
    let directory = test_cgroup.child(&format!("docker-{ID}.scope"));
    let mut program = test_cgroup.py_peer_in(&directory, &[]);
    program.execute(CONNECTION);
    program
}

/// Returns the output on one line.
fn unfolded(output: &[u8]) -> String {
    text(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn container_is_shown_in_json_and_in_a_column_of_its_own() {
    let test_cgroup = test_cgroup!();
    python!();
    let program = contained(&test_cgroup);
    let mut other = test_cgroup.py_peer();
    other.execute(CONNECTION);
    let [inside, outside] = [program.pid(), other.pid()].map(|pid| pid.to_string());
    let listed = test_cgroup.quiet(&["list", "--json", &inside, &outside]);
    let entries: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(entries.len(), 6, "{listed}");
    for entry in &entries {
        let is_inside = entry["pid"] == program.pid();
        let expected = if is_inside { Value::from(ID) } else { Value::Null };
        assert_eq!(entry["container"], expected, "{entry}");
    }
    let table = test_cgroup.quiet(&["list", &inside, &outside]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].ends_with("  CONTAINER"), "{table}");
    for line in &lines[1..] {
        let is_inside = line.trim_start().starts_with(&format!("{inside}/"));
        let expected = if is_inside {
            format!("  {SHORT}")
        } else {
            String::from("  -")
        };
        assert!(line.ends_with(&expected), "{table}");
    }
    // Without containers the table is as before.
    let table = test_cgroup.quiet(&["list", &outside]);
    assert!(!table.contains("CONTAINER"), "{table}");
}

#[test]
fn attach_names_the_container() {
    let test_cgroup = test_cgroup!();
    python!();
    let program = contained(&test_cgroup);
    let pid = program.pid().to_string();
    let output = test_cgroup.output(&["attach", "--dry-run", &pid]);
    let printed = text(&output.stdout);
    assert_eq!(
        printed.matches(&format!(" in container {SHORT}:")).count(),
        3,
        "{printed}"
    );
    let output = test_cgroup.output(&["attach", "--dry-run", "--json", &pid]);
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        entries.len() == 3 && entries.iter().all(|entry| entry["container"] == ID),
        "{entries:?}"
    );
}

#[test]
fn doctor_reports_whether_the_process_is_in_a_container() {
    let test_cgroup = test_cgroup!();
    python!();
    let program = contained(&test_cgroup);
    let pid = program.pid().to_string();
    let doctor = |wrapper: &[&str]| {
        let mut command = test_cgroup.command_under(wrapper, &["doctor", "--pid", &pid]);
        unfolded(&command.output().expect("it starts").stdout)
    };
    // A process in the mount namespace of the command is no other container than the command's own.
    assert!(!doctor(&[]).contains("container: the process"), "{}", doctor(&[]));
    let found = doctor(&["unshare", "--mount"]);
    let expected =
        format!("container: the process is in one: docker {SHORT} -> on the host, 'keepalive cgroup enable' with");
    assert!(found.contains(&expected), "{found}");
    let other = test_cgroup.py_peer();
    let pid = other.pid().to_string();
    let mut command = test_cgroup.command_under(&["unshare", "--mount"], &["doctor", "--pid", &pid]);
    let found = unfolded(&command.output().expect("it starts").stdout);
    assert!(
        found.contains("container: the process is in none that its cgroup and mounts show"),
        "{found}"
    );
}
