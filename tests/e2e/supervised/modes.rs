//! The four modes under the supervisor: what the kernel has in the end is what it has under the library (`modes.rs`),
//! whenever the program sets its own.

use super::{BUILDS, Keepalive, LIMIT, printed, sockets, static_target};
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, within};
use crate::support::target::Libc;
use keepalive_policy::Mode;
use std::process::Stdio;
use std::time::Duration;

/// What the program sets: a little longer and a little shorter than the policy, which says 61, 13 and 4.
const OWN: &str = "idle=600 interval=5 count=8";
/// What that and the policy make.
const SETTLED: [&str; 4] = ["1 600 5 8 0", "1 61 5 4 0", "1 600 13 8 0", "1 61 13 4 0"];
const OURS: [&str; 4] = ["1 61 13 4 0"; 4];
/// What a switch that the program has turned off makes.
const OFF: [&str; 4] = ["0 61 13 4 0", "1 61 13 4 0", "0 61 13 4 0", "1 61 13 4 0"];

/// What `libc`'s `targets/sockets.c` has under each mode where each of these phrases shows one socket.
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
fn a_program_that_sets_nothing_has_ours() {
    builds!();
    let phrases = [
        "tcp connect show",
        "tcp6 connect show",
        "tcp listen show",
        "tcp listen client accept show",
    ];
    expect_in_every_build(&phrases, &[], OURS);
}

#[test]
fn a_client_may_set_its_options_before_and_after_it_connects() {
    builds!();
    let phrases = [
        "tcp OWN connect show",
        "tcp connect OWN show",
        "tcp idle=600 connect interval=5 count=8 show",
        "tcp6 OWN connect show",
        "tcp dup=70 OWN connect show",
        "raw-tcp OWN connect show",
    ];
    expect_in_every_build(&phrases, &[], SETTLED);
    let twice = ["1 30 5 8 0", "1 30 5 4 0", "1 61 13 8 0", "1 61 13 4 0"];
    expect_in_every_build(&["tcp connect OWN idle=61 idle=30 show"], &[], twice);
}

/// As the library does, whose own calls pass.
#[test]
fn an_option_with_room_for_two_numbers_is_judged() {
    builds!();
    let expected = ["1 600 13 4 0", "1 61 13 4 0", "1 600 13 4 0", "1 61 13 4 0"];
    let phrases = ["tcp wide-idle=600 connect show", "tcp connect wide-idle=600 show"];
    expect_in_every_build(&phrases, &[], expected);
}

#[test]
fn a_server_may_set_its_options_on_the_listener_or_on_what_it_accepts() {
    builds!();
    let phrases = [
        "tcp OWN listen client accept show",
        "tcp listen OWN client accept show",
        "tcp listen client accept OWN show",
        "tcp idle=600 listen client accept interval=5 count=8 show",
    ];
    expect_in_every_build(&phrases, &[], SETTLED);
}

#[test]
fn keepalive_can_be_switched_off_where_the_mode_lets_it() {
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
    expect_in_every_build(&again, &[], OURS);
}

/// Rules keep the filter from answering by itself: the supervisor judges each call.
#[test]
fn a_rule_of_no_concern_changes_nothing_about_the_mode() {
    builds!();
    let rules = ["--rule", "connect 192.0.2.0/24 off"];
    let phrases = [
        "tcp OWN connect show",
        "tcp connect OWN show",
        "tcp OWN listen client accept show",
        "tcp listen OWN client accept show",
        "tcp listen client accept OWN show",
    ];
    expect_in_every_build(&phrases, &rules, SETTLED);
    let off = [
        "tcp keepalive=0 connect show",
        "tcp connect keepalive=0 show",
        "tcp keepalive=0 listen client accept show",
        "tcp listen client accept keepalive=0 show",
    ];
    expect_in_every_build(&off, &rules, OFF);
}

#[test]
fn a_mode_of_a_rule_is_of_the_connections_that_the_rule_is_for() {
    let keepalive = Keepalive::new();
    let rule = "connect 127.0.0.0/8 idle=61 interval=13 count=4 mode=";
    for (mode, expected) in Mode::ALL.into_iter().zip(SETTLED) {
        let rules = ["--rule", &format!("{rule}{}", mode.name())];
        for words in ["tcp OWN connect show", "tcp connect OWN show"] {
            let words = words.replace("OWN", OWN);
            assert_eq!(
                keepalive.words(&rules, &words),
                format!("connect: 0\ntcp: {expected}\n"),
                "{mode:?} {words}"
            );
        }
        // Over IPv6 the default counts, whose mode is fill.
        let words = format!("tcp6 connect {OWN} show");
        assert_eq!(
            keepalive.words(&rules, &words),
            format!("connect: 0\ntcp6: {}\n", SETTLED[0]),
            "{mode:?}"
        );
    }
}

#[test]
fn a_user_timeout_of_the_program_meets_ours() {
    let ours = ["--user-timeout", "30s"];
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
        expect(Libc::Host, &phrases.each_ref().map(String::as_str), &ours, expected);
    }
}

/// Ours comes when the connection is seen to be complete, which may be after the program has set its own.
#[test]
fn a_user_timeout_of_a_client_meets_ours() {
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
