//! Each cause, provoked by real programs: with its idle time and its owner.

use super::{Lab, Tracer, only};
use crate::support::process::{LIMIT, eventually};
use crate::support::py_peer::PyPeer;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A connection of a scenario.
struct Case {
    name: &'static str,
    /// Python in the client, before the connection is idle. `c` is the socket, of the class that the case asks for.
    prepare: &'static str,
    /// Python in the client after the idle time, and in the server, where `a` is the socket.
    after: &'static str,
    after_at_server: &'static str,
    /// The seconds until that.
    wait: f64,
    /// What is reported of the client's end: cause, error, idle time.
    expected: (&'static str, Option<&'static str>, f64),
    /// The cause that is reported of the server's end, if it ends too.
    at_server: Option<&'static str>,
}

/// Both ends know each other when a case begins: data has gone both ways.
const CONNECT: &str = "
def connect(port, prepare, family, host):
    c = socket.socket(family, socket.SOCK_STREAM)
    c.settimeout(60)
    c.connect((host, port))
    c.sendall(b'?')
    assert c.recv(1) == b'!'
    exec(prepare)
    return c
def is_over(c):
    return c.fileno() < 0 or c.getsockopt(TCP, socket.TCP_INFO, 1)[0] != 1
ends = {}
";
const ACCEPT: &str = "
def accept(port):
    a = listeners[port].accept()[0]
    assert a.recv(1) == b'?'
    a.sendall(b'!')
    return a
ends, listeners = {}, {}
";

/// The NAT drops the packets of connections that are idle for two seconds.
const SILENT: [Case; 6] = [
    Case {
        name: "dead peer",
        prepare: "own(c, keepalive=1, idle=3, interval=1, count=2)",
        after: "",
        after_at_server: "",
        wait: 5.0,
        expected: ("dead-peer", Some("ETIMEDOUT"), 5.0),
        at_server: None,
    },
    Case {
        name: "data into silence, by a program that tries again and again",
        prepare: "own(c, user_timeout=2500)",
        after: "c.sendall(b'one'); time.sleep(1); c.sendall(b'two')",
        after_at_server: "",
        wait: 3.0,
        expected: ("timeout-on-send", Some("ETIMEDOUT"), 3.0),
        at_server: None,
    },
    Case {
        name: "data into silence, by a program with a timeout of its own",
        prepare: "",
        after: "c.sendall(b'one'); time.sleep(3); c.close()",
        after_at_server: "",
        wait: 3.0,
        expected: ("timeout-on-send", None, 3.0),
        at_server: None,
    },
    Case {
        name: "the peer closes an idle connection",
        prepare: "",
        after: "",
        after_at_server: "a.close()",
        wait: 1.3,
        expected: ("closed-by-peer", None, 1.3),
        at_server: Some("closed"),
    },
    Case {
        name: "the program closes",
        prepare: "",
        after: "c.close()",
        after_at_server: "",
        wait: 1.3,
        expected: ("closed", None, 1.3),
        at_server: Some("closed-by-peer"),
    },
    Case {
        name: "the peer resets an idle connection",
        prepare: "",
        after: "",
        after_at_server: "a.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', 1, 0)); a.close()",
        wait: 1.3,
        expected: ("reset", Some("ECONNRESET"), 1.3),
        at_server: Some("closed"),
    },
];

/// The NAT answers them with a RST.
const RESET: [Case; 2] = [
    Case {
        name: "a reset keepalive probe",
        prepare: "own(c, keepalive=1, idle=3, interval=1, count=9)",
        after: "",
        after_at_server: "",
        wait: 3.0,
        expected: ("reset-on-probe", Some("ECONNRESET"), 3.0),
        at_server: None,
    },
    Case {
        name: "reset data",
        prepare: "",
        after: "c.sendall(b'?')",
        after_at_server: "",
        wait: 3.0,
        expected: ("reset-on-send", Some("ECONNRESET"), 3.0),
        at_server: None,
    },
];

/// The addresses by which the client names the server, and how the trace shows it.
const FAMILIES: [(&str, &str, &str); 3] = [
    ("AF_INET", "10.0.2.2", "10.0.2.2"),
    ("AF_INET6", "fd00:2::2", "[fd00:2::2]"),
    ("AF_INET6", "::ffff:10.0.2.2", "10.0.2.2"),
];

