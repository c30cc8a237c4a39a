//! Programs that create, connect, accept and set their sockets through io_uring, without visible system calls.

use super::words_of;
use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY_VALUES, static_target, without_library};
use keepalive_policy::Mode;
use std::path::PathBuf;

/// Returns `targets/uring.c`.
fn uring() -> PathBuf {
    static_target(Libc::Host, "uring.c")
}

/// Skips a test where the program cannot run these words without keepalive.
macro_rules! uring {
    ($words:expr) => {
        kernel!();
        let output = output_within(super::LIMIT, without_library(&uring()).args($words.split(' ')));
        let lines = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || lines.contains(": -") {
            skip!("this kernel's io_uring cannot: {}", lines.trim_end());
        }
    };
}

#[test]
fn connections_made_through_io_uring_are_set() {
    let words = "connect show accept show async connect show accept show";
    uring!(words);
    assert_eq!(
        words_of(&uring(), &[], words),
        format!("socket: {POLICY_VALUES}\n").repeat(4)
    );
}

#[test]
fn program_rules_match_connections_made_through_io_uring() {
    let words = "connect show accept show async connect show accept show";
    uring!(words);
    let rules = ["--rule", "program uring idle=30"];
    assert_eq!(words_of(&uring(), &rules, words), "socket: 1 30 75 9 0\n".repeat(4));
}

#[test]
fn modes_apply_to_options_set_through_io_uring() {
    let own = "idle=600 show idle=5 show long-idle=600 show keepalive=0 show";
    uring!(format!("connect {own}"));
    for (mode, [longer, shorter, off]) in Mode::ALL.into_iter().zip([
        ["1 600 13 4 0", "1 5 13 4 0", "0 600 13 4 0"],
        [POLICY_VALUES, "1 5 13 4 0", POLICY_VALUES],
        ["1 600 13 4 0", POLICY_VALUES, "0 600 13 4 0"],
        [POLICY_VALUES, POLICY_VALUES, POLICY_VALUES],
    ]) {
        let expected = format!(
            "idle=600: 0\nsocket: {longer}\nidle=5: 0\nsocket: {shorter}\nlong-idle=600: 0\nsocket: {longer}\n\
             keepalive=0: 0\nsocket: {off}\n"
        );
        for begin in ["connect", "accept", "async connect"] {
            let words = format!("{begin} {own}");
            assert_eq!(
                words_of(&uring(), &["--mode", mode.name()], &words),
                expected,
                "{mode:?} {begin}"
            );
        }
    }
}

#[test]
fn refused_numbers_are_refused() {
    uring!("connect show idle=600");
    let words = "connect idle=0 idle=32768 show";
    for mode in Mode::ALL {
        let lines = words_of(&uring(), &["--mode", mode.name()], words);
        assert_eq!(
            lines,
            format!("idle=0: -22\nidle=32768: -22\nsocket: {POLICY_VALUES}\n"),
            "{mode:?}"
        );
    }
}
