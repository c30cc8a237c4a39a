//! The four modes in programs that no library is loaded into, 64 and 32 bits (`modes.rs` has every moment at which a program
//! can set options).

use super::words_of;
use crate::support::target::{BUILDS, Libc, static_target};
use keepalive_policy::Mode;

/// What the program sets: a little longer and a little shorter than the policy, which says 61, 13 and 4.
const OWN: &str = "idle=600 interval=5 count=8";
/// What that and the policy make.
const SETTLED: [&str; 4] = ["1 600 5 8 0", "1 61 5 4 0", "1 600 13 8 0", "1 61 13 4 0"];
const OURS: [&str; 4] = ["1 61 13 4 0"; 4];
/// What a switch that the program has turned off makes.
const OFF: [&str; 4] = ["0 61 13 4 0", "1 61 13 4 0", "0 61 13 4 0", "1 61 13 4 0"];

/// Those whose every setsockopt(2) we are shown.
const NATIVE: [Libc; 2] = [Libc::Host, Libc::Musl];

/// What `targets/sockets.c` has under each mode where each of these phrases shows one socket, in these builds.
#[track_caller]
fn expect(builds: &[Libc], phrases: &[&str], expected: [&str; 4]) {
    let words = phrases.join(" ").replace("OWN", OWN);
    let mut wrong = Vec::new();
    for (mode, expected) in Mode::ALL.into_iter().zip(expected) {
        for libc in builds {
            let lines = words_of(&static_target(*libc, "sockets.c"), &["--mode", mode.name()], &words);
            let shown: Vec<&str> = lines.lines().filter(|line| !line.starts_with("connect: ")).collect();
            assert_eq!(shown.len(), phrases.len(), "{lines}");
            for (phrase, line) in phrases.iter().zip(shown) {
                if line.split_once(": ").is_none_or(|(_, has)| has != expected) {
                    wrong.push(format!("{mode:?} {libc:?} {phrase}: {line}, not {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_set_before_a_connection_is_established_is_judged_then() {
    kernel!();
    builds!();
    let phrases = [
        "tcp OWN connect show",
        "tcp6 OWN connect show",
        "raw-tcp OWN connect show",
        "nonblock tcp OWN connect writable show",
        "tcp OWN listen client accept show",
        "tcp listen OWN client accept show",
        "tcp6 OWN listen client accept show",
    ];
    expect(&BUILDS, &phrases, SETTLED);
    // What was switched off before looks like what was never switched on.
    let phrases = [
        "tcp keepalive=0 connect show",
        "tcp keepalive=1 keepalive=0 connect show",
        "tcp keepalive=0 listen client accept show",
        "tcp listen keepalive=0 client accept show",
    ];
    expect(&BUILDS, &phrases, OURS);
}

#[test]
fn what_is_set_on_a_connection_is_judged_at_once() {
    kernel!();
    builds!();
    let phrases = [
        "tcp connect OWN show",
        "tcp idle=600 connect interval=5 count=8 show",
        "tcp6 connect OWN show",
        "nonblock tcp connect writable OWN show",
        "tcp dup=70 connect OWN show",
        "tcp listen client accept OWN show",
        "tcp6 idle=600 listen client accept interval=5 count=8 show",
    ];
    expect(&NATIVE, &phrases, SETTLED);
    let phrases = [
        "tcp connect keepalive=0 show",
        "tcp connect keepalive=1 keepalive=0 show",
        "tcp listen client accept keepalive=0 show",
    ];
    expect(&NATIVE, &phrases, OFF);
    expect(&NATIVE, &["tcp connect keepalive=0 keepalive=7 show"], OURS);
    let twice = ["1 30 5 8 0", "1 30 5 4 0", "1 61 13 8 0", "1 61 13 4 0"];
    expect(&NATIVE, &["tcp connect OWN idle=61 idle=30 show"], twice);
}

/// The kernel shows us the calls of native programs only (`do_sock_setsockopt` in `net/socket.c`).
#[test]
fn a_32_bit_program_is_not_asked_after_the_connection_is_established() {
    kernel!();
    builds!();
    let foreign = [Libc::Cross("i686-linux-gnu-gcc")];
    let phrases = ["tcp connect OWN show", "tcp listen client accept OWN show"];
    expect(&foreign, &phrases, ["1 600 5 8 0"; 4]);
    expect(&foreign, &["tcp connect keepalive=0 show"], ["0 61 13 4 0"; 4]);
}

#[test]
fn a_mode_of_a_rule_is_of_the_connections_that_the_rule_is_for() {
    kernel!();
    builds!();
    for (mode, expected) in Mode::ALL.into_iter().zip(SETTLED) {
        let rule = format!("connect 127.0.0.0/8 idle=61 interval=13 count=4 mode={}", mode.name());
        for libc in NATIVE {
            let words = format!("tcp {OWN} connect show tcp connect {OWN} show tcp6 connect {OWN} show");
            assert_eq!(
                words_of(&static_target(libc, "sockets.c"), &["--rule", &rule], &words),
                // Over IPv6 the default counts, whose mode is fill.
                format!(
                    "connect: 0\ntcp: {expected}\nconnect: 0\ntcp: {expected}\nconnect: 0\ntcp6: {}\n",
                    SETTLED[0]
                ),
                "{mode:?} {libc:?}"
            );
        }
    }
}
