//! The holders of a socket: several processes, threads with their own descriptors, and processes in other network
//! namespaces.

use super::{CONNECTION, assert_has, entries, entries_of_all, entry, list, parsed, shown};
use crate::support::keepalive;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, Running, eventually, output_within, text, within, wrapped};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, compile};
use keepalive_sys::pidfd::PidFd;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn socket_of_two_processes_is_shown_for_each() {
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    program.execute("spare = os.dup(client.fileno())");
    program.execute("child = os.fork()\nif child == 0:\n    time.sleep(3600)");
    let (parent, child) = (program.pid(), program.number("child"));
    let inode = program.number("os.fstat(client.fileno()).st_ino");
    let mut numbers = [program.number("client.fileno()"), program.number("spare")];
    numbers.sort_unstable();

    let entries = entries(&[&parent.to_string(), &child.to_string()]);
    let shared: Vec<&Value> = entries.iter().filter(|entry| entry["inode"] == inode).collect();
    let holders: Vec<_> = shared
        .iter()
        .map(|entry| [&entry["pid"], &entry["fd"]].map(Value::as_u64))
        .collect();
    let mut expected = [u64::from(parent), child]
        .map(|pid| numbers.map(|fd| [Some(pid), Some(fd)]))
        .concat();
    expected.sort_unstable();
    assert_eq!(holders, expected);
    for entry in shared {
        assert_has(entry, &json!({"keepalive": true, "idle_s": 61, "program": "python3"}));
        assert_eq!(entry["timer"]["kind"], "keepalive");
    }
}

#[test]
fn thread_with_its_own_descriptors_is_named() {
    python!();
    let mut program = PyPeer::start();
    let answer = program.ask("thread_with_its_own_table()");
    let numbers: Vec<u64> = answer
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [tid, client, accepted] = numbers[..] else {
        panic!("{answer}")
    };
    if PidFd::open_thread(tid.try_into().expect("a number of a thread")).is_err() {
        skip!("pidfd_open of a thread needs Linux 6.9");
    }
    let number = program.pid().to_string();
    let all = entries(&[&number]);
    let of_thread: Vec<Value> = all.iter().filter(|entry| entry["tid"] == tid).cloned().collect();
    for fd in [client, accepted] {
        assert_has(
            &entry(&of_thread, fd),
            &json!({"pid": program.pid(), "keepalive": false, "state": "established"}),
        );
    }
    assert!(
        all.iter()
            .any(|entry| entry["tid"] == program.pid() && entry["state"] == "listen"),
        "{all:?}"
    );
    let table = shown(&[&number]);
    assert!(table.contains(&format!("{number}:{tid}/{client}  ")), "{table}");
}

/// pthread_exit(3) in main: the process continues without its main thread, which has no descriptors any more.
#[test]
fn process_whose_main_thread_has_ended_is_shown() {
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let fd = program.number("client.fileno()");
    let number = program.pid().to_string();
    program.execute("threading.Thread(target=time.sleep, args=(3600,)).start()");
    // exit(2) ends only the thread: number 60 on x86, 93 in the generic table.
    program
        .0
        .send_line("ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)");
    let status = format!("/proc/{number}/status");
    eventually("the end of the first thread", LIMIT, || {
        fs::read_to_string(&status)
            .expect("it is there")
            .contains("State:\tZ")
            .then_some(())
    });
    assert_has(
        &entry(&entries(&[&number]), fd),
        &json!({"keepalive": true, "idle_s": 61}),
    );
}

/// A machine can have more processes than a program has descriptors by default.
#[test]
fn more_processes_than_descriptors_are_shown_exactly() {
    python!();
    let script = "for n in $(seq 60); do sleep 3600 & done; echo ready; wait";
    let mut sleepers = Running::start(Command::new("bash").args(["-c", script]).stdout(Stdio::piped()));
    let mut line = String::new();
    let stdout = sleepers.child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("text");
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -S -n 50 && exec \"$0\" list --json"])
        .arg(keepalive());
    let output = output_within(LIMIT, &mut few);
    let entries = parsed(&text(&output.stdout));
    let of_program: Vec<Value> = entries
        .into_iter()
        .filter(|entry| entry["pid"] == program.pid())
        .collect();
    let own_view = program.own_view("client");
    assert_has(&entry(&of_program, program.number("client.fileno()")), &own_view);
}

