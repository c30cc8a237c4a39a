//! Foreign eBPF programs on the same cgroups (`targets/another.c` attaches them).

use super::{POLICY, both_ends, pair_with};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use crate::support::test_cgroup::TestCgroup;
use serde_json::json;
use std::path::Path;

/// Attaches a foreign program. The arguments are its hook, its attach mode, the cgroup, then its name and a file.
#[track_caller]
fn attach(test_cgroup: &TestCgroup, [hook, how]: [&str; 2], directory: &Path, rest: &[&str]) {
    let mut command = test_cgroup.inside(compile(Libc::Host, "another.c", &[]));
    command.args([hook, how]).arg(directory).args(rest);
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

fn is_missing() -> Option<String> {
    Libc::Host.missing()
}

/// Returns the name of the only program in a list such as `program 7 'other'`.
#[track_caller]
fn only_name(list: &serde_json::Value) -> String {
    let [program] = list.as_array().expect("a list").as_slice() else {
        panic!("{list}");
    };
    let words = program.as_str().expect("a name");
    let (_, name) = words.rsplit_once(' ').expect("two words at least");
    assert!(words.starts_with("program "), "{words}");
    name.to_owned()
}

#[test]
fn foreign_programs_run_with_the_policy_and_are_named() {
    let test_cgroup = test_cgroup!();
    python!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    attach(&test_cgroup, ["sockops", "multi"], test_cgroup.directory(), &["first"]);
    test_cgroup.enable(&POLICY);
    attach(&test_cgroup, ["sockops", "multi"], test_cgroup.directory(), &["second"]);
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    let status = test_cgroup.status();
    assert_eq!(only_name(&status["before"]), "'first'");
    assert_eq!(only_name(&status["after"]), "'second'");
    assert_eq!(status["shadowed"], json!([]));
    let printed = test_cgroup.quiet(&["cgroup", "status", &test_cgroup.name()]);
    for line in [" 'first' of others run", " 'second' of others run"] {
        assert!(printed.contains(line), "{printed}");
    }
    // A replaced policy keeps its place, although other programs were attached later.
    test_cgroup.enable(&["--idle=31"]);
    assert_eq!(only_name(&test_cgroup.status()["after"]), "'second'");
    test_cgroup.disable();
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
    assert_eq!(test_cgroup.programs(test_cgroup.directory()).len(), 2);
}

#[test]
fn foreign_programs_attached_by_links_run_with_the_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    let [first, second] = ["/sys/fs/bpf/one", "/sys/fs/bpf/two"];
    attach(
        &test_cgroup,
        ["sockops", "link"],
        test_cgroup.directory(),
        &["first", first],
    );
    test_cgroup.enable(&["--mode=enforce", "--idle=61"]);
    attach(
        &test_cgroup,
        ["sockops", "link"],
        test_cgroup.directory(),
        &["second", second],
    );
    attach(
        &test_cgroup,
        ["setsockopt", "multi"],
        test_cgroup.directory(),
        &["third"],
    );
    let mut program = pair_with(&test_cgroup, "idle=99");
    program.execute("own(accepted, idle=99)");
    assert_eq!(["client", "accepted"].map(|end| program.has(end)), ["1 61 75 9 0"; 2]);
    let status = test_cgroup.status();
    assert_eq!(only_name(&status["before"]), "'first'");
    assert_eq!(only_name(&status["after"]), "'second'");
}

#[test]
fn foreign_program_above_runs_after_the_policy() {
    let test_cgroup = test_cgroup!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    let child = test_cgroup.child("child");
    attach(&test_cgroup, ["sockops", "multi"], test_cgroup.directory(), &["above"]);
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &POLICY);
    let report = test_cgroup.report();
    assert_eq!(only_name(&report["cgroups"][0]["after"]), "'above'");
    assert_eq!(report["cgroups"][0]["before"], json!([]));
}

#[test]
fn policies_of_other_cgroups_are_not_listed_as_foreign() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("child");
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &POLICY);
    test_cgroup.enable(&POLICY);
    let report = test_cgroup.report();
    for cgroup in report["cgroups"].as_array().expect("a list") {
        assert_eq!(cgroup["before"], json!([]));
        assert_eq!(cgroup["after"], json!([]));
    }
}

