//! Cgroup namespaces, as containers have them.

use super::POLICY;
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::POLICY_VALUES;
use keepalive_sys::cgroup::Tree;
use std::fs;

/// A command prefix: in a cgroup namespace, with the tree mounted as seen from there.
fn contained() -> Vec<String> {
    let tree = Tree::find().expect("test_cgroup!() has found it");
    let mount = tree.mount().display();
    let script = format!("umount -l {mount} && mount -t cgroup2 none {mount} && exec \"$@\"");
    let words = ["unshare", "--cgroup", "--mount", "sh", "-c", &script, "sh"];
    words.map(String::from).to_vec()
}

#[test]
fn policy_of_a_cgroup_namespace_is_visible_and_can_be_disabled_outside() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut command = test_cgroup.enter("env");
    command
        .args(contained())
        .arg(keepalive())
        .args(["cgroup", "enable", "/"]);
    let output = output_within(LIMIT, command.args(POLICY));
    assert!(output.status.success(), "{output:?}");
    let mut program = test_cgroup.py_peer();
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);

    assert_eq!(test_cgroup.status()["state"], "in-force");
    let printed = test_cgroup.quiet(&["cgroup", "status", &name]);
    assert!(printed.starts_with(&format!("{name}: active\n")), "{printed}");
    assert_eq!(test_cgroup.disable(), format!("{name}: disabled\n"));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn outside_policy_is_visible_and_can_be_disabled_in_a_cgroup_namespace() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&POLICY);
    for (words, expected) in [
        (&["status"][..], "/: active\n"),
        (&["status", "/"], "/: active\n"),
        (&["disable", "/"], "/: disabled\n"),
    ] {
        let mut command = test_cgroup.enter("env");
        command.args(contained()).arg(keepalive()).arg("cgroup").args(words);
        let output = output_within(LIMIT, &mut command);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).starts_with(expected), "{output:?}");
    }
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn command_stays_in_its_cgroup_if_the_tree_is_of_another_namespace() {
    let test_cgroup = test_cgroup!();
    let mut command = test_cgroup.enter("unshare");
    command
        .arg("--cgroup")
        .arg(keepalive())
        .args(["run", "--engine", "cgroup"]);
    let mut program = LinePeer::start(command.args(["--", "sh", "-c", "echo begun; read _"]));
    if program.answer() == "begun" {
        let place = fs::read_to_string(format!("/proc/{}/cgroup", program.pid())).expect("it runs");
        let begin = format!("0::{}/keepalive-", test_cgroup.name());
        assert!(place.lines().any(|line| line.starts_with(&begin)), "{place}");
    } else {
        // The command may refuse instead.
        assert_eq!(program.wait_for_end().code(), Some(125));
    }
    program.finish();
    program.wait_for_end();
}

#[test]
fn command_in_a_cgroup_namespace_has_its_own_cgroup() {
    let test_cgroup = test_cgroup!();
    let mut command = test_cgroup.enter("env");
    command
        .args(contained())
        .arg(keepalive())
        .args(["run", "--engine", "cgroup"]);
    command.args(["--", "grep", "^0::", "/proc/self/cgroup"]);
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).starts_with("0::/keepalive-"), "{output:?}");
}
