//! Nested cgroups, network namespaces, and sockets that are older than the policy or the process's move to its cgroup.

use super::{POLICY, pair_with};
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};

#[test]
fn cgroups_below_have_the_policy_at_any_depth_and_time() {
    let test_cgroup = test_cgroup!();
    python!();
    let early = test_cgroup.child("early");
    test_cgroup.enable(&POLICY);
    test_cgroup.child("early/deep");
    let late = test_cgroup.child("early/deep/late");
    for directory in [early, late] {
        let mut program = test_cgroup.py_peer_in(&directory, &[]);
        program.execute("client, accepted = pair(listen())");
        assert_eq!(program.has("client"), POLICY_VALUES, "{}", directory.display());
        assert_eq!(program.has("accepted"), POLICY_VALUES, "{}", directory.display());
    }
    assert_eq!(test_cgroup.status()["default_connections"], 4);
}

#[test]
fn only_the_nearest_policy_applies() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    // In either order of enabling.
    for is_child_first in [true, false] {
        let near = || test_cgroup.enable_for(&test_cgroup.name_of(&child), &["--idle=31", "--rule=accept * off"]);
        let far = || test_cgroup.enable(&[&POLICY[..], &["--mode=enforce"]].concat());
        if is_child_first {
            near();
            far();
        } else {
            far();
            near();
        }
        let mut program = test_cgroup.py_peer_in(&child, &[]);
        program.execute("client, accepted = pair(listen())");
        assert_eq!(program.has("client"), "1 31 75 9 0");
        assert_eq!(program.has("accepted"), KERNEL_DEFAULTS);
        // The farther policy does not affect later calls either.
        program.execute("own(client, keepalive=0, idle=99); own(accepted, count=8)");
        assert_eq!(program.has("client"), "0 99 75 9 0");
        assert_eq!(program.has("accepted"), "0 7200 75 8 0");
        let mut program = pair_with(&test_cgroup, "");
        assert_eq!(program.has("client"), POLICY_VALUES);
        let report = test_cgroup.report();
        assert_eq!(report["cgroups"][0]["default_connections"], 2, "{report}");
        test_cgroup.quiet(&["cgroup", "disable", &test_cgroup.name(), &test_cgroup.name_of(&child)]);
    }
}

#[test]
fn only_the_nearest_of_three_nested_policies_applies() {
    let test_cgroup = test_cgroup!();
    python!();
    let middle = test_cgroup.child("middle");
    test_cgroup.child("middle/plain");
    let deep = test_cgroup.child("middle/plain/deep");
    test_cgroup.enable(&["--idle=31", "--mode=enforce"]);
    test_cgroup.enable_for(&test_cgroup.name_of(&middle), &["--interval=32", "--mode=cap"]);
    test_cgroup.enable_for(&test_cgroup.name_of(&deep), &["--count=3", "--mode=floor"]);
    for (directory, expected) in [
        (test_cgroup.directory(), "1 31 75 9 0"),
        (&middle, "1 7200 32 9 0"),
        (&middle.join("plain"), "1 7200 32 9 0"),
        (&deep, "1 7200 75 3 0"),
    ] {
        let mut program = test_cgroup.py_peer_in(directory, &[]);
        program.execute("client, accepted = pair(listen())");
        assert_eq!(program.has("client"), expected, "{}", directory.display());
        assert_eq!(program.has("accepted"), expected, "{}", directory.display());
    }
    // Each policy applies its mode to its own connections.
    let mut program = test_cgroup.py_peer_in(&deep, &[]);
    program.execute("client, accepted = pair(listen()); own(client, idle=99, interval=98, count=2)");
    assert_eq!(program.has("client"), "1 99 98 3 0");
}

#[test]
fn status_names_the_cgroups_with_a_nearer_policy() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.name_of(&test_cgroup.child("child"));
    test_cgroup.child("other");
    test_cgroup.enable(&POLICY);
    test_cgroup.enable_for(&child, &["--idle=31"]);
    assert_eq!(test_cgroup.status()["shadowed"], serde_json::json!([child]));
    let printed = test_cgroup.quiet(&["cgroup", "status", &test_cgroup.name()]);
    let expected = format!("  in {child} a policy counts that is nearer\n");
    assert!(printed.ends_with(&expected), "{printed}");
    let printed = test_cgroup.quiet(&["cgroup", "status", &child]);
    let expected = format!("{child}: active\n  0  default idle=31s\n  policy ");
    assert!(
        printed.starts_with(&expected) && printed.lines().count() == 3,
        "{printed}"
    );
}

