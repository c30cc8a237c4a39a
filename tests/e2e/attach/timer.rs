//! New settings take effect immediately: an idle connection gets the new timer, and probes are captured.

use super::{attached, next_probe};
use crate::support::py_peer::PyPeer;
use std::time::Duration;

#[test]
fn timer_of_two_hours_becomes_one_of_seconds_and_sends_probes() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1)");
    let [client] = program.fds(["client"]);
    let before = next_probe(program.pid(), client).expect("keepalive is on");
    assert!(before > Duration::from_secs(7000), "{before:?}");

    let mut wire = program.in_same_network();
    let port = program.ask("client.getsockname()[1]");
    wire.execute(&format!("probes = packets({port})"));
    attached(program.pid(), &["--idle=2", "--interval=1", "--rule=accept * off"]);
    let after = next_probe(program.pid(), client).expect("keepalive is on");
    assert!(after <= Duration::from_secs(2), "{after:?}");
    wire.0.send_line("len({next(probes) for _ in range(2)})");
    assert_eq!(wire.answer(), "1", "a probe repeats the number before the next one");
    program.assert_talks("client", "accepted");
}

#[test]
fn enabled_keepalive_sends_probes() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let [client] = program.fds(["client"]);
    assert_eq!(next_probe(program.pid(), client), None);
    let mut wire = program.in_same_network();
    let port = program.ask("client.getsockname()[1]");
    wire.execute(&format!("probes = packets({port})"));
    attached(program.pid(), &["--idle=1", "--interval=1", "--rule=accept * off"]);
    wire.0.send_line("len({next(probes) for _ in range(2)})");
    assert_eq!(wire.answer(), "1");
}

/// In this case the option shows the new value, but the running timer has the old one.
#[test]
fn timer_is_rearmed_if_the_sysctl_was_lowered_after_arming() {
    root!();
    python!();
    for idle in ["60", "90", "30"] {
        let mut program = PyPeer::in_own_network();
        program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1)");
        program.sysctl("tcp_keepalive_time", 60);
        let [client] = program.fds(["client"]);
        assert!(program.has("client").starts_with("1 60 "));
        assert!(next_probe(program.pid(), client) > Some(Duration::from_secs(7000)));

        attached(program.pid(), &["--idle", idle]);
        assert!(program.has("client").starts_with(&format!("1 {idle} ")));
        let after = next_probe(program.pid(), client).expect("keepalive is on");
        assert!(
            after <= Duration::from_secs(idle.parse().expect("a number")),
            "{after:?}"
        );
        program.assert_talks("client", "accepted");
    }
}

/// In fill mode the program's idle time stays, and so does the running timer.
#[test]
fn timer_with_a_value_of_the_program_stays() {
    python!();
    let mut program = super::pair_with("keepalive=1, idle=600");
    let [client] = program.fds(["client"]);
    attached(program.pid(), &["--idle", "61"]);
    let after = next_probe(program.pid(), client).expect("keepalive is on");
    assert!(after > Duration::from_secs(500), "{after:?}");
    attached(program.pid(), &["--idle", "61", "--mode", "cap"]);
    let after = next_probe(program.pid(), client).expect("keepalive is on");
    assert!(after <= Duration::from_secs(61), "{after:?}");
}
