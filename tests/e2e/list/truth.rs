//! Every field, compared with what the program has set and reads itself.

use super::{assert_has, entries, list, shown};
use crate::support::observe::tcp_sockets;
use crate::support::process::{LIMIT, output_within};
use crate::support::py_peer::PyPeer;
use serde_json::json;

/// The fields, in the order of the help.
const FIELDS: [&str; 19] = [
    "pid",
    "program",
    "container",
    "tid",
    "fd",
    "inode",
    "family",
    "protocol",
    "local",
    "peer",
    "state",
    "keepalive",
    "idle_s",
    "interval_s",
    "count",
    "user_timeout_ms",
    "timer",
    "unanswered_probes",
    "dead_after_s",
];

#[test]
fn socket_is_shown_with_every_documented_field() {
    python!();
    let mut program = PyPeer::start();
    program
        .execute("listener = listen(); client, accepted = pair(listener, keepalive=1, idle=61, interval=13, count=4)");
    let (from, to) = (
        program.number("client.getsockname()[1]"),
        program.number("listener.getsockname()[1]"),
    );
    let pid = program.pid();
    let inode = program.number("os.fstat(client.fileno()).st_ino");
    let fd = program.number("client.fileno()");
    let mut entry = program.entry("client");
    let timer = entry["timer"].take();
    // The tests may run in a container.
    let container = entry["container"].take();
    assert!(container.is_null() || container.is_string(), "{container}");
    assert_eq!(
        entry,
        json!({
            "pid": pid, "program": "python3", "container": null, "tid": pid, "fd": fd, "inode": inode,
            "family": "inet", "protocol": "tcp",
            "local": format!("127.0.0.1:{from}"), "peer": format!("127.0.0.1:{to}"), "state": "established",
            "keepalive": true, "idle_s": 61, "interval_s": 13, "count": 4, "user_timeout_ms": 0,
            "timer": null, "unanswered_probes": 0, "dead_after_s": 61 + 13 * 4,
        })
    );
    let names: Vec<_> = timer.as_object().expect("a timer").keys().collect();
    assert_eq!(names, ["expires_ms", "kind"]);

    let help = shown(&["--help"]);
    let listed = help.split_once("The JSON objects have:").expect("the list").1;
    let listed = listed.split_once("Null is").expect("its end").0;
    let mut words = listed.split(|byte: char| !byte.is_ascii_lowercase() && byte != '_');
    for field in FIELDS {
        assert!(words.any(|word| word == field), "{field} in this order in: {listed}");
        assert!(entry.get(field).is_some(), "{field}");
    }
    assert_eq!(entry.as_object().map(serde_json::Map::len), Some(FIELDS.len()));
}

#[test]
fn options_are_shown_as_the_program_sets_them() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    for (settings, expected) in [
        (
            "",
            json!({"keepalive": false, "user_timeout_ms": 0, "dead_after_s": null, "timer": null}),
        ),
        (
            "keepalive=1, idle=61, interval=13, count=4",
            json!({"keepalive": true, "idle_s": 61, "interval_s": 13, "count": 4, "dead_after_s": 113}),
        ),
        (
            "idle=32767, interval=32767, count=127",
            json!({"dead_after_s": 32767 * 128}),
        ),
        ("user_timeout=2147483647", json!({"user_timeout_ms": 2_147_483_647})),
        (
            "user_timeout=1",
            json!({"user_timeout_ms": 1, "idle_s": 32767, "dead_after_s": 2 * 32767}),
        ),
        (
            "keepalive=0",
            json!({"keepalive": false, "idle_s": 32767, "dead_after_s": null, "timer": null}),
        ),
    ] {
        program.execute(&format!("own(client, {settings})"));
        let entry = program.entry("client");
        assert_has(&entry, &expected);
        let own_view = program.own_view("client");
        assert_has(&entry, &own_view);
        let own_view = program.own_view("accepted");
        assert_has(&program.entry("accepted"), &own_view);
    }
}

/// The output has every socket of the process and no others, compared with reads through duplicated descriptors.
#[test]
fn output_has_exactly_the_sockets_of_the_process() {
    python!();
    let mut program = PyPeer::start();
    program
        .execute("listener = listen(); kept.extend(pair(listener, keepalive=n % 2, idle=n + 1) for n in range(300))");
    program.execute("kept.extend([socket.socketpair(), socket.socket(type=socket.SOCK_DGRAM), open('/dev/null')])");
    let mut expected: Vec<_> = tcp_sockets(program.pid())
        .iter()
        .map(|seen| {
            let [local, peer] = [seen.socket.local, seen.socket.peer];
            let [local, peer] = [local, peer].map(|address| address.map(|address| address.to_string()));
            let (keepalive, idle, interval, count) = seen.timing();
            json!([local, peer, keepalive, idle, interval, count, seen.user_timeout()]).to_string()
        })
        .collect();
    let entries = entries(&[&program.pid().to_string()]);
    let names = [
        "local",
        "peer",
        "keepalive",
        "idle_s",
        "interval_s",
        "count",
        "user_timeout_ms",
    ];
    let mut found: Vec<_> = entries
        .iter()
        .map(|entry| json!(names.map(|name| &entry[name])).to_string())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found.len(), 601);
    assert_eq!(found, expected);
}

/// The program's descriptors and the options of its sockets are unchanged, and the command leaves no descriptors.
#[test]
fn list_changes_nothing() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1, idle=61)");
    let state = "[os.readlink('/proc/self/fd/' + fd) for fd in sorted(os.listdir('/proc/self/fd')) \
                 if os.path.lexists('/proc/self/fd/' + fd)]";
    let before = (program.ask(state), program.own_view("client"));
    let number = program.pid().to_string();
    for words in [&[&*number][..], &[], &[&number, "--json"]] {
        output_within(LIMIT, &mut list(words));
    }
    assert_eq!((program.ask(state), program.own_view("client")), before);
    program.assert_talks("client", "accepted");
}
