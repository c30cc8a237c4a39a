//! Which processes' sockets are set.

use super::{IN_A_NETWORK, enable};
use crate::cgroup::POLICY;
use crate::support::process::text;
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, TestCgroup};

#[test]
fn sockets_in_every_network_namespace_are_set() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let mut programs = [
        test_cgroup.py_peer(),
        test_cgroup.py_peer_in(test_cgroup.directory(), &IN_A_NETWORK),
        test_cgroup.py_peer_in(&child, &IN_A_NETWORK),
        test_cgroup.py_peer_in(&child, &[]),
    ];
    for program in &mut programs {
        program.execute("listener = listen(); client, accepted = pair(listener)");
    }
    assert_eq!(enable(&test_cgroup, &POLICY), "8 of 8 open sockets changed");
    for program in &mut programs {
        for end in ["client", "accepted"] {
            assert_eq!(program.has(end), POLICY_VALUES, "{end}");
        }
        assert_eq!(program.has("listener"), KERNEL_DEFAULTS);
    }
}

#[test]
fn sockets_of_other_cgroups_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer();
    program.execute("listener = listen()");
    let port = program.number("listener.getsockname()[1]");
    let mut other = PyPeer::start();
    other.execute(&format!(
        "listener = listen(); client = socket.create_connection(('127.0.0.1', {port}))"
    ));
    program.execute("accepted = listener.accept()[0]");
    assert_eq!(enable(&test_cgroup, &POLICY), "1 of 1 open sockets changed");
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    assert_eq!(other.has("client"), KERNEL_DEFAULTS);
    assert_eq!(other.has("listener"), KERNEL_DEFAULTS);
}

#[test]
fn sockets_created_before_the_process_joined_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    test_cgroup.move_to(test_cgroup.directory(), program.pid());
    program.execute("late, end = pair(listener)");
    // An accepted socket belongs to the cgroup of its listener.
    assert_eq!(enable(&test_cgroup, &POLICY), "1 of 1 open sockets changed");
    assert_eq!(program.has("late"), POLICY_VALUES);
    for end in ["client", "accepted", "listener"] {
        assert_eq!(program.has(end), KERNEL_DEFAULTS, "{end}");
    }
}

#[test]
fn sockets_of_cgroups_with_a_nearer_policy_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let deep = test_cgroup.child("child/deep");
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &["--idle=31"]);
    let mut near = test_cgroup.py_peer_in(&child, &[]);
    let mut deeper = test_cgroup.py_peer_in(&deep, &[]);
    let mut far = test_cgroup.py_peer();
    for program in [&mut near, &mut deeper, &mut far] {
        program.execute("listener = listen(); client, accepted = pair(listener)");
    }
    let line = enable(&test_cgroup, &[&POLICY[..], &["--mode=enforce"]].concat());
    for end in ["client", "accepted"] {
        assert_eq!(near.has(end), "1 31 75 9 0", "{end}");
        assert_eq!(deeper.has(end), "1 31 75 9 0", "{end}");
        assert_eq!(far.has(end), POLICY_VALUES, "{end}");
    }
    assert_eq!(near.has("listener"), KERNEL_DEFAULTS);
    assert_eq!(line, "2 of 2 open sockets changed");
    near.execute("own(client, idle=99)");
    assert_eq!(near.has("client"), "1 99 75 9 0");
}

#[test]
fn empty_cgroup_has_no_sockets_to_set() {
    let test_cgroup = test_cgroup!();
    assert_eq!(enable(&test_cgroup, &POLICY), "0 of 0 open sockets changed");
}

#[test]
fn a_thousand_sockets_are_set() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer();
    program.execute("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); listener = listen()");
    program.execute("for _ in range(1000): kept.append(pair(listener))");
    assert_eq!(enable(&test_cgroup, &POLICY), "2000 of 2000 open sockets changed");
    assert_eq!(
        program.ask("{tuple(end.getsockopt(*OPTIONS[name]) for name in OPTIONS) for ends in kept for end in ends}"),
        "{(1, 61, 13, 4, 0)}"
    );
}

