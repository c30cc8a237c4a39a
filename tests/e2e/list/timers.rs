//! The timers of sockets, compared with the kernel's table and with later events. A filter that drops all incoming
//! packets silences a peer.

use super::{assert_has, shown};
use crate::support::process::{LIMIT, eventually};
use crate::support::py_peer::PyPeer;
use crate::support::table::{Row, row};
use serde_json::{Value, json};
use std::time::Duration;

/// Attaches `BPF_RET 0` by `SO_ATTACH_FILTER`. Prints the error, if any.
const SILENCE: &str = "
def silence(end):
    drop = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0))
    try: end.setsockopt(SOL, 26, struct.pack('HxxxxxxQ', 1, ctypes.addressof(drop)))
    except OSError as error: return error
";

/// Silences a socket of a program; skips the test if a user cannot do this.
macro_rules! silence {
    ($program:expr, $end:literal) => {
        let obstacle = $program.ask(concat!("silence(", $end, ")"));
        if obstacle != "None" {
            skip!("a socket filter cannot be set: {obstacle}");
        }
    };
}

fn with_connection(settings: &str) -> PyPeer {
    let mut program = PyPeer::start();
    program.execute(SILENCE);
    program.execute(&format!(
        "listener = listen(); client, accepted = pair(listener, {settings})"
    ));
    program.execute("start = time.monotonic()");
    program
}

/// Returns the timer of a socket in the kernel's table.
#[track_caller]
fn kernel_timer(program: &mut PyPeer, name: &str) -> Row {
    let [fd] = program.fds([name]);
    row(program.pid(), fd).expect("the socket's row")
}

fn expires(entry: &Value) -> Duration {
    let millis = entry["timer"]["expires_ms"].as_u64();
    Duration::from_millis(millis.unwrap_or_else(|| panic!("no timer: {entry}")))
}

#[test]
fn time_until_the_first_probe_is_that_of_the_kernel() {
    python!();
    let mut program = with_connection("keepalive=1, idle=100, interval=10, count=3");
    let (before, entry, after) = (
        kernel_timer(&mut program, "client"),
        program.entry("client"),
        kernel_timer(&mut program, "client"),
    );
    assert_eq!(entry["timer"]["kind"], "keepalive");
    assert_eq!((before.timer, after.timer), (2, 2));
    // The resolution of the table.
    let tick = Duration::from_millis(10);
    let expected = after.expires.saturating_sub(tick)..=before.expires + tick;
    assert!(expected.contains(&expires(&entry)), "{entry}: {expected:?}");
    assert!(
        (Duration::from_secs(60)..=Duration::from_secs(100)).contains(&expires(&entry)),
        "{entry}"
    );
    assert_has(&entry, &json!({"unanswered_probes": 0, "dead_after_s": 130}));
    assert_has(&program.entry("accepted"), &json!({"timer": null, "keepalive": false}));
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains(" 100/10/3 ") && table.contains("  2m10s"), "{table}");
}

#[test]
fn unanswered_probes_are_counted() {
    python!();
    let mut program = with_connection("keepalive=1, idle=1, interval=1, count=100");
    silence!(program, "accepted");
    let mut counts = Vec::new();
    eventually("three lost probes", LIMIT, || {
        let entry = program.entry("client");
        assert_eq!(entry["timer"]["kind"], "keepalive");
        assert!(expires(&entry) <= Duration::from_secs(1), "{entry}");
        counts.push(entry["unanswered_probes"].as_u64().expect("a number"));
        (counts.last() >= Some(&3)).then_some(())
    });
    assert!(counts.is_sorted(), "{counts:?}");
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains("/100  "), "{table}");
}

#[test]
fn unacknowledged_data_has_a_timer_that_hides_keepalive() {
    python!();
    let mut program = with_connection("keepalive=1, idle=100, interval=10, count=3");
    silence!(program, "accepted");
    program.execute("client.send(b'x')");
    let entry = program.entry("client");
    assert_eq!(entry["timer"]["kind"], "retransmit");
    assert_eq!(kernel_timer(&mut program, "client").timer, 1);
    assert_has(
        &entry,
        &json!({"keepalive": true, "idle_s": 100, "unanswered_probes": null}),
    );
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains(" unacked "), "{table}");
}

#[test]
fn unanswered_connect_has_a_retransmission_timer() {
    python!();
    let mut program = with_connection("");
    silence!(program, "listener");
    program.execute("waiting = own(socket.socket(), keepalive=1, idle=100)");
    program.execute("waiting.setblocking(False); waiting.connect_ex(listener.getsockname())");
    let entry = program.entry("waiting");
    assert_has(&entry, &json!({"state": "syn-sent", "keepalive": true, "idle_s": 100}));
    assert_eq!(entry["timer"]["kind"], "retransmit");
    assert!(entry["peer"].is_string(), "{entry}");
}

#[test]
fn closed_window_has_a_timer_that_hides_keepalive() {
    python!();
    let mut program = with_connection("keepalive=1, idle=100");
    program.execute(
        "client.setblocking(False)\ntry:\n    while True: client.send(bytes(1 << 20))\nexcept BlockingIOError: pass",
    );
    eventually("a window that is closed", LIMIT, || {
        let entry = program.entry("client");
        (entry["timer"]["kind"] == "zero-window").then_some(())
    });
    assert_eq!(kernel_timer(&mut program, "client").timer, 4);
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains(" zero-win "), "{table}");
}

/// The kernel ends connections after `dead_after_s`: by the count of probes, and by the user timeout.
#[test]
fn dead_peer_is_detected_after_the_reported_time() {
    python!();
    for (settings, seconds) in [
        ("keepalive=1, idle=1, interval=1, count=2", 3),
        ("keepalive=1, idle=1, interval=1, count=9, user_timeout=2500", 3),
        ("keepalive=1, idle=1, interval=2, count=9, user_timeout=100", 3),
    ] {
        let mut program = with_connection(settings);
        silence!(program, "accepted");
        let entry = program.entry("client");
        let took = program.ask("(select.select([client], [], [], 20), time.monotonic() - start)[1]");
        let took: f64 = took.parse().expect("seconds");
        let reported = entry["dead_after_s"].as_f64().expect("a time");
        assert!(
            (reported - took).abs() < 0.9,
            "{settings}: reported {reported}, took {took}"
        );
        assert_eq!(entry["dead_after_s"], seconds, "{settings}");
        assert_eq!(program.ask("client.getsockopt(SOL, socket.SO_ERROR)"), "110");
    }
}
