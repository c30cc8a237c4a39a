//! Output and messages without the permissions to see everything.

use super::shown::HEADINGS;
use super::{CONNECTION, assert_has, assert_refused, entry, parsed, remark};
use crate::support::keepalive;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, ended, output_within, text};
use crate::support::py_peer::PyPeer;
use serde_json::{Value, json};
use std::process::Command;

/// Returns the object with this local address, of any holder.
fn at_port(entries: &[Value], local: &str) -> Value {
    let found = entries.iter().find(|entry| entry["local"] == local);
    found.unwrap_or_else(|| panic!("no {local} in {entries:?}")).clone()
}

#[test]
fn ordinary_user_sees_connections_and_timers_of_other_users() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let [client, accepted, listener] =
        ["client", "accepted", "listener"].map(|name| program.ask(&format!("'%s:%d' % {name}.getsockname()")));
    let output = installed.list(&NOBODY, &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let entries = parsed(&text(&output.stdout));

    let mut entry = at_port(&entries, &client);
    assert_eq!(entry["timer"]["kind"], "keepalive");
    assert!(entry["timer"]["expires_ms"].as_u64() <= Some(61_000), "{entry}");
    entry["timer"].take();
    let inode = program.number("os.fstat(client.fileno()).st_ino");
    assert_eq!(
        entry,
        json!({
            "pid": null, "program": null, "container": null, "tid": null, "fd": null, "inode": inode, "family": "inet",
            "protocol": "tcp",
            "local": client, "peer": listener, "state": "established", "keepalive": true, "idle_s": null,
            "interval_s": null, "count": null, "user_timeout_ms": null, "timer": null, "unanswered_probes": 0,
            "dead_after_s": null,
        })
    );
    let mut of_listener = entries.iter().filter(|entry| entry["local"] == *listener);
    // The accepted end has the listener's address.
    assert!(
        of_listener
            .clone()
            .any(|entry| entry["state"] == "established" && entry["keepalive"] == false)
    );
    assert!(of_listener.any(|entry| entry["state"] == "listen" && entry["keepalive"].is_null()));
    assert_eq!(accepted, listener);

    let (remark, hint) = remark(&output);
    let unknown = entries.iter().filter(|entry| entry["idle_s"].is_null()).count();
    assert!(
        remark.starts_with(&format!("keepalive: {unknown} sockets are shown without ")),
        "{remark}"
    );
    assert_eq!(hint, "they belong to other users: run keepalive as root");
}

#[test]
fn table_marks_unknown_values() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let port = program.ask("client.getsockname()[1]");
    let output = installed.list(&NOBODY, &["--port", &port]);
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let [client, accepted] = [
        format!("127.0.0.1:{port}"),
        program.ask("'%s:%d' % listener.getsockname()"),
    ];
    assert_eq!(rows[0], HEADINGS);
    assert_eq!(rows.len(), 3, "{table}");
    for row in &rows[1..] {
        assert_eq!(row[..3], ["?", "?", "ESTAB"], "{table}");
        if row[3] == client {
            assert_eq!(
                (row[4], row[5], row[6], row.last()),
                (&*accepted, "on", "?", Some(&"?")),
                "{table}"
            );
        } else {
            assert_eq!(
                row[3..],
                [&*accepted, &*client, "off", "?", "-", "-", "never"],
                "{table}"
            );
        }
    }
    let (remark, _) = remark(&output);
    assert_eq!(
        remark,
        "keepalive: 2 sockets are shown without what only a holder's rights tell ('?')"
    );
}

#[test]
fn ordinary_user_sees_own_sockets_exactly() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::under(&NOBODY);
    program.execute(CONNECTION);
    let number = program.pid().to_string();
    let output = installed.list(&NOBODY, &[&number, "--json"]);
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let entries = parsed(&text(&output.stdout));
    for name in ["listener", "client", "accepted"] {
        let own_view = program.own_view(name);
        assert_has(&entry(&entries, program.number(&format!("{name}.fileno()"))), &own_view);
    }
}

