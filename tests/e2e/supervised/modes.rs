//! The four modes under the supervisor: the results are the same as with the library (`modes.rs`), whenever the program
//! sets its options.

use super::{BUILDS, Keepalive, LIMIT, printed, sockets, static_target};
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, within};
use crate::support::target::Libc;
use keepalive_policy::Mode;
use std::process::Stdio;
use std::time::Duration;

/// The program's values: a little above and below the policy's, which are 61, 13 and 4.
const OWN: &str = "idle=600 interval=5 count=8";
/// The results of these values and the policy, in the order of the modes.
const RESOLVED: [&str; 4] = ["1 600 5 8 0", "1 61 5 4 0", "1 600 13 8 0", "1 61 13 4 0"];
const POLICY_VALUES: [&str; 4] = ["1 61 13 4 0"; 4];
/// The results after the program has switched keepalive off.
const OFF: [&str; 4] = ["0 61 13 4 0", "1 61 13 4 0", "0 61 13 4 0", "1 61 13 4 0"];

/// Expects these options under each mode; each phrase for `libc`'s `targets/sockets.c` prints one socket.
fn expect(libc: Libc, phrases: &[&str], options: &[&str], expected: [&str; 4]) {
    let keepalive = Keepalive::new();
    let mut wrong = Vec::new();
    for (mode, expected) in Mode::ALL.into_iter().zip(expected) {
        let mut command = keepalive.seccomp();
        command.args(["--mode", mode.name()]).args(options);
        command.arg(static_target(libc, "sockets.c"));
        let words = phrases.join(" ").replace("OWN", OWN);
        let lines = printed(command.args(words.split(' ')));
        let shown: Vec<&str> = lines.lines().filter(|line| !line.starts_with("connect: ")).collect();
        assert_eq!(shown.len(), phrases.len(), "{lines}");
        for (phrase, line) in phrases.iter().zip(shown) {
            let has = line.split_once(": ").map(|(_, has)| has);
            if has != Some(expected) {
                wrong.push(format!("{mode:?} {phrase}: {line}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{libc:?} {options:?}\n{}", wrong.join("\n"));
}

fn expect_in_every_build(phrases: &[&str], options: &[&str], expected: [&str; 4]) {
    for libc in BUILDS {
        expect(libc, phrases, options, expected);
    }
}

#[test]
fn program_that_sets_nothing_has_the_policy() {
    builds!();
    let phrases = [
        "tcp connect show",
        "tcp6 connect show",
        "tcp listen show",
        "tcp listen client accept show",
    ];
    expect_in_every_build(&phrases, &[], POLICY_VALUES);
}

#[test]
fn modes_apply_to_options_of_a_client_before_and_after_connect() {
    builds!();
    let phrases = [
        "tcp OWN connect show",
        "tcp connect OWN show",
        "tcp idle=600 connect interval=5 count=8 show",
        "tcp6 OWN connect show",
        "tcp dup=70 OWN connect show",
        "raw-tcp OWN connect show",
    ];
    expect_in_every_build(&phrases, &[], RESOLVED);
    let twice = ["1 30 5 8 0", "1 30 5 4 0", "1 61 13 8 0", "1 61 13 4 0"];
    expect_in_every_build(&["tcp connect OWN idle=61 idle=30 show"], &[], twice);
}

/// The library sets options in this way, and the supervisor lets its calls pass.
#[test]
fn modes_apply_to_values_with_space_for_two_numbers() {
    builds!();
    let expected = ["1 600 13 4 0", "1 61 13 4 0", "1 600 13 4 0", "1 61 13 4 0"];
    let phrases = ["tcp wide-idle=600 connect show", "tcp connect wide-idle=600 show"];
    expect_in_every_build(&phrases, &[], expected);
}

#[test]
fn modes_apply_to_options_of_a_listener_and_of_accepted_sockets() {
    builds!();
    let phrases = [
        "tcp OWN listen client accept show",
        "tcp listen OWN client accept show",
        "tcp listen client accept OWN show",
        "tcp idle=600 listen client accept interval=5 count=8 show",
    ];
    expect_in_every_build(&phrases, &[], RESOLVED);
}

#[test]
fn keepalive_can_be_switched_off_if_the_mode_permits_it() {
    builds!();
    let phrases = [
        "tcp keepalive=0 connect show",
        "tcp connect keepalive=0 show",
        "tcp connect keepalive=1 keepalive=0 show",
        "tcp keepalive=1 keepalive=0 connect show",
        "tcp keepalive=0 listen client accept show",
        "tcp listen keepalive=0 client accept show",
        "tcp listen client accept keepalive=0 show",
    ];
    expect_in_every_build(&phrases, &[], OFF);
    let again = [
        "tcp connect keepalive=0 keepalive=7 show",
        "tcp keepalive=0 keepalive=1 connect show",
    ];
    expect_in_every_build(&again, &[], POLICY_VALUES);
}

/// With rules the filter cannot answer by itself: the supervisor decides each call.
#[test]
fn rule_that_does_not_match_leaves_the_mode_in_effect() {
    builds!();
    let rules = ["--rule", "connect 192.0.2.0/24 off"];
    let phrases = [
        "tcp OWN connect show",
        "tcp connect OWN show",
        "tcp OWN listen client accept show",
        "tcp listen OWN client accept show",
        "tcp listen client accept OWN show",
    ];
    expect_in_every_build(&phrases, &rules, RESOLVED);
    let off = [
        "tcp keepalive=0 connect show",
        "tcp connect keepalive=0 show",
        "tcp keepalive=0 listen client accept show",
        "tcp listen client accept keepalive=0 show",
    ];
    expect_in_every_build(&off, &rules, OFF);
}

#[test]
fn mode_of_a_rule_applies_only_to_matching_connections() {
    let keepalive = Keepalive::new();
    let rule = "connect 127.0.0.0/8 idle=61 interval=13 count=4 mode=";
    for (mode, expected) in Mode::ALL.into_iter().zip(RESOLVED) {
        let rules = ["--rule", &format!("{rule}{}", mode.name())];
        for words in ["tcp OWN connect show", "tcp connect OWN show"] {
            let words = words.replace("OWN", OWN);
            assert_eq!(
                keepalive.words(&rules, &words),
                format!("connect: 0\ntcp: {expected}\n"),
                "{mode:?} {words}"
            );
        }
        // For IPv6 the default applies, whose mode is fill.
        let words = format!("tcp6 connect {OWN} show");
        assert_eq!(
            keepalive.words(&rules, &words),
            format!("connect: 0\ntcp6: {}\n", RESOLVED[0]),
            "{mode:?}"
        );
    }
}

#[test]
fn modes_apply_to_the_user_timeout() {
    let timeout = ["--user-timeout", "30s"];
    let shorter = ["1 61 13 4 5000", "1 61 13 4 5000", "1 61 13 4 30000", "1 61 13 4 30000"];
    let longer = [
        "1 61 13 4 60000",
        "1 61 13 4 30000",
        "1 61 13 4 60000",
        "1 61 13 4 30000",
    ];
    for (milliseconds, expected) in [(5000, shorter), (60_000, longer)] {
        let phrases = [
            "tcp user-timeout=N listen client accept show",
            "tcp listen user-timeout=N client accept show",
            "tcp listen client accept user-timeout=N show",
        ];
        let phrases = phrases.map(|phrase| phrase.replace('N', &milliseconds.to_string()));
        expect(Libc::Host, &phrases.each_ref().map(String::as_str), &timeout, expected);
    }
}

/// The policy's user timeout is set when the supervisor notices that the connection is complete, which may be after the
/// program has set its own.
#[test]
fn modes_apply_to_the_user_timeout_of_a_client() {
    let keepalive = Keepalive::new();
    for (own, expected) in [
        (5000, [5000, 5000, 30_000, 30_000]),
        (60_000, [60_000, 30_000, 60_000, 30_000]),
    ] {
        for (mode, expected) in Mode::ALL.into_iter().zip(expected) {
            for words in ["tcp user-timeout=N connect hold", "tcp connect user-timeout=N hold"] {
                let words = words.replace('N', &own.to_string());
                let mut command = keepalive.seccomp();
                command
                    .args(["--user-timeout", "30s", "--mode", mode.name()])
                    .arg(sockets());
                command
                    .args(words.split(' '))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null());
                let program = Running::start_with_input(&mut command);
                let is_as_expected = || {
                    let sockets = tcp_sockets(program.pid());
                    let connected = sockets.iter().find(|seen| seen.socket.peer.is_some())?;
                    Some(connected.user_timeout() == expected)
                };
                let what = format!("{mode:?} {words}");
                eventually(&what, LIMIT, || is_as_expected().filter(|is| *is));
                let changed = within(Duration::from_millis(50), || is_as_expected().filter(|is| !is));
                assert_eq!(changed, None, "{what}");
            }
        }
    }
}