/// Without BTF there are no iterators.
#[test]
fn without_iterators_sockets_are_set_through_descriptors() {
    root!();
    python!();
    let test_cgroup = match TestCgroup::prepared(&format!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /sys/kernel/btf")) {
        Ok(test_cgroup) => test_cgroup,
        Err(why) => skip!("{why}"),
    };
    let child = test_cgroup.child("child");
    let mut brought = PyPeer::start();
    brought.execute("listener = listen(); client, accepted = pair(listener)");
    test_cgroup.move_to(test_cgroup.directory(), brought.pid());
    let mut programs = [test_cgroup.py_peer(), test_cgroup.py_peer_in(&child, &IN_A_NETWORK)];
    for program in &mut programs {
        program.execute("listener = listen(); client, accepted = pair(listener, idle=30)");
    }
    let by_descriptor = "open sockets changed, through the processes' descriptors";
    let flags = [&POLICY[..], &["--mode=cap"]].concat();
    assert_eq!(enable(&test_cgroup, &flags), format!("4 of 4 {by_descriptor}"));
    for program in &mut programs {
        assert_eq!(program.has("client"), "1 30 13 4 0");
        assert_eq!(program.has("accepted"), POLICY_VALUES);
        assert_eq!(program.has("listener"), KERNEL_DEFAULTS);
        program.execute("own(client, idle=99, keepalive=0)");
        assert_eq!(program.has("client"), "1 61 13 4 0");
    }
    assert_eq!(brought.has("client"), KERNEL_DEFAULTS);
    assert_eq!(enable(&test_cgroup, &flags), format!("0 of 4 {by_descriptor}"));
}

#[test]
fn unreachable_sockets_are_reported_and_new_connections_are_set() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer_in(test_cgroup.directory(), &IN_A_NETWORK);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let name = test_cgroup.name();
    let words = [&["cgroup", "enable", "--existing", &name], &POLICY[..]].concat();
    // To enter network namespaces requires CAP_SYS_ADMIN.
    let wrapper = ["setpriv", "--bounding-set=-sys_admin"];
    let output = test_cgroup.command_under(&wrapper, &words).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    let begin = format!(
        "keepalive: cannot set all open sockets of {}: 1 network namespaces are out of reach: ",
        test_cgroup.name()
    );
    assert!(error.starts_with(&begin), "{error}");
    assert!(error.contains("new connections are set all the same"), "{error}");
    assert_eq!(program.has("client"), KERNEL_DEFAULTS);
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("late"), POLICY_VALUES);
}

/// As without the module tcp_diag, or in a sandbox.
#[test]
fn missing_sock_diag_is_named() {
    root!();
    python!();
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the numbers of system calls are those of x86_64");
    }
    let without_types = format!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /sys/kernel/btf");
    for prepare in [BPF_FILE_SYSTEM, &without_types] {
        let test_cgroup = match TestCgroup::prepared(prepare) {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        };
        let mut program = test_cgroup.py_peer();
        program.execute("listener = listen()");
        let name = test_cgroup.name();
        let words = [&["cgroup", "enable", "--existing", &name], &POLICY[..]].concat();
        let denied = compile(Libc::Host, "denied.c", &[]);
        // Makes socket(2) fail with EAFNOSUPPORT.
        let wrapper = [denied.to_str().expect("a UTF-8 path"), "41", "97"];
        let output = test_cgroup.command_under(&wrapper, &words).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let begin = format!(
            "keepalive: cannot set all open sockets of {name}: the kernel lists neither the sockets nor their cgroups: \
             sock_diag: Address family not supported by protocol\nhint: it requires the kernel's module tcp_diag"
        );
        let error = text(&output.stderr);
        assert!(error.starts_with(&begin), "{error}");
        program.execute("late, end = pair(listener)");
        assert_eq!(program.has("late"), POLICY_VALUES);
    }
}
