//! Names of cgroups, and messages about invalid names.

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
fn missing_cgroup_is_reported_with_a_hint() {
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
fn unit_is_found_by_its_name_anywhere_in_the_tree() {
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
fn unit_name_of_two_managers_is_refused_and_both_are_listed() {
    let test_cgroup = test_cgroup!();
    let unit = format!("keepalive-test-two-{}.service", std::process::id());
    let mut names = ["one.slice", "two.slice"].map(|slice| {
        test_cgroup.child(slice);
        test_cgroup.name_of(&test_cgroup.child(&format!("{slice}/{unit}")))
    });
    names.sort_unstable();
    let assert_both_are_listed = |action| {
        let output = test_cgroup.output(&["cgroup", action, &unit]);
        let found = text(&output.stderr);
        let (first, hint) = found.split_once('\n').expect("two lines");
        assert_eq!(first, format!("keepalive: there are 2 cgroups '{unit}'"));
        let listed = hint.trim_end().strip_prefix("hint: say which: ").expect(hint);
        let mut listed: Vec<&str> = listed.split(", ").collect();
        // The list is in directory order, which is arbitrary.
        listed.sort_unstable();
        assert_eq!(listed, names);
        assert_eq!(output.status.code(), Some(1));
    };
    assert_both_are_listed("enable");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    assert_eq!(
        test_cgroup.enable_for(&names[1], &POLICY),
        format!("{}: active\n", names[1])
    );
    for action in ["status", "disable"] {
        assert_both_are_listed(action);
    }
    test_cgroup.quiet(&["cgroup", "status", &names[1]]);
}

/// A user can create a cgroup where its own was delegated to it.
#[test]
fn unit_of_root_takes_precedence_over_one_of_a_user() {
    let test_cgroup = test_cgroup!();
    let unit = format!("keepalive-test-owned-{}.service", std::process::id());
    let [own, foreign] = ["own", "foreign"].map(|above| {
        test_cgroup.child(above);
        test_cgroup.child(&format!("{above}/{unit}"))
    });
    std::os::unix::fs::chown(&foreign, Some(65534), None).expect("the test runs as root");
    let name = test_cgroup.name_of(&own);
    assert_eq!(test_cgroup.enable_for(&unit, &POLICY), format!("{name}: active\n"));
}

/// A variable of a script that is not set is not the whole machine.
#[test]
fn empty_path_is_refused() {
    let test_cgroup = test_cgroup!();
    for name in ["", "."] {
        for action in ["enable", "status", "disable"] {
            assert_refused(
                &test_cgroup.output(&["cgroup", action, name]),
                &format!("keepalive: there is no cgroup '{name}'\nhint: the path is empty; / is the whole machine\n"),
            );
        }
    }
}

#[test]
fn cgroup_that_is_named_twice_is_reported_once() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&POLICY);
    let name = test_cgroup.name();
    let relative = name.trim_start_matches('/');
    for words in [[&*name, relative], [&*name, &*name]] {
        let printed = test_cgroup.quiet(&[&["cgroup", "status", "--metrics"], &words[..]].concat());
        let series = printed
            .lines()
            .filter(|line| line.starts_with("keepalive_cgroup_policy_active{"));
        assert_eq!(series.count(), 1, "{printed}");
    }
}

#[test]
fn inactive_unit_is_reported() {
    let test_cgroup = test_cgroup!();
    assert_refused(
        &test_cgroup.output(&["cgroup", "enable", "keepalive-test-none.service"]),
        "keepalive: there is no cgroup 'keepalive-test-none.service'\n\
         hint: a unit has a cgroup only while it runs; 'systemctl status UNIT' shows which\n",
    );
}

/// Nothing is enabled if one of the names is wrong.
#[test]
fn one_wrong_name_prevents_all_changes() {
    let test_cgroup = test_cgroup!();
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "/keepalive-test-nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn paths_outside_of_the_tree_are_refused() {
    let test_cgroup = test_cgroup!();
    let output = test_cgroup.output(&["cgroup", "enable", "../../../tmp"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let begin = "keepalive: there is no cgroup '../../../tmp'\n";
    assert!(text(&output.stderr).starts_with(begin), "{output:?}");
}

#[test]
fn control_characters_in_names_are_escaped() {
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
