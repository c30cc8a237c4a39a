//! Every kind of TCP socket, in every place: IPv6 and mapped addresses, MPTCP, other network namespaces, descriptors
//! that only one thread has.

use super::{POLICY, attached, next_probe, pair_with, show};
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use keepalive_sys::pidfd::PidFd;
use serde_json::Value;
use std::time::Duration;

#[test]
fn ipv6_and_mapped_connections_are_set_and_matched_by_rules() {
    python!();
    let mut program = PyPeer::start();
    program.execute(
        "listener = listen('::', family=socket.AF_INET6); \
         client, accepted = pair(listener, '::1', socket.AF_INET6); \
         mapped, end = pair(listener, '::ffff:127.0.0.1', socket.AF_INET6); \
         plain, last = pair(listener, '127.0.0.1')",
    );
    attached(
        program.pid(),
        &[
            &POLICY[..],
            &[
                "--rule=connect 127.0.0.0/8 idle=31s",
                "--rule=connect ::1 idle=32s",
                "--rule=accept 127.0.0.0/8 idle=33s",
                "--rule=accept ::/0 idle=34s",
            ],
        ]
        .concat(),
    );
    for (name, idle) in [
        ("client", "32"),
        ("accepted", "34"),
        ("mapped", "31"),
        ("end", "33"),
        ("plain", "31"),
        ("last", "33"),
    ] {
        assert_eq!(program.has(name), format!("1 {idle} 75 9 0"), "{name}");
    }
    assert_eq!(program.has("listener"), POLICY_VALUES);
    for (one, other) in [("client", "accepted"), ("mapped", "end"), ("plain", "last")] {
        program.assert_talks(one, other);
    }
}

/// MPTCP sockets have no user timeout (`net/mptcp/sockopt.c`).
#[test]
fn every_option_that_mptcp_supports_is_set() {
    python!();
    let mut program = PyPeer::start();
    program
        .0
        .send_line("exec('listener = listen(protocol=MPTCP); client, accepted = pair(listener, protocol=MPTCP)')");
    let answer = program.0.answer();
    if answer != "None" {
        skip!("there is no MPTCP here: {answer}");
    }
    if program.has("client").contains('-') && program.has("client") != "0 7200 75 9 -" {
        skip!("this kernel has no keepalive times for MPTCP");
    }
    let printed = attached(program.pid(), &[&POLICY[..], &["--user-timeout=30s"]].concat());
    for name in ["client", "accepted", "listener"] {
        assert_eq!(program.has(name), "1 61 13 4 -", "{name}");
    }
    assert!(
        printed.contains("left: user-timeout, this kernel has it for TCP, not for MPTCP"),
        "{printed}"
    );
    let [client] = program.fds(["client"]);
    assert!(next_probe(program.pid(), client).is_some_and(|expires| expires <= Duration::from_secs(61)));
    program.assert_talks("client", "accepted");
    program.execute("late, end = pair(listener, protocol=MPTCP)");
    assert_eq!(program.has("end"), "1 61 13 4 -");
}

#[test]
fn sockets_of_another_network_are_compared_with_its_sysctls() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.sysctl("tcp_keepalive_time", 300);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    program.execute("own(client, idle=7200)");
    attached(program.pid(), &[&POLICY[..], &["--rule=accept * idle=32s"]].concat());
    assert_eq!(
        program.has("client"),
        "1 7200 13 4 0",
        "where the sysctl says 300, 7200 is its own"
    );
    assert_eq!(program.has("accepted"), "1 32 75 9 0");
    assert_eq!(program.has("listener"), "1 32 75 9 0");
    let [accepted] = program.fds(["accepted"]);
    assert!(next_probe(program.pid(), accepted).is_some_and(|expires| expires <= Duration::from_secs(32)));
    program.assert_talks("client", "accepted");
}

