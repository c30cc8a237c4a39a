//! Policies that cannot be used, or not all of them.

use super::{POLICY, both_ends};
use crate::support::process::text;
use crate::support::target::TREATED;
use std::fs;

#[test]
fn mistakes_in_a_file_are_told_by_line_and_column_and_change_nothing() {
    let arena = arena!();
    python!();
    arena.enable(&POLICY);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let path = path.to_str().expect("a path of ours");
    fs::write(path, "default idle=60s\nconnect 10.0.0.0/33 idle=5s\naccept * idel=5\n").expect("a file of ours");
    let output = arena.output(&["cgroup", "enable", &arena.name(), "--config", path]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = text(&output.stderr);
    for begin in [format!("{path}:2:9: "), format!("{path}:3:10: ")] {
        assert!(error.lines().any(|line| line.starts_with(&begin)), "{begin}: {error}");
    }
    assert_eq!(text(&output.stdout), "");
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let arena = arena!();
    for (words, expected) in [
        (&["--rule=connect foo"][..], "--rule:1:9: not an address"),
        (&["--idle=0"], "--idle"),
        (&["--mode=sometimes"], "--mode"),
        (&["--preset=nothing"], "--preset"),
        (&["--config=/nowhere.conf"], "cannot read '/nowhere.conf'"),
    ] {
        let output = arena.output(&[&["cgroup", "enable", &arena.name()], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(text(&output.stderr).contains(expected), "{words:?}: {output:?}");
    }
    let output = arena.output(&["cgroup", "enable"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = arena.output(&["cgroup"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn what_comes_too_late_to_be_set_is_told_and_the_rest_is_set() {
    let arena = arena!();
    python!();
    let rules = [
        "--rule=connect * idle=61s interval=13 count=4 syn-count=3",
        "--rule=accept * idle=61s interval=13 count=4",
    ];
    let output = arena.output(&[&["cgroup", "enable", &arena.name()], &rules[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let error = text(&output.stderr).replace("\n  ", " ");
    assert_eq!(
        error,
        "keepalive: not set by the cgroup engine, which comes after the handshake: syn-count\n"
    );
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}

#[test]
fn more_rules_than_a_program_holds_are_refused_with_a_hint() {
    let arena = arena!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let rules = (0..60_000).map(|number| {
        let [_, high, middle, low] = u32::to_be_bytes(number);
        format!("connect 10.{high}.{middle}.{low}:5432 idle=30s")
    });
    fs::write(&path, rules.collect::<Vec<_>>().join("\n")).expect("a file of ours");
    let path = path.to_str().expect("a path of ours");
    let output = arena.output(&["cgroup", "enable", &arena.name(), "--config", path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    assert!(
        error.contains("too many rules for one program of the kernel"),
        "{error}"
    );
    assert!(error.contains("\nhint: "), "{error}");
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}