/// Runs all cases over all families at once.
fn provoke(on_forget: &str, cases: &'static [Case], first_port: u16) {
    let lab = match Lab::start("2", on_forget) {
        Ok(lab) => lab,
        Err(why) => skip!("{why}"),
    };
    let mut server = lab.program("server");
    let mut client = lab.program("client");
    server.execute(ACCEPT);
    client.execute(CONNECT);
    let tracer = Tracer::start(&["--min-idle", "1"]);

    let mut runs = Vec::new();
    for (case, port) in cases.iter().zip((first_port..).step_by(FAMILIES.len())) {
        for ((family, host, shown), port) in FAMILIES.into_iter().zip(port..) {
            server.execute(&format!("listeners[{port}] = listen('::', {port}, socket.AF_INET6)"));
            client.0.send_line(&format!(
                "ends.update({{{port}: connect({port}, {:?}, socket.{family}, '{host}')}})",
                case.prepare
            ));
            server.execute(&format!("ends[{port}] = accept({port})"));
            assert_eq!(client.answer(), "None");
            runs.push((case, port, format!("{shown}:{port}")));
        }
    }
    for (name, peer) in [("c", &mut client), ("a", &mut server)] {
        for (case, port, _) in &runs {
            let after = if name == "c" { case.after } else { case.after_at_server };
            if !after.is_empty() {
                let lines = format!(
                    "def later({name}=ends[{port}]):\n {after}\nthreading.Timer({}, later).start()",
                    case.wait
                );
                peer.execute(&lines);
            }
        }
    }
    // All cases end within nine seconds; a connection that stays would be missing below.
    for (case, port, _) in &runs {
        eventually(case.name, LIMIT, || {
            (client.ask(&format!("is_over(ends[{port}])")) == "True").then_some(())
        });
    }
    let (objects, text) = tracer.end(Signal::INT);
    assert!(!text.contains("not recorded"), "{text}");
    for (case, _, peer) in &runs {
        let object = only(&objects, &[("peer", json!(peer)), ("direction", json!("connect"))]);
        assert_expected(case, object, &client);
        if let Some(cause) = case.at_server {
            let object = only(&objects, &[("local", json!(peer)), ("direction", json!("accept"))]);
            assert_eq!(object["cause"], cause, "{}: {object:#}", case.name);
            assert_is_owner(&server, object);
        }
    }
}

#[track_caller]
fn assert_expected(case: &Case, object: &Value, client: &PyPeer) {
    let (ended_by, errno, idle) = case.expected;
    let name = case.name;
    assert_eq!(
        (&object["cause"], &object["errno"]),
        (&json!(ended_by), &json!(errno)),
        "{name}: {object:#}"
    );
    let measured = object["idle_s"].as_f64().expect("a number");
    assert!((measured - idle).abs() < 1.0, "{name}: {object:#}");
    assert_is_owner(client, object);
    let local = object["local"].as_str().expect("an address");
    assert!(!local.ends_with(":0"), "{name}: {object:#}");
    let lived = object["lived_s"].as_f64().expect("a number");
    assert!(lived >= measured, "{name}: {object:#}");
    let is_on = case.prepare.contains("keepalive=1");
    assert_eq!(object["keepalive"], json!(is_on), "{name}: {object:#}");
    if is_on {
        assert_eq!(object["idle_setting_s"], 3, "{object:#}");
        assert_eq!(object["interval_setting_s"], 1, "{object:#}");
    }
}

#[track_caller]
fn assert_is_owner(program: &PyPeer, object: &Value) {
    let owner = (&object["pid"], &object["program"]);
    assert_eq!(owner, (&json!(program.pid()), &json!("python3")), "{object:#}");
}

#[test]
fn ends_on_a_path_that_forgets_silently() {
    super::traceable!();
    provoke("silent", &SILENT, 7100);
}

#[test]
fn ends_on_a_path_that_resets() {
    super::traceable!();
    provoke("reset", &RESET, 7150);
}