/// With a program that excludes other programs, on the cgroup or above it.
#[test]
fn excluding_program_is_named_and_nothing_is_left() {
    let test_cgroup = test_cgroup!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    for (how, hook, place, flags) in [
        ("none", "sockops", "on", &POLICY[..]),
        ("override", "sockops", "on", &POLICY),
        ("none", "sockops", "above", &POLICY),
        ("none", "setsockopt", "on", &["--mode=enforce", "--idle=61"]),
        ("none", "setsockopt", "above", &["--mode=cap", "--idle=61"]),
    ] {
        let test_cgroup = TestCgroup::new().expect("as the first");
        let child = test_cgroup.child("child");
        let name = test_cgroup.name_of(&child);
        let directory = if place == "on" { &child } else { test_cgroup.directory() };
        attach(&test_cgroup, [hook, how], directory, &["excluder"]);
        let output = test_cgroup.output(&[&["cgroup", "enable", &name], flags].concat());
        assert_eq!(output.status.code(), Some(1), "{how} {hook} {place}");
        let error = text(&output.stderr);
        let begin = format!("keepalive: cannot enable a policy for {name}: program ");
        assert!(error.starts_with(&begin), "{how} {hook} {place}: {error}");
        let middle = format!(
            " 'excluder' on {} excludes other programs",
            test_cgroup.name_of(directory)
        );
        assert!(error.contains(&middle), "{how} {hook} {place}: {error}");
        assert!(error.contains("hint: "), "{error}");
        assert_eq!(text(&output.stdout), "");
        assert_eq!(test_cgroup.report()["cgroups"], json!([]), "{how} {hook} {place}");
        assert!(test_cgroup.pins().is_empty(), "{how} {hook} {place}");
    }
    // Without the excluding program the policy can be enabled.
    test_cgroup.enable_for(&name, &POLICY);
}

/// A program that was attached above with `override` is replaced in the cgroup.
#[test]
fn overridable_program_above_is_replaced() {
    let test_cgroup = test_cgroup!();
    python!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    let child = test_cgroup.child("child");
    attach(
        &test_cgroup,
        ["sockops", "override"],
        test_cgroup.directory(),
        &["yielding"],
    );
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &POLICY);
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);
}

#[test]
fn policy_stays_if_an_excluding_program_prevents_its_replacement() {
    let test_cgroup = test_cgroup!();
    python!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    test_cgroup.enable(&POLICY);
    attach(
        &test_cgroup,
        ["setsockopt", "none"],
        test_cgroup.directory(),
        &["excluder"],
    );
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "--mode=enforce", "--idle=31"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    let status = test_cgroup.status();
    assert_eq!(status["default"], "idle=61s interval=13s count=4");
    assert_eq!(status["default_connections"], 2);
    assert_eq!(status["clamps"], false);
}

/// A program cannot exclude programs of the cgroups above (`kernel/bpf/cgroup.c`, `compute_effective_progs`).
#[test]
fn program_below_does_not_disable_the_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    if let Some(why) = is_missing() {
        skip!("{why}");
    }
    for how in ["none", "override", "multi"] {
        for hook in ["sockops", "setsockopt"] {
            let child = test_cgroup.child(&format!("{hook}-{how}"));
            let deep = test_cgroup.child(&format!("{hook}-{how}/deep"));
            attach(&test_cgroup, [hook, how], &child, &["other"]);
            test_cgroup.enable(&["--mode=enforce", "--idle=61"]);
            for directory in [child, deep] {
                let mut program = test_cgroup.py_peer_in(&directory, &[]);
                program.execute("client, accepted = pair(listen(), idle=98); own(accepted, idle=99)");
                let ends = ["client", "accepted"].map(|end| program.has(end));
                assert_eq!(ends, ["1 61 75 9 0"; 2], "{hook} {how}");
            }
            test_cgroup.quiet(&["cgroup", "status", &test_cgroup.name()]);
        }
    }
}
