//! `enable --existing`: sockets that are already open.

mod reach;

use super::{POLICY, pair_with};
use crate::support::process::{LIMIT, eventually};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::TestCgroup;

/// A wrapper that creates a network namespace.
const IN_A_NETWORK: [&str; 6] = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];

/// Runs `enable --existing` with these flags. Returns the line about open sockets.
#[track_caller]
fn enable(test_cgroup: &TestCgroup, flags: &[&str]) -> String {
    let printed = test_cgroup.enable(&[&["--existing"], flags].concat());
    let line = printed.lines().last().expect("a line").to_owned();
    let begin = format!("{}: ", test_cgroup.name());
    line.strip_prefix(&begin)
        .unwrap_or_else(|| panic!("{printed}"))
        .to_owned()
}

#[test]
fn without_the_flag_open_sockets_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = pair_with(&test_cgroup, "");
    test_cgroup.enable(&POLICY);
    for end in ["client", "accepted", "listener"] {
        assert_eq!(program.has(end), KERNEL_DEFAULTS, "{end}");
    }
}

#[test]
fn open_connections_are_set_once() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = pair_with(&test_cgroup, "");
    program.execute("fresh = socket.socket()");
    let printed = test_cgroup.enable(&[&["--existing"], &POLICY[..]].concat());
    let name = test_cgroup.name();
    assert_eq!(
        printed,
        format!("{name}: active\n{name}: 2 of 2 open sockets changed\n")
    );
    for end in ["client", "accepted"] {
        assert_eq!(program.has(end), POLICY_VALUES, "{end}");
    }
    assert_eq!(program.has("listener"), KERNEL_DEFAULTS);
    program.assert_talks("client", "accepted");
    assert_eq!(enable(&test_cgroup, &POLICY), "0 of 2 open sockets changed");
    program.execute("late, end = pair(listener); unused = fresh.connect(listener.getsockname())");
    for end in ["late", "end", "fresh"] {
        assert_eq!(program.has(end), POLICY_VALUES, "{end}");
    }
}

#[test]
fn options_set_by_programs_stay() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = pair_with(&test_cgroup, "idle=31, user_timeout=7000");
    let line = enable(&test_cgroup, &[&POLICY[..], &["--user-timeout=9s"]].concat());
    assert_eq!(line, "2 of 2 open sockets changed");
    assert_eq!(program.has("client"), "1 31 13 4 7000");
    assert_eq!(program.has("accepted"), "1 61 13 4 9000");
}

#[test]
fn sockets_of_ipv6_and_of_mapped_addresses_are_set_by_the_same_rules() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer();
    program.execute(
        "INET6 = socket.AF_INET6
both = listen('::', family=INET6)
six, six_accepted = pair(both, '::1', INET6)
narrow, wide = pair(both)
mapped, mapped_accepted = pair(both, '::ffff:127.0.0.1', INET6)",
    );
    enable(
        &test_cgroup,
        &[
            "--rule=connect [::/0] idle=61s",
            "--rule=connect 127.0.0.0/8 idle=41s",
            "--rule=accept 127.0.0.1 idle=42s",
            "--idle=99",
        ],
    );
    for (end, idle) in [
        ("six", 61),
        ("six_accepted", 99),
        ("narrow", 41),
        ("wide", 42),
        ("mapped", 41),
        ("mapped_accepted", 42),
    ] {
        assert_eq!(program.has(end), format!("1 {idle} 75 9 0"), "{end}");
    }
}

/// What an open listener accepts has no values of an earlier policy, which the later one would take for the program's own.
#[test]
fn later_policies_and_rules_for_peers_apply_to_what_an_open_listener_accepts() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = pair_with(&test_cgroup, "");
    let port = program.number("listener.getsockname()[1]");
    let off = format!("--rule=accept 127.0.0.0/8:{port} off");
    for (flags, accepted) in [
        (&["--existing", "--idle=35", "--user-timeout=9s"][..], "1 35 75 9 9000"),
        (&["--idle=100"], "1 100 75 9 0"),
        (&["--existing", "--idle=36"], "1 36 75 9 0"),
        (&["--existing", "--idle=37", &off], KERNEL_DEFAULTS),
        (&["--rule=default off"], KERNEL_DEFAULTS),
    ] {
        test_cgroup.enable(flags);
        program.execute("late, end = pair(listener)");
        assert_eq!(program.has("end"), accepted, "{flags:?}");
    }
    test_cgroup.enable(&["--existing", "--idle=38"]);
    test_cgroup.disable();
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("end"), KERNEL_DEFAULTS);
}

/// Values that equal the sysctls of the socket's namespace count as unset.
#[test]
fn values_of_the_sysctls_of_a_namespace_count_as_unset() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer_in(test_cgroup.directory(), &IN_A_NETWORK);
    program.sysctl("tcp_keepalive_time", 600);
    program.execute("listener = listen(); client, accepted = pair(listener); own(accepted, idle=7200)");
    enable(&test_cgroup, &POLICY);
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), "1 7200 13 4 0");
}

