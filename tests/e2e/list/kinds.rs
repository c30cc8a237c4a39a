//! Every kind of TCP socket.

use super::{assert_has, entries, shown};
use crate::support::process::{LIMIT, eventually};
use crate::support::py_peer::PyPeer;
use serde_json::{Value, json};

#[test]
fn listener_has_no_peer_and_no_timer() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = own(listen(), keepalive=1, idle=61)");
    let port = program.number("listener.getsockname()[1]");
    let entry = program.entry("listener");
    assert_has(
        &entry,
        &json!({
            "state": "listen", "local": format!("127.0.0.1:{port}"), "peer": null, "timer": null,
            "keepalive": true, "idle_s": 61,
        }),
    );
    let own_view = program.own_view("listener");
    assert_has(&entry, &own_view);
}

#[test]
fn ipv6_addresses_are_in_brackets() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen('::', family=socket.AF_INET6)");
    let port = program.number("listener.getsockname()[1]");
    assert_has(
        &program.entry("listener"),
        &json!({"family": "inet6", "local": format!("[::]:{port}"), "peer": null}),
    );
    for host in ["::1", "::ffff:127.0.0.1"] {
        program.execute(&format!(
            "client, accepted = pair(listener, {host:?}, socket.AF_INET6, keepalive=1, idle=61)"
        ));
        let from = program.number("client.getsockname()[1]");
        let (client, server) = (format!("[{host}]:{from}"), format!("[{host}]:{port}"));
        for (name, local, peer) in [("client", &client, &server), ("accepted", &server, &client)] {
            let entry = program.entry(name);
            assert_has(
                &entry,
                &json!({"family": "inet6", "protocol": "tcp", "local": local, "peer": peer, "state": "established"}),
            );
            let own_view = program.own_view(name);
            assert_has(&entry, &own_view);
        }
        assert_eq!(program.entry("client")["timer"]["kind"], "keepalive");
    }
}

/// An IPv4 client of a listener for both protocols.
#[test]
fn ipv4_connection_of_an_ipv6_listener_is_mapped_at_one_end() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen('::', family=socket.AF_INET6); client, accepted = pair(listener)");
    assert_eq!(program.entry("client")["family"], "inet");
    let accepted = program.entry("accepted");
    assert_eq!(accepted["family"], "inet6");
    let local = accepted["local"].as_str().expect("an address");
    assert!(local.starts_with("[::ffff:127.0.0.1]:"), "{local}");
}

/// Linux 6.18 does not return a user timeout of MPTCP sockets.
#[test]
fn mptcp_socket_is_shown_once_with_its_own_settings() {
    python!();
    let mut program = PyPeer::start();
    if program.ask("os.path.exists('/proc/sys/net/mptcp/enabled')") != "True" {
        skip!("this kernel has no MPTCP");
    }
    program.execute("listener = listen(protocol=MPTCP)");
    program.execute("client, accepted = pair(listener, protocol=MPTCP, keepalive=1, idle=61, interval=13, count=4)");
    let number = program.pid().to_string();
    assert_eq!(entries(&[&number]).len(), 3);
    let entry = program.entry("client");
    assert_has(
        &entry,
        &json!({
            "protocol": "mptcp", "family": "inet", "state": "established",
            "keepalive": true, "idle_s": 61, "interval_s": 13, "count": 4, "dead_after_s": 113,
        }),
    );
    assert_eq!(entry["timer"]["kind"], "keepalive");
    for name in ["listener", "accepted"] {
        assert_has(&program.entry(name), &json!({"protocol": "mptcp", "keepalive": false}));
    }
    program.execute("try: timeout = client.getsockopt(*OPTIONS['user_timeout'])\nexcept OSError: timeout = None");
    let timeout = program.ask("timeout").replace("None", "null");
    assert_eq!(entry["user_timeout_ms"].to_string(), timeout);
    let table = shown(&[&number]);
    assert!(table.contains(" 61/13/4 "), "{table}");
}

#[test]
fn unconnected_socket_is_closed() {
    python!();
    let mut program = PyPeer::start();
    program.execute("fresh = own(socket.socket(), keepalive=1, idle=61); fresh6 = socket.socket(socket.AF_INET6)");
    program.execute("bound = socket.socket(); bound.bind(('127.0.0.1', 0))");
    let port = program.number("bound.getsockname()[1]");
    for (name, family) in [("fresh", "inet"), ("fresh6", "inet6"), ("bound", "inet")] {
        let entry = program.entry(name);
        assert_has(
            &entry,
            &json!({"family": family, "protocol": "tcp", "state": "closed", "peer": null, "timer": null}),
        );
        let own_view = program.own_view(name);
        assert_has(&entry, &own_view);
    }
    assert_eq!(program.entry("bound")["local"], format!("127.0.0.1:{port}"));
    assert_eq!(entries(&[&program.pid().to_string()]).len(), 3);
}

#[test]
fn states_of_an_ending_connection_are_shown() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1, idle=61)");
    program.execute("client.shutdown(socket.SHUT_WR); assert accepted.recv(1) == b''");
    for (name, state) in [("client", "fin-wait-2"), ("accepted", "close-wait")] {
        let entry = entry_in_state(&mut program, name, state);
        let own_view = program.own_view(name);
        assert_has(&entry, &own_view);
    }
    assert_eq!(program.entry("client")["timer"]["kind"], "keepalive");
    program.execute("accepted.close(); assert client.recv(1) == b''");
    // For TIME-WAIT the kernel keeps its own entry; the program's socket is closed.
    let entry = entry_in_state(&mut program, "client", "closed");
    assert_has(&entry, &json!({"timer": null, "idle_s": 61}));
}

/// Waits for a state, because packets arrive asynchronously.
fn entry_in_state(program: &mut PyPeer, name: &str, state: &str) -> Value {
    eventually(state, LIMIT, || {
        Some(program.entry(name)).filter(|entry| entry["state"] == state)
    })
}

#[test]
fn other_sockets_are_not_shown() {
    python!();
    let mut program = PyPeer::start();
    program.execute("kept.extend([socket.socketpair(), socket.socket(type=socket.SOCK_DGRAM)])");
    program.execute("kept.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))");
    let number = program.pid().to_string();
    assert_eq!(shown(&[&number, "--json"]), "[]\n");
    let table = shown(&[&number]);
    assert!(
        table.starts_with("PID/FD  PROGRAM") && table.lines().count() == 1,
        "{table}"
    );
}
