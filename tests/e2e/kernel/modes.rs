//! The four modes in static programs, 64 and 32 bits (`modes.rs` tests every moment at which a program can set
//! options).

use super::words_of;
use crate::support::target::{BUILDS, Libc, static_target};
use keepalive_policy::Mode;

/// The program's values: a little above and below the policy's, which are 61, 13 and 4.
const OWN: &str = "idle=600 interval=5 count=8";
/// The results of these values and the policy, in the order of the modes.
const RESOLVED: [&str; 4] = ["1 600 5 8 0", "1 61 5 4 0", "1 600 13 8 0", "1 61 13 4 0"];
const POLICY_VALUES: [&str; 4] = ["1 61 13 4 0"; 4];
/// The results after the program has switched keepalive off.
const OFF: [&str; 4] = ["0 61 13 4 0", "1 61 13 4 0", "0 61 13 4 0", "1 61 13 4 0"];

/// The builds whose setsockopt(2) calls eBPF programs see.
const NATIVE: [Libc; 2] = [Libc::Host, Libc::Musl];

/// Expects these options under each mode, in these builds; each phrase for `targets/sockets.c` prints one socket.
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
fn modes_apply_at_establishment_to_options_set_before() {
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
    expect(&BUILDS, &phrases, RESOLVED);
    // Keepalive that was switched off before looks the same as keepalive that was never set.
    let phrases = [
        "tcp keepalive=0 connect show",
        "tcp keepalive=1 keepalive=0 connect show",
        "tcp keepalive=0 listen client accept show",
        "tcp listen keepalive=0 client accept show",
    ];
    expect(&BUILDS, &phrases, POLICY_VALUES);
}

#[test]
fn modes_apply_immediately_to_options_set_on_a_connection() {
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
    expect(&NATIVE, &phrases, RESOLVED);
    let phrases = [
        "tcp connect keepalive=0 show",
        "tcp connect keepalive=1 keepalive=0 show",
        "tcp listen client accept keepalive=0 show",
    ];
    expect(&NATIVE, &phrases, OFF);
    expect(&NATIVE, &["tcp connect keepalive=0 keepalive=7 show"], POLICY_VALUES);
    let twice = ["1 30 5 8 0", "1 30 5 4 0", "1 61 13 8 0", "1 61 13 4 0"];
    expect(&NATIVE, &["tcp connect OWN idle=61 idle=30 show"], twice);
}

/// eBPF programs see only calls of native programs (`do_sock_setsockopt` in `net/socket.c`).
#[test]
fn modes_do_not_apply_to_later_calls_of_a_32_bit_program() {
    kernel!();
    builds!();
    let foreign = [Libc::Cross("i686-linux-gnu-gcc")];
    let phrases = ["tcp connect OWN show", "tcp listen client accept OWN show"];
    expect(&foreign, &phrases, ["1 600 5 8 0"; 4]);
    expect(&foreign, &["tcp connect keepalive=0 show"], ["0 61 13 4 0"; 4]);
}

#[test]
fn mode_of_a_rule_applies_only_to_matching_connections() {
    kernel!();
    builds!();
    for (mode, expected) in Mode::ALL.into_iter().zip(RESOLVED) {
        let rule = format!("connect 127.0.0.0/8 idle=61 interval=13 count=4 mode={}", mode.name());
        for libc in NATIVE {
            let words = format!("tcp {OWN} connect show tcp connect {OWN} show tcp6 connect {OWN} show");
            assert_eq!(
                words_of(&static_target(libc, "sockets.c"), &["--rule", &rule], &words),
                // For IPv6 the default applies, whose mode is fill.
                format!(
                    "connect: 0\ntcp: {expected}\nconnect: 0\ntcp: {expected}\nconnect: 0\ntcp6: {}\n",
                    RESOLVED[0]
                ),
                "{mode:?} {libc:?}"
            );
        }
    }
}