#[test]
fn timer_in_another_network_is_reported_after_the_change() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1)");
    let [client] = program.fds(["client"]);
    let printed = attached(program.pid(), &[&POLICY[..], &["--json"]].concat());
    let array: Value = serde_json::from_str(&printed).expect("JSON");
    let mut objects = array.as_array().expect("an array").iter();
    let object = objects.find(|object| object["fd"] == client).expect("an object");
    let expires = object["timer"]["expires_ms"].as_u64();
    assert!(expires.is_some_and(|expires| expires <= 61_000), "{object}");
}

/// A program can hold sockets of several network namespaces.
#[test]
fn sockets_of_two_networks_in_one_program_are_set() {
    root!();
    python!();
    let mut program = PyPeer::start();
    program.execute(
        "listener = listen(); client, accepted = pair(listener); \
         assert_unshared = ctypes.CDLL(None).unshare(0x40000000); os.system('ip link set lo up'); \
         other_listener = listen(); other, end = pair(other_listener)",
    );
    assert_eq!(program.ask("assert_unshared"), "0");
    attached(program.pid(), &[&POLICY[..], &["--rule=accept * idle=32s"]].concat());
    for (connected, accepted) in [("client", "accepted"), ("other", "end")] {
        assert_eq!(program.has(connected), POLICY_VALUES);
        assert_eq!(program.has(accepted), "1 32 75 9 0");
        program.assert_talks(connected, accepted);
    }
}

#[test]
fn descriptors_of_a_thread_are_found() {
    python!();
    let mut program = PyPeer::start();
    let answer = program.ask("thread_with_its_own_table()");
    let numbers: Vec<u32> = answer
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [tid, fds @ ..] = &numbers[..] else {
        panic!("{answer}")
    };
    let Ok(thread) = PidFd::open_thread(*tid) else {
        skip!("this kernel has no handles of threads (Linux 6.9)");
    };
    let of_thread = |fd: &u32| show(thread.duplicate(fd.cast_signed()).expect("its descriptor"));
    assert_eq!(fds.iter().map(of_thread).collect::<Vec<_>>(), [KERNEL_DEFAULTS; 2]);
    let printed = attached(program.pid(), &POLICY);
    assert_eq!(fds.iter().map(of_thread).collect::<Vec<_>>(), [POLICY_VALUES; 2]);
    assert!(printed.contains(&format!("thread {tid}) fd ")), "{printed}");
}

#[test]
fn half_closed_connection_is_set() {
    python!();
    let mut program = pair_with("");
    program.execute("other, end = pair(listener); other.shutdown(socket.SHUT_WR); end.recv(1)");
    // With a linger time of 0, close(2) resets the connection.
    program.execute("gone, last = pair(listener); last.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', 1, 0))");
    program.execute("last.close()");
    attached(program.pid(), &POLICY);
    for name in ["other", "end", "gone"] {
        assert_eq!(program.has(name), POLICY_VALUES, "{name}");
    }
    assert_eq!(program.ask("end.sendall(b'rest') or other.recv(4)"), "b'rest'");
}

/// UNIX sockets accept SO_KEEPALIVE, without effect.
#[test]
fn sockets_that_are_not_tcp_are_left_unchanged() {
    python!();
    let mut program = pair_with("");
    program.execute(
        "others = [*socket.socketpair(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), \
         socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), \
         socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)]",
    );
    attached(program.pid(), &POLICY);
    assert_eq!(
        program.ask("[end.getsockopt(SOL, 9) for end in others]"),
        "[0, 0, 0, 0, 0, 0]"
    );
    assert_eq!(program.has("client"), POLICY_VALUES);
}

/// Duplicated descriptors and those of a child refer to the same socket.
#[test]
fn socket_with_several_descriptors_is_set_and_reported_once() {
    python!();
    let mut program = pair_with("");
    program.execute("again = client.dup()");
    let printed = attached(program.pid(), &POLICY);
    assert_eq!(program.has("again"), POLICY_VALUES);
    assert_eq!(printed.matches("idle 7200s -> 61s").count(), 3, "{printed}");
}
