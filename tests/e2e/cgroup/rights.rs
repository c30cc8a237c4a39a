//! Permissions, and messages to users without them.

use super::{POLICY, both_ends, pair_with};
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::POLICY_VALUES;
use crate::support::test_cgroup::TestCgroup;
use serde_json::json;
use std::process::Output;

const HINT: &str = "hint: run it as root, or with these capabilities; without root: keepalive run, --engine seccomp\n";

/// Runs the command as root without these capabilities.
fn without(test_cgroup: &TestCgroup, capabilities: &str, args: &[&str]) -> Output {
    let bounding_set = format!("--bounding-set={capabilities}");
    output_within(LIMIT, &mut test_cgroup.command_under(&["setpriv", &bounding_set], args))
}

/// Runs the command as nobody.
fn as_nobody(test_cgroup: &TestCgroup, args: &[&str]) -> Output {
    let installed = Installed::new();
    let mut command = test_cgroup.inside("env");
    command.args(NOBODY).arg(installed.keepalive()).args(args);
    output_within(LIMIT, command.env("KEEPALIVE_CONFIG", installed.no_config()))
}

#[track_caller]
fn assert_lacks(output: &Output, name: &str, capabilities: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: it requires root; this process lacks {capabilities}\n{HINT}"
        )
    );
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn missing_capabilities_of_an_ordinary_user_are_named() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    let output = as_nobody(&test_cgroup, &["cgroup", "enable", &name]);
    assert_lacks(&output, &name, "CAP_BPF and CAP_NET_ADMIN");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// systemd and keepalive mount the file system with this mode.
#[test]
fn missing_capabilities_are_named_if_the_file_system_is_readable_by_root_only() {
    root!();
    let test_cgroup = match TestCgroup::prepared("mount -t bpf bpf /sys/fs/bpf -o mode=700") {
        Ok(test_cgroup) => test_cgroup,
        Err(why) => skip!("{why}"),
    };
    let name = test_cgroup.name();
    let output = as_nobody(&test_cgroup, &["cgroup", "enable", &name]);
    assert_lacks(&output, &name, "CAP_BPF and CAP_NET_ADMIN");
}

#[test]
fn status_names_missing_capabilities() {
    let test_cgroup = test_cgroup!();
    let output = as_nobody(&test_cgroup, &["cgroup", "status"]);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(all.contains("CAP_BPF and CAP_NET_ADMIN"), "{output:?}");
}

#[test]
fn unreadable_policies_are_not_reported_as_missing() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let name = test_cgroup.name();
    for output in [
        as_nobody(&test_cgroup, &["cgroup", "disable", &name]),
        as_nobody(&test_cgroup, &["cgroup", "status", &name]),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("keepalive: cannot "), "{error}");
        assert!(!error.contains("has no policy"), "{error}");
    }
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}

#[test]
fn missing_capabilities_of_root_are_named() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    for (dropped, named) in [
        ("-sys_admin,-bpf", "CAP_BPF"),
        ("-sys_admin,-net_admin", "CAP_NET_ADMIN"),
        ("-sys_admin,-bpf,-net_admin", "CAP_BPF and CAP_NET_ADMIN"),
    ] {
        let output = without(&test_cgroup, dropped, &["cgroup", "enable", &name]);
        assert_lacks(&output, &name, named);
        let output = without(&test_cgroup, dropped, &["cgroup", "status"]);
        let expected = format!("engine cgroup: it requires root; this process lacks {named}\n");
        assert_eq!(text(&output.stdout), expected, "{output:?}");
    }
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// The files in the BPF file system belong to root.
#[test]
fn root_can_see_and_disable_a_policy_without_capabilities() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    for dropped in ["-sys_admin,-bpf", "-sys_admin,-net_admin"] {
        test_cgroup.enable(&POLICY);
        let output = without(&test_cgroup, dropped, &["cgroup", "status", &name]);
        assert!(
            text(&output.stdout).contains(&format!("{name}: active\n")),
            "{output:?}"
        );
        let output = without(&test_cgroup, dropped, &["cgroup", "disable", &name]);
        assert_eq!(text(&output.stdout), format!("{name}: disabled\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(0));
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}

#[test]
fn two_capabilities_suffice() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let all_but_two = "-all,+bpf,+net_admin";
    let output = without(
        &test_cgroup,
        all_but_two,
        &["cgroup", "enable", &name, "--idle=61", "--mode=enforce"],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let mut program = pair_with(&test_cgroup, "idle=99");
    assert_eq!(program.has("client"), "1 61 75 9 0");
    program.execute("own(accepted, idle=99)");
    assert_eq!(program.has("accepted"), "1 61 75 9 0");
    let output = without(&test_cgroup, all_but_two, &["cgroup", "disable", &name]);
    assert_eq!(text(&output.stdout), format!("{name}: disabled\n"), "{output:?}");
}

/// Reading fields of the kernel's structures requires CAP_PERFMON.
#[test]
fn without_cap_perfmon_values_are_compared_with_the_sysctls() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let dropped = "-sys_admin,-perfmon";
    let output = without(
        &test_cgroup,
        dropped,
        &[&["cgroup", "enable", &name], &POLICY[..]].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    super::assert_compares(&test_cgroup);

    let rule = "--rule=program x off";
    let output = without(&test_cgroup, dropped, &["cgroup", "enable", &name, rule]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("CAP_PERFMON"), "{output:?}");
    // The previous policy stays active.
    assert_eq!(test_cgroup.status()["rules"], json!([]));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}
