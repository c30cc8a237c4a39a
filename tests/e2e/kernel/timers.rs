//! The keepalive timer, read from outside (`/proc/net/tcp`).

use super::run;
use crate::support::py_peer::PyPeer;
use crate::support::table::row;

/// Starts a Python program with these options.
fn py_peer(options: &[&str]) -> PyPeer {
    let command = run(options);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.map(|word| word.to_str().expect("a UTF-8 word"));
    PyPeer::under(&words.collect::<Vec<_>>())
}

/// Returns the seconds until the next probe; `None` without a keepalive timer.
#[track_caller]
fn next_probe(program: &mut PyPeer, name: &str) -> Option<u64> {
    let [fd] = program.fds([name]);
    let row = row(program.pid(), fd).expect("a connection");
    (row.timer == 2).then_some(row.expires.as_secs())
}

#[test]
fn timer_runs_with_the_idle_time_of_the_connection() {
    kernel!();
    python!();
    for (mode, own, idle) in [
        ("fill", "", 61),
        ("fill", "keepalive=1", 61),
        ("fill", "idle=600", 600),
        ("fill", "keepalive=1, idle=600", 600),
        ("cap", "keepalive=1, idle=600", 61),
        ("floor", "keepalive=1, idle=5", 61),
        ("enforce", "keepalive=1, idle=600", 61),
        ("enforce", "keepalive=1, idle=5", 61),
    ] {
        let mut program = py_peer(&["--mode", mode, "--idle=61"]);
        program.execute(&format!(
            "listener = own(listen(), {own}); client, accepted = pair(listener, {own})"
        ));
        for end in ["client", "accepted"] {
            let next = next_probe(&mut program, end);
            assert!(
                next.is_some_and(|next| (idle - 10..=idle).contains(&next)),
                "{mode} {own} {end}: {next:?}"
            );
        }
    }
}

#[test]
fn calls_that_the_mode_prevents_leave_the_timer_unchanged() {
    kernel!();
    python!();
    let mut program = py_peer(&["--mode=enforce", "--idle=61"]);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    program.execute("own(client, idle=600, keepalive=0); own(accepted, keepalive=0, idle=1)");
    for end in ["client", "accepted"] {
        let next = next_probe(&mut program, end);
        assert!(next.is_some_and(|next| (51..=61).contains(&next)), "{end}: {next:?}");
    }
    program.assert_talks("client", "accepted");
}