#[test]
fn rules_match_direction_and_port() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = pair_with(&test_cgroup, "");
    let port = program.number("listener.getsockname()[1]");
    enable(
        &test_cgroup,
        &[
            &format!("--rule=connect 127.0.0.1:{port} idle=31s"),
            &format!("--rule=accept :{port} idle=32s"),
            "--idle=99",
        ],
    );
    assert_eq!(program.has("client"), "1 31 75 9 0");
    assert_eq!(program.has("accepted"), "1 32 75 9 0");
    let mut program = pair_with(&test_cgroup, "");
    enable(&test_cgroup, &["--rule=accept * off", "--rule=connect * idle=33s"]);
    assert_eq!(program.has("client"), "1 99 75 9 0");
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("late"), "1 33 75 9 0");
}

#[test]
fn rules_match_the_program() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ka-existing");
    std::os::unix::fs::symlink(crate::support::PYTHON, &path).expect("a link in a directory of the test");
    let path = path.to_str().expect("a UTF-8 path");
    // The interpreter under another name.
    let mut named = test_cgroup.py_peer_in(
        test_cgroup.directory(),
        &["sh", "-c", &format!("shift; exec {path} \"$@\""), "sh"],
    );
    let mut other = test_cgroup.py_peer();
    for program in [&mut named, &mut other] {
        program.execute("listener = listen(); client, accepted = pair(listener)");
    }
    enable(&test_cgroup, &["--rule=program ka-existing idle=31s", "--idle=99"]);
    for end in ["client", "accepted"] {
        assert_eq!(named.has(end), "1 31 75 9 0", "{end}");
        assert_eq!(other.has(end), "1 99 75 9 0", "{end}");
    }
}

#[test]
fn modes_apply_to_open_connections() {
    let test_cgroup = test_cgroup!();
    python!();
    for (mode, now, later) in [
        ("fill", "1 30 99 4 0", "0 29 98 3 0"),
        ("cap", "1 30 13 4 0", "1 29 13 3 0"),
        ("floor", "1 61 99 4 0", "0 61 98 4 0"),
        ("enforce", "1 61 13 4 0", "1 61 13 4 0"),
    ] {
        let test_cgroup = TestCgroup::new().expect("as the first");
        let mut program = pair_with(&test_cgroup, "idle=30, interval=99");
        enable(&test_cgroup, &[&POLICY[..], &["--mode", mode]].concat());
        assert_eq!(program.has("client"), now, "{mode}");
        program.execute("own(client, keepalive=0, idle=29, interval=98, count=3)");
        assert_eq!(program.has("client"), later, "{mode}");
        // The policy applies to connections that an open listener accepts later, and not to the listener.
        program.execute("own(listener, idle=29); late, end = pair(listener); own(end, idle=28)");
        let idle = match mode {
            "floor" | "enforce" => 61,
            _ => 28,
        };
        assert_eq!(program.has("end"), format!("1 {idle} 13 4 0"), "{mode}");
    }
    drop(test_cgroup);
}

#[test]
fn later_policy_with_another_mode_applies_to_open_connections() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[&POLICY[..], &["--mode=enforce"]].concat());
    let mut program = pair_with(&test_cgroup, "");
    // Without --existing, connections stay under the policy that was active when they were established.
    test_cgroup.enable(&["--idle=31", "--mode=enforce"]);
    program.execute("own(client, idle=99)");
    assert_eq!(program.has("client"), POLICY_VALUES);
    enable(&test_cgroup, &["--idle=31", "--mode=enforce"]);
    assert_eq!(program.has("client"), "1 31 13 4 0");
    program.execute("own(client, idle=99, interval=98)");
    assert_eq!(program.has("client"), "1 31 98 4 0");
    enable(&test_cgroup, &["--idle=31", "--mode=enforce", "--rule=connect * off"]);
    program.execute("own(client, idle=99); own(accepted, idle=99)");
    assert_eq!(program.has("client"), "1 99 98 4 0");
    assert_eq!(program.has("accepted"), "1 31 13 4 0");
}

#[test]
fn connecting_socket_gets_no_user_timeout() {
    let test_cgroup = test_cgroup!();
    python!();
    let prepare = "ip link set lo up && ip route add 192.0.2.0/24 dev lo && exec \"$@\"";
    let mut program = test_cgroup.py_peer_in(
        test_cgroup.directory(),
        &["unshare", "--net", "sh", "-c", prepare, "sh"],
    );
    program.execute("silent = socket.socket(); silent.setblocking(False); silent.connect_ex(('192.0.2.1', 80))");
    let [silent] = program.fds(["silent"]);
    let pid = program.pid();
    eventually("a SYN", LIMIT, || {
        (crate::support::table::row(pid, silent)?.state == 2).then_some(())
    });
    enable(&test_cgroup, &[&POLICY[..], &["--user-timeout=1s"]].concat());
    assert!(
        program.has("silent").ends_with(" 61 13 4 0"),
        "{}",
        program.has("silent")
    );
}
