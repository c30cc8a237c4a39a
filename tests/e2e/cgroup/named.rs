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
    let test_cgroup = test_cgroup!();
    for name in ["/keepalive-test-nowhere", "keepalive-test-nowhere/child.service"] {
        assert_refused(
            &test_cgroup.output(&["cgroup", "enable", name]),
            &format!(
                "keepalive: there is no cgroup '{name}'\n\
                 hint: the path is below the mount of cgroup v2, as /proc/PID/cgroup shows it after 0::\n"
            ),
        );
    }
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn a_unit_is_found_by_its_name_wherever_it_is() {
    let test_cgroup = test_cgroup!();
    test_cgroup.child("system.slice");
    let unit = format!("keepalive-test-{}.service", std::process::id());
    let child = test_cgroup.child(&format!("system.slice/{unit}"));
    let name = test_cgroup.name_of(&child);
    assert_eq!(test_cgroup.enable_for(&unit, &POLICY), format!("{name}: active\n"));
    let printed = test_cgroup.quiet(&["cgroup", "status", &unit]);
    assert!(printed.starts_with(&format!("{name}: active\n")), "{printed}");
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", &unit]),
        format!("{name}: disabled\n")
    );
}

#[test]
fn a_unit_of_two_managers_is_refused_and_both_are_named() {
    let test_cgroup = test_cgroup!();
    let unit = format!("keepalive-test-two-{}.service", std::process::id());
    let mut names = ["one.slice", "two.slice"].map(|slice| {
        test_cgroup.child(slice);
        test_cgroup.name_of(&test_cgroup.child(&format!("{slice}/{unit}")))
    });
    let output = test_cgroup.output(&["cgroup", "enable", &unit]);
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
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    assert_eq!(
        test_cgroup.enable_for(&names[1], &POLICY),
        format!("{}: active\n", names[1])
    );
}

#[test]
fn a_unit_that_does_not_run_is_told() {
    let test_cgroup = test_cgroup!();
    assert_refused(
        &test_cgroup.output(&["cgroup", "enable", "keepalive-test-none.service"]),
        "keepalive: there is no cgroup 'keepalive-test-none.service'\n\
         hint: a unit has a cgroup only while it runs; 'systemctl status UNIT' shows which\n",
    );
}

/// All or nothing: nothing was enabled when one of the names turns out to be wrong.
#[test]
fn one_wrong_name_among_several_leaves_the_others_alone() {
    let test_cgroup = test_cgroup!();
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "/keepalive-test-nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn no_path_leads_out_of_the_tree() {
    let test_cgroup = test_cgroup!();
    let output = test_cgroup.output(&["cgroup", "enable", "../../../tmp"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let begin = "keepalive: there is no cgroup '../../../tmp'\n";
    assert!(text(&output.stderr).starts_with(begin), "{output:?}");
}

#[test]
fn names_with_odd_letters_are_shown_without_harm() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("with space\u{1b}[31m\\x2d-ä");
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable_for(&name, &POLICY);
    let printed = test_cgroup.quiet(&["cgroup", "status", &name]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    let report = test_cgroup.report();
    assert_eq!(report["cgroups"][0]["cgroup"], name.as_str());
    let printed = test_cgroup.quiet(&["cgroup", "disable", &name]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
}
