//! Processes that wait for a file system that does not answer: they do not delay other processes.

use super::{POLICY, attach, pair_with};
use crate::support::hung::{TIME, with_hung_process};
use crate::support::line_peer::LinePeer;
use crate::support::process::{eventually, output_within, text};
use crate::support::target::POLICY_VALUES;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::Stdio;

#[test]
fn name_in_unreadable_memory_is_not_read() {
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    program.execute("map_hung_over_name()");
    program.hang();
    let output = output_within(TIME, attach().args(POLICY).arg(program.pid().to_string()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(program.has("client"), POLICY_VALUES);
}

/// A program that sends from a page of such a file holds the lock of its socket, and setsockopt(2) on the socket waits
/// for the lock.
#[test]
fn locked_socket_delays_no_other_process() {
    const SEND: &str = "import threading; libc = ctypes.CDLL(None)
page = ctypes.c_void_p(map_hung())
os.kill(int(os.environ['HUNG_SERVER']), 10)
threading.Thread(target=libc.send, args=[client.fileno(), page, 4096, 0], daemon=True).start()";
    let fuse = hung!();
    let mut program = fuse.py_peer();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    program.execute(SEND);
    program.execute("time.sleep(0.2)");
    let mut other = pair_with("");
    let (pid, other_pid) = (program.pid().to_string(), other.pid().to_string());
    let output = output_within(TIME, attach().args(POLICY).args([&pid, &other_pid, "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains(&format!(
            "keepalive: cannot attach to process {pid}: it does not answer\nhint: "
        )),
        "{errors}"
    );
    assert_eq!(other.has("client"), POLICY_VALUES);
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let of_other = reports.iter().filter(|report| report["pid"] == other.pid());
    assert_eq!(of_other.count(), 3, "{reports:?}");
}

#[test]
fn watch_continues_and_ends_on_a_signal() {
    let fuse = hung!();
    let _guard = with_hung_process();
    let mut program = fuse.py_peer();
    program.execute("file = open(os.environ['HUNG_FILE']); listener = listen()");
    program
        .execute("child = os.fork() or (os.kill(int(os.environ['HUNG_SERVER']), 10), os.execv('/bin/true', ['true']))");
    let child = program.number("child").to_string();
    let mut other = pair_with("");
    let mut command = attach();
    command.args(POLICY).args(["--watch", &child, &other.pid().to_string()]);
    let mut watch = LinePeer::start(command.stderr(Stdio::null()));
    for name in ["first", "second", "third"] {
        other.execute(&format!("{name}, end = pair(listener)"));
        eventually(name, TIME, || (other.has(name) == POLICY_VALUES).then_some(()));
    }
    let pid = Pid::from_raw(watch.pid().cast_signed()).expect("a number");
    kill_process(pid, Signal::INT).expect("a child of the test");
    assert_eq!(watch.wait_for_end().code(), None);
}
