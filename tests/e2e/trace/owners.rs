//! Whose connection ended: killed programs, servers that fork, cgroups, filters.

use super::{Tracer, only};
use crate::support::py_peer::PyPeer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Starts a program with a connection over loopback to another, in a network of their own. Returns both, and the port.
fn connected(name: &str) -> (PyPeer, PyPeer, u64) {
    let mut server = PyPeer::in_own_network();
    server.execute("listener = listen()");
    let port = server.number("listener.getsockname()[1]");
    let enter = format!("--net=/proc/{}/ns/net", server.pid());
    let mut client = PyPeer::under(&["nsenter", &enter, "env", &format!("NAME={name}")]);
    client.execute(&format!("c = socket.create_connection(('127.0.0.1', {port}))"));
    server.execute("a = listener.accept()[0]");
    (server, client, port)
}

#[track_caller]
fn end_of<'a>(objects: &'a [Value], direction: &str, port: u64) -> &'a Value {
    let side = if direction == "connect" { "peer" } else { "local" };
    let address = json!(format!("127.0.0.1:{port}"));
    only(objects, &[("direction", json!(direction)), (side, address)])
}

fn kill(program: &PyPeer) {
    let pid = Pid::from_raw(program.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("it runs");
}

#[test]
fn killed_program_owned_its_connection() {
    super::traceable!();
    let tracer = Tracer::start(&["--all"]);
    let (mut server, client, port) = connected("killed");
    kill(&client);
    assert_eq!(server.ask("a.recv(1)"), "b''");
    let (objects, _) = tracer.end(Signal::TERM);
    let object = end_of(&objects, "connect", port);
    assert_eq!(object["cause"], "closed", "{object:#}");
    assert_eq!(
        (&object["pid"], &object["program"]),
        (&json!(client.pid()), &json!("python3"))
    );
    let object = end_of(&objects, "accept", port);
    assert_eq!(object["cause"], "closed-by-peer", "{object:#}");
    assert_eq!(object["pid"], server.pid(), "{object:#}");
}

#[test]
fn connection_of_a_forked_worker_is_the_workers() {
    super::traceable!();
    let (mut server, mut client, port) = connected("forked");
    // Now the parent holds the socket.
    let mut tracer = Tracer::start(&["--all", "--port", &port.to_string()]);
    // As a database does: the parent accepts, and a child serves.
    server.execute(
        "ready, done = os.pipe()\nworker = os.fork()\n\
         if worker == 0:\n os.close(0)\n os.write(done, b'.')\n a.recv(1)\n time.sleep(600)\n\
         a.close()\nos.read(ready, 1)",
    );
    let worker = server.number("worker");
    client.execute("c.close()");
    tracer.wait_for("closed-by-peer");
    let (objects, _) = tracer.end(Signal::INT);
    let object = only(&objects, &[("local", json!(format!("127.0.0.1:{port}")))]);
    assert_eq!(
        (&object["pid"], &object["cause"]),
        (&json!(worker), &json!("closed-by-peer")),
        "{object:#}"
    );
}

#[test]
fn connection_before_the_trace_has_no_start() {
    super::traceable!();
    let (_server, mut client, port) = connected("earlier");
    let tracer = Tracer::start(&["--all", "--port", &port.to_string()]);
    client.execute("c.close()");
    let (objects, _) = tracer.end(Signal::INT);
    let object = only(&objects, &[("peer", json!(format!("127.0.0.1:{port}")))]);
    for name in ["direction", "lived_s", "errno", "container"] {
        assert_eq!(object[name], Value::Null, "{object:#}");
    }
    assert_eq!(object["pid"], client.pid(), "{object:#}");
}

#[test]
fn cgroup_and_container_are_those_of_the_socket() {
    super::traceable!();
    let group = test_cgroup!();
    let id = "0123456789abcdef".repeat(4);
    let inner = group.child(&format!("docker-{id}.scope"));
    let tracer = Tracer::start(&["--all"]);
    let mut server = group.py_peer_in(&inner, &[]);
    server.execute("listener = listen()\nc, a = pair(listener)");
    let port = server.number("listener.getsockname()[1]");
    server.execute("c.close()");
    let (objects, _) = tracer.end(Signal::INT);
    let object = end_of(&objects, "connect", port);
    assert_eq!(object["container"], id, "{object:#}");
    assert_eq!(object["cgroup"], group.name_of(&inner), "{object:#}");
}

#[test]
fn only_selected_connections_are_shown() {
    super::traceable!();
    let (_one_server, mut one, port) = connected("one");
    let (_other_server, mut other, other_port) = connected("other");
    let by_pid = Tracer::start(&["--all", &one.pid().to_string()]);
    let by_port = Tracer::start(&["--all", "--port", &other_port.to_string()]);
    let by_name = Tracer::start(&["--all", "--program", "no-such-program"]);
    one.execute("c.close()");
    other.execute("c.close()");
    let shown =
        |objects: Vec<Value>| -> Vec<Value> { objects.into_iter().map(|object| object["peer"].clone()).collect() };
    let [one, other] = [port, other_port].map(|port| json!(format!("127.0.0.1:{port}")));
    assert_eq!(shown(by_pid.end(Signal::INT).0), [one]);
    let by_port = shown(by_port.end(Signal::INT).0);
    assert!(by_port.contains(&other) && by_port.len() == 2, "{by_port:?}");
    assert_eq!(shown(by_name.end(Signal::INT).0), [Value::Null; 0]);
}

#[test]
fn mptcp_connection_ends_as_its_first_subflow_does() {
    super::traceable!();
    let mut program = PyPeer::in_own_network();
    if program.ask("open('/proc/sys/net/mptcp/enabled').read().strip()") != "1" {
        skip!("this kernel has no MPTCP");
    }
    let mut tracer = Tracer::start(&["--all"]);
    program.execute("listener = listen(protocol=MPTCP)\nc, a = pair(listener, protocol=MPTCP)");
    let port = program.number("listener.getsockname()[1]");
    program.execute("c.close(); a.close()");
    // The kernel closes subflows later.
    tracer.wait_for(&format!("\"peer\":\"127.0.0.1:{port}\""));
    let (objects, _) = tracer.end(Signal::INT);
    let object = end_of(&objects, "connect", port);
    assert_eq!(
        (&object["cause"], &object["pid"]),
        (&json!("closed"), &json!(program.pid())),
        "{object:#}"
    );
}
