//! `enable --count-endings`: the connections of each rule that fail, by cause.

mod pins;

use super::pair_with;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::test_cgroup::TestCgroup;
use crate::trace::{Lab, Tracer, traceable};
use keepalive_sys::bpf::Instruction;
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, link_to_cgroup, load_program, value};
use keepalive_sys::cgroup::open_directory;
use rustix::fd::AsRawFd as _;
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
const SILENT: [Case; 6] = [
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
        rule: ("connect", "idle=60"),
        at: "client",
        after: "end.sendall(b'data'); time.sleep(2); end.close()",
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
        let address = if case.at == "client" { "peer" } else { "local" };
        let port = format!(":{port}");
        let is_same = |object: &&Value| object[address].as_str().is_some_and(|address| address.ends_with(&port));
        let found: Vec<&Value> = objects.iter().filter(is_same).map(|object| &object["cause"]).collect();
        assert_eq!(found, [case.cause; FAMILIES.len()], "{port}: {objects:#?}");
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

/// A policy whose connections are probed after a second.
const PROBED: [&str; 2] = ["--count-endings", "--idle=1"];

/// Lets the peer of `client` forget the connection, without a packet (TCP_REPAIR). The next probe is answered by a RST.
fn forget(program: &mut PyPeer) {
    program.execute("accepted.setsockopt(TCP, 19, 1); accepted.close()");
}

#[track_caller]
fn wait_for_end(program: &mut PyPeer) {
    let is_over = "client.getsockopt(TCP, socket.TCP_INFO, 1)[0] == 7";
    eventually("the end", LIMIT, || (program.ask(is_over) == "True").then_some(()));
}

/// Returns what `status` reports of this cgroup.
#[track_caller]
fn status_of(test_cgroup: &TestCgroup, name: &str) -> Value {
    let report = test_cgroup.report();
    let cgroups = report["cgroups"].as_array().expect("a list");
    let found = cgroups.iter().find(|cgroup| cgroup["cgroup"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report}")).clone()
}

#[test]
fn only_the_nearest_policy_counts() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let name = test_cgroup.name_of(&child);
    test_cgroup.enable(&PROBED);
    test_cgroup.enable_for(&name, &PROBED);
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    forget(&mut program);
    wait_for_end(&mut program);
    let status = status_of(&test_cgroup, &name);
    assert_eq!(status["default_ended"], ended(Some("reset-on-probe"), 1), "{status:#}");
    assert_eq!(test_cgroup.status()["default_ended"], ended(None, 0));

    // A policy that does not count does not let a farther one count its connections.
    test_cgroup.enable_for(&name, &["--idle=1"]);
    program.execute("client, accepted = pair(listener)");
    forget(&mut program);
    wait_for_end(&mut program);
    assert_eq!(status_of(&test_cgroup, &name)["default_ended"], Value::Null);
    assert_eq!(test_cgroup.status()["default_ended"], ended(None, 0));
}

#[test]
fn new_policy_counts_the_connections_of_the_one_before() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&PROBED);
    let mut program = pair_with(&test_cgroup, "");
    test_cgroup.enable(&["--count-endings", "--rule=connect 127.0.0.0/8 idle=9"]);
    forget(&mut program);
    wait_for_end(&mut program);
    let name = test_cgroup.name();
    let printed = test_cgroup.quiet(&["cgroup", "status", &name]);
    let expected = format!(
        "{name}: active
  0  connect 127.0.0.0/8 idle=9s  (--rule:1)
     ended: 0 dead-peer, 1 reset-on-probe, 0 timeout
  0  default keepalive=on
  policy "
    );
    assert!(printed.starts_with(&expected), "{printed}");
    test_cgroup.enable(&["--rule=connect 127.0.0.0/8 idle=9"]);
    assert_eq!(test_cgroup.status()["rules"][0]["ended"], Value::Null);
}

