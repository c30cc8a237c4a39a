//! Who may do it, and what those are told who may not.

use super::{POLICY, both_ends, pair_with};
use crate::support::arena::Arena;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::TREATED;
use serde_json::json;
use std::process::Output;

const HINT: &str = "hint: run it by root, or with these capabilities; without root: keepalive run, --engine seccomp\n";

/// What root does without these capabilities.
fn without(arena: &Arena, capabilities: &str, args: &[&str]) -> Output {
    let bounding_set = format!("--bounding-set={capabilities}");
    output_within(LIMIT, &mut arena.command_under(&["setpriv", &bounding_set], args))
}

/// What nobody does.
fn nobodys(arena: &Arena, args: &[&str]) -> Output {
    let installed = Installed::new();
    let mut command = arena.inside("env");
    command.args(NOBODY).arg(installed.keepalive()).args(args);
    output_within(LIMIT, command.env("KEEPALIVE_CONFIG", installed.no_config()))
}

#[track_caller]
fn assert_lacks(output: &Output, name: &str, capabilities: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: it takes root; this process lacks {capabilities}\n{HINT}"
        )
    );
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn an_ordinary_user_is_told_which_capabilities_it_takes() {
    let arena = arena!();
    let name = arena.name();
    let output = nobodys(&arena, &["cgroup", "enable", &name]);
    assert_lacks(&output, &name, "CAP_BPF and CAP_NET_ADMIN");
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

/// As systemd mounts it, and we.
#[test]
fn an_ordinary_user_is_told_so_where_the_file_system_is_roots() {
    root!();
    let arena = match Arena::prepared("mount -t bpf bpf /sys/fs/bpf -o mode=700") {
        Ok(arena) => arena,
        Err(why) => skip!("{why}"),
    };
    let name = arena.name();
    let output = nobodys(&arena, &["cgroup", "enable", &name]);
    assert_lacks(&output, &name, "CAP_BPF and CAP_NET_ADMIN");
}

#[test]
fn status_says_what_an_ordinary_user_lacks() {
    let arena = arena!();
    let output = nobodys(&arena, &["cgroup", "status"]);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(all.contains("CAP_BPF and CAP_NET_ADMIN"), "{output:?}");
}

#[test]
fn who_may_not_look_is_not_told_that_nothing_is_there() {
    let arena = arena!();
    python!();
    arena.enable(&POLICY);
    let name = arena.name();
    for output in [
        nobodys(&arena, &["cgroup", "disable", &name]),
        nobodys(&arena, &["cgroup", "status", &name]),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("keepalive: cannot "), "{error}");
        assert!(!error.contains("has no policy"), "{error}");
    }
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}

#[test]
fn root_without_a_capability_is_told_which() {
    let arena = arena!();
    let name = arena.name();
    for (dropped, named) in [
        ("-sys_admin,-bpf", "CAP_BPF"),
        ("-sys_admin,-net_admin", "CAP_NET_ADMIN"),
        ("-sys_admin,-bpf,-net_admin", "CAP_BPF and CAP_NET_ADMIN"),
    ] {
        let output = without(&arena, dropped, &["cgroup", "enable", &name]);
        assert_lacks(&output, &name, named);
        let output = without(&arena, dropped, &["cgroup", "status"]);
        let expected = format!("engine cgroup: it takes root; this process lacks {named}\n");
        assert_eq!(text(&output.stdout), expected, "{output:?}");
    }
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

/// Its files are root's.
#[test]
fn root_sees_and_ends_a_policy_without_the_capabilities_that_it_takes_to_begin_it() {
    let arena = arena!();
    let name = arena.name();
    for dropped in ["-sys_admin,-bpf", "-sys_admin,-net_admin"] {
        arena.enable(&POLICY);
        let output = without(&arena, dropped, &["cgroup", "status", &name]);
        assert!(
            text(&output.stdout).contains(&format!("{name}: in force\n")),
            "{output:?}"
        );
        let output = without(&arena, dropped, &["cgroup", "disable", &name]);
        assert_eq!(text(&output.stdout), format!("{name}: disabled\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(0));
        assert!(arena.pins().is_empty(), "{:?}", arena.pins());
    }
}

#[test]
fn two_capabilities_are_enough() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let all_but_two = "-all,+bpf,+net_admin";
    let output = without(
        &arena,
        all_but_two,
        &["cgroup", "enable", &name, "--idle=61", "--mode=enforce"],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let mut program = pair_with(&arena, "idle=99");
    assert_eq!(program.has("client"), "1 61 75 9 0");
    program.does("own(accepted, idle=99)");
    assert_eq!(program.has("accepted"), "1 61 75 9 0");
    let output = without(&arena, all_but_two, &["cgroup", "disable", &name]);
    assert_eq!(text(&output.stdout), format!("{name}: disabled\n"), "{output:?}");
}

/// The kernel's own fields are not to be read without CAP_PERFMON.
#[test]
fn without_the_right_to_read_fields_it_compares_with_the_sysctls() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let dropped = "-sys_admin,-perfmon";
    let output = without(&arena, dropped, &[&["cgroup", "enable", &name], &POLICY[..]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    super::assert_compares(&arena);

    let rule = "--rule=program x off";
    let output = without(&arena, dropped, &["cgroup", "enable", &name, rule]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("CAP_PERFMON"), "{output:?}");
    // The one from before is in force.
    assert_eq!(arena.status()["rules"], json!([]));
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}
