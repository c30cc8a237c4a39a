//! Sockets that a program makes, connects and accepts by io_uring: no filter sees that, so the supervisor looks for them.

use super::{Keepalive, LIMIT, outcome, start, until_it_holds};
use crate::support::observe::{Seen, tcp_sockets};
use crate::support::process::within;
use crate::support::target::{Libc, static_target, without_library};
use std::path::PathBuf;
use std::process::Stdio;

/// `targets/uring.c`.
fn uring() -> PathBuf {
    static_target(Libc::Host, "uring.c")
}

/// Skips a test where the program cannot do as these words say by itself.
macro_rules! uring {
    ($words:expr) => {
        let (lines, errors, status) = outcome(without_library(&uring()).args($words.split(' ')).stdin(Stdio::null()));
        if status != Some(0) {
            skip!("this kernel's io_uring cannot {}: {}{errors}", $words, lines.trim_end());
        }
    };
}

/// Starts the program under the supervisor with these options, and waits until each of its sockets is as `is_set` says.
#[track_caller]
fn are_set(options: &[&str], words: &str, is_set: impl Fn(&Seen) -> bool) {
    let keepalive = Keepalive::new();
    let mut command = keepalive.run();
    command.args(options).arg(uring()).args(words.split(' ')).arg("hold");
    let (program, mut output) = start(&mut command);
    until_it_holds(&mut output);
    let mut seen = Vec::new();
    let are_set = within(LIMIT, || {
        seen = tcp_sockets(program.pid());
        (seen.len() >= 2 && seen.iter().all(&is_set)).then_some(())
    });
    assert!(are_set.is_some(), "{words}: {seen:#?}");
}

#[test]
fn connections_made_by_io_uring_are_set() {
    let words = "connect accept async connect accept";
    uring!(words);
    for engine in ["auto", "seccomp"] {
        are_set(&["--engine", engine], words, |seen| seen.timing() == (true, 61, 13, 4));
    }
}

#[test]
fn connections_made_by_io_uring_get_the_user_timeout_when_they_are_complete() {
    uring!("connect");
    // The listener of the program is made by a call that is seen.
    are_set(&["--user-timeout", "30"], "connect", |seen| {
        seen.user_timeout() == 30_000
    });
}

#[test]
fn rules_match_the_peer_of_a_connection_made_by_io_uring() {
    uring!("connect");
    let rule = ["--rule", "connect 127.0.0.0/8 idle=33s interval=7s count=2"];
    are_set(&rule, "connect", |seen| {
        let is_client = seen.socket.peer.is_some();
        !is_client || seen.timing() == (true, 33, 7, 2)
    });
}
