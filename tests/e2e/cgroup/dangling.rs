//! Cgroups that are removed while they have a policy.

use super::{POLICY, both_ends};
use crate::support::process::{LIMIT, text, within};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::{TestCgroup, wait_until_freed};
use keepalive_sys::cgroup;
use std::fs;
use std::path::Path;

/// Removes a cgroup, and waits until the kernel has detached the link, which it does asynchronously.
#[track_caller]
fn remove(test_cgroup: &TestCgroup, directory: &Path) {
    let programs = test_cgroup.programs(directory);
    cgroup::remove(directory).expect("it is empty");
    let name = test_cgroup.name_of(directory);
    let found = within(LIMIT, || {
        let report = test_cgroup.report();
        let cgroups = report["cgroups"].as_array()?;
        let dangling = cgroups.iter().find(|cgroup| cgroup["cgroup"] == name.as_str())?;
        (dangling["state"] == "dangling").then_some(())
    });
    assert!(found.is_some(), "{}", test_cgroup.report());
    // The pin still holds the program.
    assert!(!programs.is_empty());
}

#[test]
fn status_reports_a_removed_cgroup() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable_for(&name, &POLICY);
    remove(&test_cgroup, &child);
    for words in [&["cgroup", "status"][..], &["cgroup", "status", &name]] {
        let output = test_cgroup.output(words);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            text(&output.stdout).starts_with(&format!("{name}: dangling\n")),
            "{output:?}"
        );
        let error = text(&output.stderr);
        assert!(error.starts_with(&format!("keepalive: {name} is gone")), "{error}");
        assert!(
            error.contains(&format!("hint: keepalive cgroup enable or disable {name}")),
            "{error}"
        );
    }
}

#[test]
fn policy_of_a_removed_cgroup_is_disabled_by_its_path() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable_for(&name, &["--idle=61", "--mode=enforce", "--rule=program nothing off"]);
    let programs = test_cgroup.programs(&child);
    remove(&test_cgroup, &child);
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", &name]),
        format!("{name}: disabled\n")
    );
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    wait_until_freed(&programs);
}

#[test]
fn policy_of_an_ended_unit_is_disabled_by_its_name() {
    let test_cgroup = test_cgroup!();
    let unit = "keepalive-test-gone.service";
    let child = test_cgroup.child(unit);
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable_for(unit, &POLICY);
    remove(&test_cgroup, &child);
    let output = test_cgroup.output(&["cgroup", "status", unit]);
    assert!(
        text(&output.stdout).starts_with(&format!("{name}: dangling\n")),
        "{output:?}"
    );
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", unit]),
        format!("{name}: disabled\n")
    );
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn recreated_cgroup_replaces_the_removed_one() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable_for(&name, &["--idle=31"]);
    let old = test_cgroup.programs(&child);
    remove(&test_cgroup, &child);
    fs::create_dir(&child).expect("it is gone");
    // The new cgroup of the same name has no policy.
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    assert_eq!(program.has("client"), KERNEL_DEFAULTS);
    let output = test_cgroup.output(&["cgroup", "status", &name]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    assert!(
        error.starts_with(&format!("keepalive: {name} was made again, and its policy,")),
        "{error}"
    );
    assert_eq!(test_cgroup.report()["cgroups"][0]["made_again"], true);

    assert_eq!(test_cgroup.enable_for(&name, &POLICY), format!("{name}: active\n"));
    program.execute("client, accepted = pair(listener)");
    assert_eq!(program.has("client"), POLICY_VALUES);
    wait_until_freed(&old);
    let report = test_cgroup.report();
    assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
    test_cgroup.quiet(&["cgroup", "status", &name]);
}

/// The kernel keeps the program of a removed cgroup while a socket belongs to it.
#[test]
fn removed_cgroup_with_an_open_socket_is_reported_and_can_be_disabled() {
    let test_cgroup = test_cgroup!();
    python!();
    if !cgroup::Tree::find().is_ok_and(|tree| tree.is_whole()) {
        skip!("a part of the tree does not show whether a cgroup was removed");
    }
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    let removed_with_socket = || {
        test_cgroup.enable_for(&name, &POLICY);
        let mut program = test_cgroup.py_peer_in(&child, &[]);
        program.execute("client, accepted = pair(listen())");
        test_cgroup.move_to(test_cgroup.directory(), program.pid());
        remove(&test_cgroup, &child);
        assert_eq!(test_cgroup.report()["cgroups"][0]["state"], "dangling");
        program
    };
    let program = removed_with_socket();
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", &name]),
        format!("{name}: disabled\n")
    );
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    drop(program);
    fs::create_dir(&child).expect("it is gone");
    let program = removed_with_socket();
    fs::create_dir(&child).expect("it is gone");
    assert_eq!(test_cgroup.enable_for(&name, &POLICY), format!("{name}: active\n"));
    let report = test_cgroup.report();
    assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
    drop(program);
}

#[test]
fn policies_of_other_cgroups_stay() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    test_cgroup.enable(&POLICY);
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &["--idle=31"]);
    remove(&test_cgroup, &child);
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    test_cgroup.quiet(&["cgroup", "disable", &test_cgroup.name_of(&child)]);
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}
