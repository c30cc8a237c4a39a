//! `--watch`: new sockets are set too, until the processes have ended.

use super::{POLICY, attach, attach_under, pair_with};
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::observe::{family, tcp_sockets};
use crate::support::process::{LIMIT, eventually};
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::process::{Stdio, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn watch(words: &[&str]) -> LinePeer {
    let mut command = attach();
    command.args(POLICY).arg("--watch").args(words).stderr(Stdio::null());
    LinePeer::start(&mut command)
}

/// Waits until the socket of this name has these settings.
#[track_caller]
fn await_settings(program: &mut PyPeer, name: &str, settings: &str) {
    let [fd] = program.fds([name]);
    let pid = program.pid();
    eventually(&format!("{name} has {settings}"), LIMIT, || {
        (super::has(pid, fd) == settings).then_some(())
    });
}

/// Asserts that the watch ends by itself with status 0.
#[track_caller]
fn assert_ends(watch: &mut LinePeer) {
    let status = watch.wait_for_end();
    assert!(status.success(), "{status}");
}

#[test]
fn new_connections_of_a_running_process_are_set_until_it_ends() {
    python!();
    let mut program = pair_with("");
    let mut watch = watch(&[&program.pid().to_string()]);
    await_settings(&mut program, "client", POLICY_VALUES);
    for _ in 0..2 {
        program.execute("late, end = pair(listener)");
        await_settings(&mut program, "late", POLICY_VALUES);
        program.assert_talks("late", "end");
    }
    assert!(!watch.has_ended());
    program.0.finish();
    program.0.wait_for_end();
    assert_ends(&mut watch);
}

/// Such a connection inherited the listener's options at the handshake.
#[test]
fn connection_in_the_accept_queue_is_set() {
    python!();
    let mut program = pair_with("");
    program.execute("queued = socket.create_connection(listener.getsockname())");
    let _watch = watch(&[&program.pid().to_string()]);
    await_settings(&mut program, "listener", POLICY_VALUES);
    program.execute("end = listener.accept()[0]");
    await_settings(&mut program, "end", POLICY_VALUES);
}

#[test]
fn user_timeout_is_set_when_the_socket_is_connected() {
    python!();
    let mut program = pair_with("");
    program.execute("fresh = socket.socket()");
    let _watch = watch(&["--user-timeout=30s", &program.pid().to_string()]);
    await_settings(&mut program, "fresh", POLICY_VALUES);
    program.execute("fresh.connect(listener.getsockname())");
    await_settings(&mut program, "fresh", "1 61 13 4 30000");
}

/// Otherwise the default's values would count as the program's own when a rule matches the peer.
#[test]
fn with_rules_a_socket_is_set_when_its_peer_is_known() {
    python!();
    let mut program = pair_with("");
    program.execute("exempt = listen(); early, later = socket.socket(), socket.socket()");
    let [port, exempt] = ["listener", "exempt"].map(|name| program.number(&format!("{name}.getsockname()[1]")));
    let rule = format!("--rule=connect 127.0.0.1:{port} idle=30s");
    let off = format!("--rule=connect 127.0.0.1:{exempt} off");
    let _watch = watch(&[&rule, &off, &program.pid().to_string()]);
    await_settings(&mut program, "client", "1 30 75 9 0");
    program.execute("early.connect(exempt.getsockname()); later.connect(listener.getsockname())");
    await_settings(&mut program, "later", "1 30 75 9 0");
    assert_eq!(program.has("early"), KERNEL_DEFAULTS);
}

/// Options that the program sets after attach stay.
#[test]
fn options_set_later_by_the_program_stay() {
    python!();
    let mut program = pair_with("");
    let _watch = watch(&["--mode=enforce", &program.pid().to_string()]);
    await_settings(&mut program, "client", POLICY_VALUES);
    program.execute("own(client, idle=600)");
    program.execute("late, end = pair(listener)");
    await_settings(&mut program, "late", POLICY_VALUES);
    assert_eq!(program.has("client"), "1 600 13 4 0");
}

/// The kernel can give the number of an ended process to another process.
#[test]
fn reused_process_number_is_not_mistaken_for_the_watched_process() {
    const NUMBER: &str = "100";
    root!();
    python!();
    let mut world = PyPeer::in_pid_namespace(&[]);
    let enter = world.enter_namespaces();
    assert_eq!(world.ask("child_with_listener(100)"), NUMBER);
    let first = family(world.pid())[2];
    let idle = |pid: u32| tcp_sockets(pid).first().map(|seen| seen.timing().1);
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    let mut command = attach_under(&enter, &keepalive());
    let mut watch = LinePeer::start(command.args(POLICY).args(["--watch", NUMBER]).stderr(Stdio::null()));
    eventually("the first is set", LIMIT, || (idle(first) == Some(61)).then_some(()));

    assert_eq!(
        world.ask("[os.kill(100, 9), os.waitpid(100, 0), child_with_listener(100)][2]"),
        NUMBER
    );
    let second = family(world.pid())[2];
    assert_ne!(second, first);
    eventually("the end of the watch, or its mistake", LIMIT, || {
        (watch.has_ended() || idle(second) == Some(61)).then_some(())
    });
    assert_eq!(idle(second), Some(7200));
    assert_ends(&mut watch);
}

#[test]
fn new_processes_of_a_name_are_set_until_none_has_existed_for_ten_seconds() {
    python!();
    let name = format!("watched-{}-by-test", id());
    let start = || {
        let mut program = PyPeer::called(&name);
        program.execute("listener = listen(); client, accepted = pair(listener)");
        program
    };
    let mut program = start();
    let mut watch = watch(&["--program", &name]);
    await_settings(&mut program, "client", POLICY_VALUES);
    let mut second = start();
    await_settings(&mut second, "client", POLICY_VALUES);
    drop((program, second));
    // The restarted process needs some time.
    sleep(Duration::from_secs(3));
    let mut third = start();
    await_settings(&mut third, "client", POLICY_VALUES);
    drop(third);
    let end = Instant::now();
    assert_ends(&mut watch);
    let patience = end.elapsed();
    assert!(patience > Duration::from_secs(8), "{patience:?}");
}

#[test]
fn json_prints_a_line_for_each_socket() {
    python!();
    let mut program = pair_with("");
    let mut watch = watch(&["--json", &program.pid().to_string()]);
    let mut read = |count: usize| -> HashMap<String, Value> {
        let lines = (0..count).map(|_| watch.answer());
        let objects =
            lines.map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        objects.map(|object| (object["fd"].to_string(), object)).collect()
    };
    let first = read(3);
    for name in ["client", "accepted", "listener"] {
        let fd = program.ask(&format!("{name}.fileno()"));
        assert_eq!(first[&fd]["idle_s"], 61, "{name}");
        assert_eq!(first[&fd]["before"]["idle_s"], 7200, "{name}");
    }
    program.execute("late, end = pair(listener)");
    let next = read(2);
    let fd = program.ask("late.fileno()");
    assert_eq!(next[&fd]["before"]["keepalive"], false);
    assert_eq!(next[&fd]["keepalive"], true);
    assert_eq!(program.has("late"), POLICY_VALUES);
}

/// A socket is reported when it is changed, not each time it is examined.
#[test]
fn unchanged_socket_is_reported_once() {
    python!();
    let mut program = pair_with("");
    program.execute("fresh = socket.socket()");
    let mut watch = watch(&["--json", "--user-timeout=30s", &program.pid().to_string()]);
    await_settings(&mut program, "fresh", POLICY_VALUES);
    let first: Vec<String> = (0..4).map(|_| watch.answer()).collect();
    // The next output is about a socket that is opened three rounds later.
    sleep(Duration::from_secs(3));
    program.execute("late, end = pair(listener)");
    let fd = program.ask("fresh.fileno()");
    let mut next = || serde_json::from_str::<Value>(&watch.answer()).expect("JSON");
    for object in [next(), next()] {
        assert_ne!(object["fd"].to_string(), fd, "after {first:?}");
    }
    program.execute("fresh.connect(listener.getsockname())");
    let object = next();
    assert_eq!(object["fd"].to_string(), fd);
    let changes = json!([{"option": "user-timeout", "from": 0, "to": 30_000}]);
    assert_eq!(object["changes"], changes);
}

/// Returns the processor time in ticks, a hundred a second (proc_pid_stat(5), utime and stime).
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11..=12]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}

#[test]
fn watch_uses_less_than_two_percent_of_a_processor() {
    python!();
    let mut program = pair_with("");
    let watch = watch(&[&program.pid().to_string()]);
    await_settings(&mut program, "client", POLICY_VALUES);
    let before = processor_time(watch.pid());
    sleep(Duration::from_secs(5));
    let ticks = processor_time(watch.pid()) - before;
    assert!(ticks < 10, "{ticks} ticks in five seconds");
}
