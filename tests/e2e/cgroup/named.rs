//! How cgroups are named, and what is said of names that are of no use.

use super::POLICY;
use crate::support::process::text;
use std::process::Output;

#[track_caller]
fn assert_refused(output: &Output, expected: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_cgroup_that_is_not_there_is_told_with_how_to_find_its_path() {
    let arena = arena!();
    for name in ["/keepalive-test-nowhere", "keepalive-test-nowhere/child.service"] {
        assert_refused(
            &arena.output(&["cgroup", "enable", name]),
            &format!(
                "keepalive: there is no cgroup '{name}'\n\
                 hint: the path is below the mount of cgroup v2, as /proc/PID/cgroup shows it after 0::\n"
            ),
        );
    }
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn a_unit_is_found_by_its_name_wherever_it_is() {
    let arena = arena!();
    arena.child("system.slice");
    let unit = format!("keepalive-test-{}.service", std::process::id());
    let child = arena.child(&format!("system.slice/{unit}"));
    let name = arena.name_of(&child);
    assert_eq!(arena.enable_for(&unit, &POLICY), format!("{name}: in force\n"));
    let printed = arena.quiet(&["cgroup", "status", &unit]);
    assert!(printed.starts_with(&format!("{name}: in force\n")), "{printed}");
    assert_eq!(
        arena.quiet(&["cgroup", "disable", &unit]),
        format!("{name}: disabled\n")
    );
}

#[test]
fn a_unit_of_two_managers_is_refused_and_both_are_named() {
    let arena = arena!();
    let unit = format!("keepalive-test-two-{}.service", std::process::id());
    let mut names = ["one.slice", "two.slice"].map(|slice| {
        arena.child(slice);
        arena.name_of(&arena.child(&format!("{slice}/{unit}")))
    });
    let output = arena.output(&["cgroup", "enable", &unit]);
    let found = text(&output.stderr);
    let (first, hint) = found.split_once('\n').expect("two lines");
    assert_eq!(first, format!("keepalive: there are 2 cgroups '{unit}'"));
    let listed = hint.trim_end().strip_prefix("hint: say which: ").expect(hint);
    let mut listed: Vec<&str> = listed.split(", ").collect();
    // In the order of the directories, which is nobody's.
    listed.sort_unstable();
    names.sort_unstable();
    assert_eq!(listed, names);
    assert_eq!(output.status.code(), Some(1));
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
    assert_eq!(
        arena.enable_for(&names[1], &POLICY),
        format!("{}: in force\n", names[1])
    );
}

#[test]
fn a_unit_that_does_not_run_is_told() {
    let arena = arena!();
    assert_refused(
        &arena.output(&["cgroup", "enable", "keepalive-test-none.service"]),
        "keepalive: there is no cgroup 'keepalive-test-none.service'\n\
         hint: a unit has a cgroup only while it runs; 'systemctl status UNIT' shows which\n",
    );
}

/// All or nothing: nothing was enabled when one of the names turns out to be wrong.
#[test]
fn one_wrong_name_among_several_leaves_the_others_alone() {
    let arena = arena!();
    let output = arena.output(&["cgroup", "enable", &arena.name(), "/keepalive-test-nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn no_path_leads_out_of_the_tree() {
    let arena = arena!();
    let output = arena.output(&["cgroup", "enable", "../../../tmp"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let begin = "keepalive: there is no cgroup '../../../tmp'\n";
    assert!(text(&output.stderr).starts_with(begin), "{output:?}");
}

#[test]
fn names_with_odd_letters_are_shown_without_harm() {
    let arena = arena!();
    let child = arena.child("with space\u{1b}[31m\\x2d-ä");
    let name = arena.name_of(&child);
    arena.enable_for(&name, &POLICY);
    let printed = arena.quiet(&["cgroup", "status", &name]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    let report = arena.report();
    assert_eq!(report["cgroups"][0]["cgroup"], name.as_str());
    let printed = arena.quiet(&["cgroup", "disable", &name]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
}