/// The process is in another network namespace than the command.
#[test]
fn sockets_of_another_network_namespace_are_exact_for_root() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.execute(CONNECTION);
    program.execute("listener6 = listen('::', family=socket.AF_INET6)");
    for name in ["client", "accepted", "listener", "listener6"] {
        let own_view = program.own_view(name);
        assert_has(&program.entry(name), &own_view);
    }
    let entry = program.entry("client");
    assert_eq!(entry["timer"]["kind"], "keepalive");
    assert!(entry["timer"]["expires_ms"].as_u64() <= Some(61_000), "{entry}");
    assert_eq!(program.entry("listener")["state"], "listen");
    let everything = entries_of_all();
    assert!(
        everything
            .iter()
            .any(|entry| entry["pid"] == program.pid() && entry["timer"]["kind"] == "keepalive")
    );
}

/// As in container managers, and in servers that listen in several namespaces.
#[test]
fn sockets_of_two_namespaces_in_one_process_are_each_shown_with_its_timer() {
    root!();
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    program.execute("outside = (listener, client, accepted); libc = ctypes.CDLL(None)");
    program.execute("home = open('/proc/self/ns/net'); assert libc.unshare(0x40000000) == 0");
    program.execute("assert os.system('ip link set lo up') == 0");
    program.execute("listener = listen(); inside = pair(listener, keepalive=1, idle=301)");
    program.execute("assert libc.setns(home.fileno(), 0x40000000) == 0");
    for (name, idle) in [("outside[1]", 61), ("inside[0]", 301)] {
        let entry = program.entry(name);
        let own_view = program.own_view(name);
        assert_has(&entry, &own_view);
        assert_has(&entry, &json!({"idle_s": idle, "keepalive": true}));
        assert_eq!(entry["timer"]["kind"], "keepalive");
        let expires = entry["timer"]["expires_ms"].as_u64();
        assert!(
            expires <= Some(1000 * idle) && expires >= Some(1000 * idle - 30_000),
            "{entry}"
        );
    }
}

/// A command prefix that creates a network, for an ordinary user.
const PREPARE: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    "ip link set lo up && exec \"$@\"",
];

/// To enter the namespace requires more than the permission to inspect its processes.
#[test]
fn only_the_timer_is_unknown_in_a_namespace_that_cannot_be_entered() {
    root!();
    python!();
    let installed = Installed::new();
    let wrapper = [&NOBODY[..], &PREPARE, &["sh"]].concat();
    if !wrapped(&wrapper, "true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        skip!("an ordinary user has no namespaces here");
    }
    let mut program = PyPeer::under(&wrapper);
    program.execute(CONNECTION);
    let number = program.pid().to_string();
    let output = installed.list(&NOBODY, &[&number, "--json"]);
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let fd = program.number("client.fileno()");
    let entry = entry(&parsed(&text(&output.stdout)), fd);
    let own_view = program.own_view("client");
    assert_has(&entry, &own_view);
    assert_has(
        &entry,
        &json!({"timer": null, "state": "established", "unanswered_probes": 0, "dead_after_s": 736}),
    );
    let table = text(&installed.list(&NOBODY, &[&number]).stdout);
    let row = table.lines().find(|row| row.contains(" 61/75/9 ")).expect("the client");
    let words: Vec<_> = row.split_whitespace().collect();
    assert!(words.ends_with(&["?", "-", "12m16s"]), "{row}");
}

/// Sockets that are closed during the command are omitted, without an error. `targets/churn.c` opens and closes sockets
/// without a pause.
#[test]
fn program_that_opens_and_closes_sockets_constantly_is_shown_without_an_error() {
    let program = Running::start_with_input(Command::new(compile(Libc::Host, "churn.c", &[])).stdin(Stdio::piped()));
    let number = program.pid().to_string();
    let end = Instant::now() + Duration::from_secs(3);
    let mut seen = 0;
    eventually("its sockets", LIMIT, || (!entries(&[&number]).is_empty()).then_some(()));
    within(Duration::from_secs(3), || {
        seen += entries(&[&number]).len();
        shown(&[&number]);
        for words in [&["--json"][..], &["--program", "churn"]] {
            let output = output_within(LIMIT, &mut list(words));
            assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        }
        (Instant::now() > end).then_some(())
    });
    assert!(seen > 0);
}