#[test]
fn process_of_another_user_is_refused() {
    root!();
    python!();
    let installed = Installed::new();
    let program = PyPeer::start();
    let number = program.pid();
    for words in [&[][..], &["--json"], &["--watch"]] {
        let output = installed.list(&NOBODY, &[&[&*number.to_string()], words].concat());
        assert_refused(
            &output,
            &format!("cannot see process {number}: /proc/{number}/fd: Permission denied"),
            "it belongs to user 0: run keepalive as that user or as root",
        );
    }
}

/// The other processes are shown.
#[test]
fn each_denied_process_is_named() {
    root!();
    python!();
    let installed = Installed::new();
    let (denied, mut program) = (PyPeer::start(), PyPeer::under(&NOBODY));
    program.execute("listener = listen()");
    let (denied, number) = (denied.pid().to_string(), program.pid().to_string());
    let gone = ended().to_string();
    let output = installed.list(&NOBODY, &[&gone, &number, &denied, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    for pid in [&gone, &denied] {
        assert!(errors.contains(&format!("cannot see process {pid}: ")), "{errors}");
    }
    assert_eq!(errors.matches("hint: ").count(), 2, "{errors}");
    let entries = parsed(&text(&output.stdout));
    assert!(entries.len() == 1 && entries[0]["pid"] == program.pid(), "{entries:?}");
}

#[test]
fn undumpable_process_is_reported() {
    root!();
    python!();
    if std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0") {
        skip!("kernel.yama.ptrace_scope is the first obstacle here");
    }
    let installed = Installed::new();
    let mut program = PyPeer::under(&NOBODY);
    program.execute(CONNECTION);
    program.execute("assert ctypes.CDLL(None).prctl(4, 0) == 0");
    let number = program.pid();
    assert_refused(
        &installed.list(&NOBODY, &[&number.to_string()]),
        &format!("cannot see process {number}: /proc/{number}/fd: Permission denied"),
        "it has made itself undumpable (PR_SET_DUMPABLE), as programs with secrets do: run keepalive as root",
    );
    // Root can inspect the process.
    assert_has(&program.entry("client"), &json!({"idle_s": 61}));
}

/// Processes that end during the command cause no remark. The test has its own process namespace, without other
/// processes; all other sockets have no holder.
#[test]
fn root_gets_no_remark_about_permissions() {
    const SCRIPT: &str = "
        setpriv --reuid=65534 --regid=65534 --clear-groups -- \
            bash -c 'while :; do /bin/true & /bin/true & wait -n; done' &
        for n in $(seq 50); do \"$0\" list || exit; done";
    root!();
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT]);
    let output = output_within(LIMIT, command.arg(keepalive()));
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let client = program.ask("'%s:%d' % client.getsockname()");
    assert!(text(&output.stdout).contains(&client));
}

/// The descriptors are then read by one thread. The user has the program, the command and its worker.
#[test]
fn limit_of_threads_hides_no_socket() {
    const USER: [&str; 5] = ["setpriv", "--reuid=65531", "--regid=65531", "--clear-groups", "--"];
    root!();
    python!();
    let mut program = PyPeer::under(&USER);
    program.execute(
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(500):
    kept.append(socket.create_connection(listener.getsockname()))
    kept.append(listener.accept()[0])",
    );
    let wrapper = [&["prlimit", "--nproc=3"][..], &USER].concat();
    let output = Installed::new().list(&wrapper, &[&program.pid().to_string(), "--json"]);
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let entries = parsed(&text(&output.stdout));
    assert_eq!(entries.len(), 1001);
    assert!(entries.iter().all(|entry| entry["idle_s"] == 7200));
}

/// A command prefix: an ordinary user with CAP_SYS_PTRACE.
pub(super) const TRACER: [&str; 7] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+sys_ptrace",
    "--ambient-caps=+sys_ptrace",
    "--",
];

#[test]
fn cap_sys_ptrace_suffices() {
    root!();
    python!();
    let installed = Installed::new();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let number = program.pid().to_string();
    let output = installed.list(&TRACER, &[&number, "--json"]);
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let entries = parsed(&text(&output.stdout));
    assert_eq!(entries.len(), 3);
    for name in ["listener", "client", "accepted"] {
        let own_view = program.own_view(name);
        let entry = entry(&entries, program.number(&format!("{name}.fileno()")));
        assert_has(&entry, &own_view);
    }
}
