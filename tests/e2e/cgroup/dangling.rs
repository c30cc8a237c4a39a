//! Cgroups that are removed while they have a policy.

use super::{POLICY, both_ends};
use crate::support::arena::{Arena, wait_until_freed};
use crate::support::process::{LIMIT, text, within};
use crate::support::target::{TREATED, UNTOUCHED};
use keepalive_sys::cgroup;
use std::fs;
use std::path::Path;

/// Removes a cgroup, and waits until the kernel has told the link: it does so a moment later.
#[track_caller]
fn remove(arena: &Arena, directory: &Path) {
    let programs = arena.programs(directory);
    cgroup::remove(directory).expect("it is empty");
    let name = arena.name_of(directory);
    let found = within(LIMIT, || {
        let report = arena.report();
        let cgroups = report["cgroups"].as_array()?;
        let ours = cgroups.iter().find(|cgroup| cgroup["cgroup"] == name.as_str())?;
        (ours["state"] == "dangling").then_some(())
    });
    assert!(found.is_some(), "{}", arena.report());
    // The pin holds it, whatever it is good for.
    assert!(!programs.is_empty());
}

#[test]
fn status_tells_that_a_cgroup_is_gone() {
    let arena = arena!();
    let child = arena.child("child");
    let name = arena.name_of(&child);
    arena.enable_for(&name, &POLICY);
    remove(&arena, &child);
    for words in [&["cgroup", "status"][..], &["cgroup", "status", &name]] {
        let output = arena.output(words);
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
fn what_is_left_of_a_cgroup_that_is_gone_is_disabled_by_its_path() {
    let arena = arena!();
    let child = arena.child("child");
    let name = arena.name_of(&child);
    arena.enable_for(&name, &["--idle=61", "--mode=enforce", "--rule=program nothing off"]);
    let programs = arena.programs(&child);
    remove(&arena, &child);
    assert_eq!(
        arena.quiet(&["cgroup", "disable", &name]),
        format!("{name}: disabled\n")
    );
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
    wait_until_freed(&programs);
}

#[test]
fn what_is_left_of_a_unit_that_has_ended_is_disabled_by_its_name() {
    let arena = arena!();
    let unit = "keepalive-test-gone.service";
    let child = arena.child(unit);
    let name = arena.name_of(&child);
    arena.enable_for(unit, &POLICY);
    remove(&arena, &child);
    let output = arena.output(&["cgroup", "status", unit]);
    assert!(
        text(&output.stdout).starts_with(&format!("{name}: dangling\n")),
        "{output:?}"
    );
    assert_eq!(arena.quiet(&["cgroup", "disable", unit]), format!("{name}: disabled\n"));
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn a_cgroup_that_was_made_again_takes_the_place_of_the_one_that_is_gone() {
    let arena = arena!();
    python!();
    let child = arena.child("child");
    let name = arena.name_of(&child);
    arena.enable_for(&name, &["--idle=31"]);
    let old = arena.programs(&child);
    remove(&arena, &child);
    fs::create_dir(&child).expect("it is gone");
    // Nobody has given the new one a policy.
    let mut program = arena.puppet_in(&child, &[]);
    program.does("listener = listen(); client, accepted = pair(listener)");
    assert_eq!(program.has("client"), UNTOUCHED);
    let output = arena.output(&["cgroup", "status", &name]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    assert_eq!(arena.enable_for(&name, &POLICY), format!("{name}: in force\n"));
    program.does("client, accepted = pair(listener)");
    assert_eq!(program.has("client"), TREATED);
    wait_until_freed(&old);
    let report = arena.report();
    assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
    arena.quiet(&["cgroup", "status", &name]);
}

#[test]
fn the_policies_of_others_do_not_go_with_what_is_removed() {
    let arena = arena!();
    python!();
    let child = arena.child("child");
    arena.enable(&POLICY);
    arena.enable_for(&arena.name_of(&child), &["--idle=31"]);
    remove(&arena, &child);
    assert_eq!(both_ends(&arena), [TREATED; 2]);
    arena.quiet(&["cgroup", "disable", &arena.name_of(&child)]);
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}