/// Reading the socket's fields requires CAP_PERFMON.
#[test]
fn without_cap_perfmon_the_policy_is_applied_and_nothing_is_counted() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let wrapper = ["setpriv", "--bounding-set=-sys_admin,-perfmon"];
    let args = [&["cgroup", "enable", &name], &PROBED[..]].concat();
    let output = output_within(LIMIT, &mut test_cgroup.command_under(&wrapper, &args));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), format!("{name}: active\n"));
    let errors = text(&output.stderr).replace("\n  ", " ");
    let begin = format!(
        "keepalive: {name}: --count-endings counts nothing here: the kernel's own fields require CAP_PERFMON, which this \
         process lacks"
    );
    assert!(errors.starts_with(&begin), "{errors}");
    let mut program = pair_with(&test_cgroup, "");
    assert_eq!(program.has("client"), "1 1 75 9 0");
    let status = test_cgroup.status();
    assert_eq!(status["default_connections"], 2);
    assert_eq!(status["default_ended"], Value::Null);
    let why = status["uncounted_because"].as_str().expect("a text");
    assert!(why.contains("CAP_PERFMON"), "{why}");
    let printed = test_cgroup.quiet(&["cgroup", "status", &name]);
    assert!(
        printed.contains("  ended: ? dead-peer, ? reset-on-probe, ? timeout: the kernel's own"),
        "{printed}"
    );
}

/// A program that asks for all changes of its sockets' states, and counts them in the map.
fn counts_changes(map: i32) -> [Instruction; 14] {
    let instruction = |code, registers, offset, immediate| Instruction {
        code,
        registers,
        offset,
        immediate,
    };
    [
        // r2 = the operation: BPF_SOCK_OPS_STATE_CB, ACTIVE_ESTABLISHED_CB, PASSIVE_ESTABLISHED_CB
        instruction(0x61, 0x12, 0, 0),
        instruction(0x15, 2, 6, 10),
        instruction(0x15, 2, 1, 4),
        instruction(0x55, 2, 8, 5),
        // bpf_sock_ops_cb_flags_set(context, flags | BPF_SOCK_OPS_STATE_CB_FLAG)
        instruction(0x61, 0x12, 84, 0),
        instruction(0x47, 2, 0, 4),
        instruction(0x85, 0, 0, 59),
        instruction(0x05, 0, 4, 0),
        // the map's value += 1
        instruction(0x18, 0x21, 0, map),
        instruction(0, 0, 0, 0),
        instruction(0xb7, 2, 0, 1),
        instruction(0xdb, 0x21, 0, 0),
        // return 1
        instruction(0xb7, 0, 0, 1),
        instruction(0x95, 0, 0, 0),
    ]
}

#[test]
fn foreign_program_still_sees_all_changes_of_the_state() {
    let test_cgroup = test_cgroup!();
    python!();
    let map = create_map(MapKind::Single, "changes", 8, 1).unwrap_or_else(|error| panic!("{:?}", error.error));
    let foreign = load_program(Hook::SockOps, "foreign", &counts_changes(map.as_raw_fd()));
    let foreign = foreign.unwrap_or_else(|refusal| panic!("{refusal}: {}", refusal.log));
    let child = test_cgroup.child("child");
    let cgroup = open_directory(test_cgroup.directory()).expect("a cgroup");
    let _link = link_to_cgroup(foreign, cgroup, Hook::SockOps).expect("a link");
    let mut program = test_cgroup.py_peer_in(&child, &[]);
    program.execute("listener = listen()");
    let mut changes = || {
        program.execute("client, accepted = pair(listener); talks(client, accepted)");
        program.execute("client.close(); accepted.recv(1); accepted.close()");
        let count = || u64::from_ne_bytes(value(&map, 8).expect("a value").try_into().expect("eight bytes"));
        // The last ones are made when the last acknowledgement arrives.
        eventually("the changes", LIMIT, || (count() % 7 == 0).then(count))
    };
    let alone = changes();
    // At the accepting end the connection is established, the peer closes, and this end too; three more at the other.
    assert_eq!(alone, 7);
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &PROBED);
    assert_eq!(changes(), 2 * alone);
}
