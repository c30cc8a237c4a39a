//! `enable --count-endings`: the connections of each rule that fail, by cause.

use super::{POLICY, pair_with};
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::test_cgroup::TestCgroup;
use crate::trace::{Lab, Tracer, traceable};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A rule, and what happens to its connections: one over each of [`FAMILIES`].
struct Case {
    /// What the rule matches before the port, and its settings.
    rule: (&'static str, &'static str),
    /// The end in the cgroup that the rule is for, and Python there after three seconds; `end` is the socket.
    at: &'static str,
    after: &'static str,
    /// The cause as the trace names it, and the name of its counter, if it is counted.
    cause: &'static str,
    counter: Option<&'static str>,
}

/// The addresses by which the client names the server.
const FAMILIES: [(&str, &str); 3] = [
    ("AF_INET", "10.0.2.2"),
    ("AF_INET6", "fd00:2::2"),
    ("AF_INET6", "::ffff:10.0.2.2"),
];

/// The NAT drops the packets of connections that are idle for two seconds.
const SILENT: [Case; 5] = [
    Case {
        rule: ("connect", "idle=3 interval=1 count=2"),
        at: "client",
        after: "",
        cause: "dead-peer",
        counter: Some("dead-peer"),
    },
    Case {
        rule: ("accept", "idle=3 interval=1 count=2"),
        at: "server",
        after: "",
        cause: "dead-peer",
        counter: Some("dead-peer"),
    },
    Case {
        rule: ("connect", "user-timeout=2500ms"),
        at: "client",
        after: "end.sendall(b'data')",
        cause: "timeout-on-send",
        counter: Some("timeout"),
    },
    Case {
        rule: ("accept", "off"),
        at: "server",
        after: "own(end, user_timeout=2500); end.sendall(b'data')",
        cause: "timeout-on-send",
        counter: Some("timeout"),
    },
    Case {
        rule: ("program python3 connect", "idle=9"),
        at: "client",
        after: "end.close()",
        cause: "closed",
        counter: None,
    },
];

/// The NAT answers them with a RST.
const RESET: [Case; 3] = [
    Case {
        rule: ("program python3 connect", "idle=3 interval=1 count=9"),
        at: "client",
        after: "",
        cause: "reset-on-probe",
        counter: Some("reset-on-probe"),
    },
    Case {
        rule: ("accept", "idle=3 interval=1 count=9"),
        at: "server",
        after: "",
        cause: "reset-on-probe",
        counter: Some("reset-on-probe"),
    },
    Case {
        rule: ("connect", "idle=60"),
        at: "client",
        after: "end.sendall(b'data')",
        cause: "reset-on-send",
        counter: None,
    },
];

const PROGRAM: &str = "
def connect(port, family, host):
    end = socket.create_connection((host, port)) if family == socket.AF_INET else socket.socket(family)
    if family != socket.AF_INET: end.connect((host, port))
    return end
def later(names, lines):
    def run(end):
        exec(lines)
    for name in names: threading.Timer(3, run, [ends[name]]).start()
def is_over(end):
    return end.fileno() < 0 or end.getsockopt(TCP, socket.TCP_INFO, 1)[0] != 1
ends, listeners = {}, {}
";

/// Runs all cases over all families at once, and compares what `status` counts with the trace of the same connections.
fn provoke(on_forget: &str, cases: &[Case], first_port: u16) {
    let test_cgroup = test_cgroup!();
    let lab = match Lab::start("2", on_forget) {
        Ok(lab) => lab,
        Err(why) => skip!("{why}"),
    };
    let rules = cases.iter().zip(first_port..).map(|(case, port)| {
        let (what, settings) = case.rule;
        format!("--rule={what} :{port} {settings}")
    });
    let rules: Vec<String> = rules.collect();
    let mut flags = vec!["--count-endings"];
    flags.extend(rules.iter().map(String::as_str));
    test_cgroup.enable(&flags);
    let [mut client, mut server] = ["client", "server"].map(|namespace| {
        let enter = lab.enter(namespace);
        test_cgroup.py_peer_in(test_cgroup.directory(), &enter.each_ref().map(String::as_str))
    });
    for peer in [&mut client, &mut server] {
        peer.execute(PROGRAM);
    }
    let tracer = Tracer::start(&["--min-idle", "1"]);
    for (case, port) in cases.iter().zip(first_port..) {
        server.execute(&format!("listeners[{port}] = listen('::', {port}, socket.AF_INET6)"));
        for (number, (family, host)) in FAMILIES.into_iter().enumerate() {
            client.execute(&format!(
                "ends[{port}, {number}] = connect({port}, socket.{family}, '{host}')"
            ));
            server.execute(&format!("ends[{port}, {number}] = listeners[{port}].accept()[0]"));
        }
        let peer = peer_of(case, &mut client, &mut server);
        if !case.after.is_empty() {
            peer.execute(&format!(
                "later([name for name in ends if name[0] == {port}], {:?})",
                case.after
            ));
        }
    }
    for (case, port) in cases.iter().zip(first_port..) {
        let peer = peer_of(case, &mut client, &mut server);
        let are_over = format!("all(is_over(end) for name, end in ends.items() if name[0] == {port})");
        eventually(case.rule.0, LIMIT, || (peer.ask(&are_over) == "True").then_some(()));
    }
    let (objects, text) = tracer.end(Signal::INT);
    assert!(!text.contains("not recorded"), "{text}");
    let status = test_cgroup.status();
    for ((case, port), counted) in cases
        .iter()
        .zip(first_port..)
        .zip(status["rules"].as_array().expect("a list"))
    {
        assert_eq!(counted["connections"], FAMILIES.len(), "{counted}");
        assert_eq!(
            counted["ended"],
            ended(case.counter, FAMILIES.len()),
            "{port}: {counted}"
        );
        let (direction, address) = match case.at {
            "client" => ("connect", "peer"),
            _ => ("accept", "local"),
        };
        let port = format!(":{port}");
        let is_same = |object: &&Value| {
            object["direction"] == direction
                && object["cause"] == case.cause
                && object[address].as_str().is_some_and(|address| address.ends_with(&port))
        };
        let traced = objects.iter().filter(is_same).count();
        assert_eq!(traced, FAMILIES.len(), "{direction} {port}: {objects:#?}");
    }
    // The other ends are still there, or were closed.
    assert_eq!(status["default_ended"], ended(None, 0), "{status:#}");
    assert_eq!(status["uncounted_because"], Value::Null, "{status:#}");
}

fn peer_of<'a>(case: &Case, client: &'a mut PyPeer, server: &'a mut PyPeer) -> &'a mut PyPeer {
    if case.at == "client" { client } else { server }
}

/// Returns the object in which only this cause is not 0.
fn ended(cause: Option<&str>, number: usize) -> Value {
    let mut object = json!({"dead-peer": 0, "reset-on-probe": 0, "timeout": 0});
    if let Some(cause) = cause {
        object[cause] = json!(number);
    }
    object
}

#[test]
fn connections_on_a_path_that_forgets_silently_are_counted_as_the_trace_shows_them() {
    traceable!();
    provoke("silent", &SILENT, 7300);
}

#[test]
fn connections_on_a_path_that_resets_are_counted_as_the_trace_shows_them() {
    traceable!();
    provoke("reset", &RESET, 7350);
}