#[test]
fn policy_above_applies_again_when_the_nearer_one_is_disabled() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &["--idle=31"]);
    test_cgroup.enable(&POLICY);
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("listener = listen(); one, two = pair(listener)");
    assert_eq!(program.has("one"), "1 31 75 9 0");
    test_cgroup.quiet(&["cgroup", "disable", &test_cgroup.name_of(&child)]);
    program.execute("three, four = pair(listener)");
    assert_eq!(program.has("three"), POLICY_VALUES);
    assert_eq!(program.has("one"), "1 31 75 9 0");
}

#[test]
fn policy_applies_in_other_network_namespaces() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let prepare = "ip link set lo up && exec \"$@\"";
    let mut program = test_cgroup.py_peer_in(
        test_cgroup.directory(),
        &["unshare", "--net", "sh", "-c", prepare, "sh"],
    );
    program.execute("client, accepted = pair(listen()); own(client, count=8)");
    assert_eq!(program.has("client"), "1 61 13 8 0");
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    // Values of the program's sysctls count as unset, although the policy was enabled in another namespace.
    program.sysctl("tcp_keepalive_time", 600);
    program.sysctl("tcp_keepalive_intvl", 5);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), POLICY_VALUES);
}

#[test]
fn connections_of_listeners_older_than_the_policy_have_it() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer();
    program.execute("listener = listen(); six = listen('::', family=socket.AF_INET6)");
    test_cgroup.enable(&POLICY);
    program.execute("one, two = pair(listener); three, four = pair(six, '::1', socket.AF_INET6)");
    for end in ["two", "four"] {
        assert_eq!(program.has(end), POLICY_VALUES, "{end}");
    }
    // A connection that was complete but not yet accepted when the policy was enabled is unchanged.
    test_cgroup.disable();
    program.execute("early = socket.create_connection(listener.getsockname())");
    test_cgroup.enable(&POLICY);
    program.execute("accepted = listener.accept()[0]");
    assert_eq!(program.has("accepted"), KERNEL_DEFAULTS);
}

#[test]
fn options_set_by_the_program_at_any_time_stay() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[&POLICY[..], &["--user-timeout=9s"]].concat());
    let mut program = test_cgroup.py_peer();
    program.execute(
        "listener = own(listen(), keepalive=1, idle=31)
client, accepted = pair(listener, keepalive=1, interval=5, user_timeout=7000)
late, end = pair(listen())
own(late, keepalive=0, count=3)",
    );
    assert_eq!(program.has("client"), "1 61 5 4 7000");
    assert_eq!(program.has("accepted"), "1 31 13 4 9000");
    assert_eq!(program.has("late"), "0 61 13 3 9000");
}

/// A value that equals the kernel's default counts as set if the program has set it: the kernel's socket fields show
/// this.
#[test]
fn options_set_by_the_program_to_the_kernel_default_stay() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut program = pair_with(&test_cgroup, "idle=7200, interval=75, count=9");
    assert_eq!(program.has("client"), "1 7200 75 9 0");
    assert_eq!(program.has("accepted"), POLICY_VALUES);
}

#[test]
fn socket_belongs_to_the_cgroup_in_which_it_was_created() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let other = test_cgroup.child("other");
    test_cgroup.enable_for(&test_cgroup.name_of(&other), &["--idle=31"]);
    let mut program = PyPeer::start();
    program.execute("listener = listen(); early = socket.socket()");
    test_cgroup.move_to(test_cgroup.directory(), program.pid());
    program.execute(
        "early.connect(listener.getsockname()); of_outside = listener.accept()[0]
client, accepted = pair(listen())
inside = listen(); unconnected = socket.socket()",
    );
    assert_eq!(program.has("early"), KERNEL_DEFAULTS);
    assert_eq!(program.has("of_outside"), KERNEL_DEFAULTS);
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    // After another move, sockets stay in the cgroup in which they were created.
    test_cgroup.move_to(&other, program.pid());
    program.execute("unconnected.connect(inside.getsockname()); end = inside.accept()[0]; own_now, _ = pair(listen())");
    assert_eq!(program.has("unconnected"), POLICY_VALUES);
    assert_eq!(program.has("end"), POLICY_VALUES);
    assert_eq!(program.has("own_now"), "1 31 75 9 0");
}
