//! What rules can set: everything that the default can, on the connections that they are for.

use super::{RULED, RULED_TOO, line, netns};
use crate::support::engine::Engine;
use crate::support::netns::NetNs;
use crate::support::target::{TREATED, UNTOUCHED};
use keepalive_policy::SocketOption::{Count, Idle, Interval};
use keepalive_policy::preset::{self, Remedy};

const HERE: &str = "10.1.2.3:80";

/// What tries rules with this engine: the words for `targets/meet.py`, and what the connecting and the accepting end have.
fn expecting(engine: Engine) -> impl Fn(&str, &[&str], &str, &str) {
    move |rules, words, connect, accept| {
        let printed = NetNs::new(engine).with("KEEPALIVE_RULES", rules).meet(words);
        assert_eq!(
            printed,
            line(words[words.len() - 1], connect, accept),
            "{rules} {words:?}"
        );
    }
}

/// The number behind `name=` in the part of a line that begins with `end`.
fn number(printed: &str, end: &str, name: &str) -> u32 {
    let line = printed.lines().find(|line| line.contains(name)).unwrap_or_default();
    let part = line.split(end).nth(1).unwrap_or_default();
    let value = part.split(&format!("{name}=")).nth(1).unwrap_or_default();
    let digits = value.split(' ').next().unwrap_or_default();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no {name} behind {end} in {printed}"))
}

/// What `targets/meet.py` prints of further options, with the library.
fn extras(rules: &str) -> String {
    let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", rules);
    netns.meet(&["--extras", HERE])
}

with_the_library_and_the_kernel! {
    every_setting_of_a_rule_is_set
    keepalive_can_be_left_as_it_is
    a_preset_stands_for_its_settings
    a_user_timeout_is_of_the_connections_that_the_rule_is_for
    what_the_program_sets_stays_under_a_rule
    a_mode_is_of_the_connections_that_the_rule_is_for
}

fn every_setting_of_a_rule_is_set(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    for endpoint in [HERE, "[2001:db8::1]:80", "[::ffff:10.1.2.3]:80"] {
        let all = "idle=2m interval=7 count=3 user-timeout=1500ms";
        for flags in [&[][..], &["--non-blocking"]] {
            let words = [flags, &[endpoint]].concat();
            expect_under(&format!("connect {all}"), &words, "1 120 7 3 1500", TREATED);
            expect_under(&format!("accept {all}"), &words, TREATED, "1 120 7 3 1500");
        }
    }
}

fn keepalive_can_be_left_as_it_is(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    expect_under("connect keepalive=leave idle=30", &[HERE], "0 30 75 9 0", TREATED);
    expect_under("accept keepalive=leave", &[HERE], TREATED, UNTOUCHED);
    let own = ["--own", "1.9=1", HERE];
    expect_under("connect keepalive=leave idle=30", &own, RULED, TREATED);
}

fn a_preset_stands_for_its_settings(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let Some(Remedy::Settings(settings)) = preset::remedy(b"aws-nlb") else {
        panic!("keepalive helps there");
    };
    let option = |option| settings.number(option).expect("it sets all three");
    let (idle, interval, count) = (option(Idle), option(Interval), option(Count));
    let expected = format!("1 {idle} {interval} {count} 0");
    expect_under("connect preset=aws-nlb", &[HERE], &expected, TREATED);
    let expected = format!("1 30 {interval} {count} 0");
    expect_under("accept idle=30 preset=aws-nlb", &[HERE], TREATED, &expected);
}

fn a_user_timeout_is_of_the_connections_that_the_rule_is_for(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let auto = "user-timeout=auto idle=60 interval=10 count=6";
    expect_under(&format!("connect {auto}"), &[HERE], "1 60 10 6 120000", TREATED);
    expect_under(&format!("accept :80 {auto}"), &[HERE], TREATED, "1 60 10 6 120000");
    expect_under(&format!("accept :81 {auto}"), &[HERE], TREATED, TREATED);
    // That of the default, which a listener has, is taken back where a rule is for the connection.
    expect_under(
        "default user-timeout=9s; accept idle=30",
        &[HERE],
        "1 61 13 4 9000",
        RULED,
    );
    expect_under(
        "default user-timeout=9s; connect off",
        &[HERE],
        UNTOUCHED,
        "1 61 13 4 9000",
    );
    expect_under(
        "accept off; default user-timeout=9s",
        &[HERE],
        "1 61 13 4 9000",
        UNTOUCHED,
    );
    expect_under(
        "accept user-timeout=off; default user-timeout=9s",
        &[HERE],
        "1 61 13 4 9000",
        "1 7200 75 9 0",
    );
    // What is left open is counted as the kernel has it: 7200 + 75 × 9.
    expect_under("accept user-timeout=auto", &[HERE], TREATED, "1 7200 75 9 7875000");
}

fn what_the_program_sets_stays_under_a_rule(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    expect_under("connect idle=30", &["--own", "6.4=5", HERE], "1 5 75 9 0", TREATED);
    expect_under("connect idle=30", &["--own", "6.4=61", HERE], "1 61 75 9 0", TREATED);
    expect_under("connect idle=30", &["--own", "6.4=30", HERE], RULED, TREATED);
    expect_under("connect off", &["--own", "6.4=61", HERE], "0 61 75 9 0", TREATED);
    let off = if engine.knows_what_was_switched_off() {
        "0 30 75 9 0"
    } else {
        RULED
    };
    expect_under("connect idle=30", &["--own", "1.9=0", HERE], off, TREATED);
    expect_under(
        "connect user-timeout=9s",
        &["--own", "6.18=5000", HERE],
        "1 7200 75 9 5000",
        TREATED,
    );
}

/// The mode of the rule, and no other, decides about what the program has set before the peer was known.
fn a_mode_is_of_the_connections_that_the_rule_is_for(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let own = ["--own", "6.4=5", "--own", "6.5=100", HERE];
    expect_under("connect idle=30 interval=30 mode=fill", &own, "1 5 100 9 0", TREATED);
    expect_under("connect idle=30 interval=30 mode=cap", &own, "1 5 30 9 0", TREATED);
    expect_under("connect idle=30 interval=30 mode=floor", &own, "1 30 100 9 0", TREATED);
    expect_under("connect idle=30 interval=30 mode=enforce", &own, "1 30 30 9 0", TREATED);
    expect_under(
        "connect :81 idle=30 interval=30 mode=enforce",
        &own,
        "1 5 100 4 0",
        TREATED,
    );
    expect_under(
        "connect mode=enforce",
        &["--own", "1.9=0", HERE],
        "1 7200 75 9 0",
        TREATED,
    );
    for mode in ["cap", "floor", "enforce"] {
        let default = format!("default mode={mode}; ");
        expect_under(
            &format!("{default}connect idle=30 mode=fill"),
            &own,
            "1 5 100 9 0",
            TREATED,
        );
        expect_under(&format!("{default}connect idle=30"), &own, "1 5 100 9 0", TREATED);
        expect_under(&format!("{default}connect off"), &own, "0 5 100 9 0", TREATED);
        expect_under(
            &format!("{default}connect :81 idle=30"),
            &["--own", "6.4=61", HERE],
            TREATED,
            TREATED,
        );
    }
    let default = "default mode=cap; connect idle=90 interval=90 mode=cap";
    expect_under(
        default,
        &["--own", "6.4=80", "--own", "6.5=100", HERE],
        "1 80 90 9 0",
        TREATED,
    );
    expect_under("default mode=enforce; connect :81 off", &own, TREATED, TREATED);
}

#[test]
fn tries_to_connect_are_limited_by_the_rule_for_the_peer() {
    netns!();
    let rules = "connect 192.0.2.0/24 syn-count=1; connect idle=30";
    let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", rules);
    // The kernel's six tries would take two minutes.
    let printed = netns.under(&["timeout", "20"]).meet(&["--silent", "192.0.2.1:80"]);
    let seconds = printed
        .strip_prefix("192.0.2.1:80 Connection timed out: ")
        .map(str::trim);
    let seconds: f64 = seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_else(|| panic!("{printed}"));
    assert!(seconds < 10.0, "{printed}");
    let printed = extras("connect :80 syn-count=2");
    assert_eq!(number(&printed, "connect:", "syn-count"), 2, "{printed}");
    assert_ne!(number(&printed, "accept:", "syn-count"), 2, "{printed}");
}

#[test]
fn segments_are_limited_by_the_rule_for_the_connection() {
    netns!();
    // Both ends keep to what either announces, without the 12 bytes of the timestamps.
    for rules in [
        "connect :80 max-segment=700",
        "accept :80 max-segment=700",
        "default max-segment=700",
    ] {
        let printed = extras(rules);
        for end in ["connect:", "accept:"] {
            assert_eq!(number(&printed, end, "max-segment"), 688, "{rules}: {printed}");
        }
    }
    // The kernel gives no way back on every kind of socket: that of the default stays under a rule.
    let rules = "default max-segment=700; connect 10.0.0.0/8 idle=30";
    let printed = extras(rules);
    assert_eq!(number(&printed, "connect:", "max-segment"), 688, "{printed}");
}

#[test]
fn windows_are_limited_by_the_rule_for_the_connection() {
    netns!();
    for (rules, [connect, accept]) in [
        ("connect :80 window-clamp=9000", [true, false]),
        ("accept :80 window-clamp=9000", [false, true]),
        ("default window-clamp=9000", [true, true]),
    ] {
        let printed = extras(rules);
        for (end, limited) in [("connect:", connect), ("accept:", accept)] {
            assert_eq!(
                number(&printed, end, "window-clamp") == 9000,
                limited,
                "{rules}: {printed}"
            );
        }
    }
}

#[test]
fn only_listeners_wait_for_the_first_data() {
    netns!();
    for (rules, expected) in [
        ("default defer-accept=5", true),
        ("accept :80 defer-accept=5", true),
        ("accept defer-accept=5", true),
        ("accept :81 defer-accept=5", false),
        ("connect defer-accept=5", false),
    ] {
        let printed = extras(rules);
        // The kernel counts in retransmissions, and gives back a little more.
        let seconds = number(&printed, "accept:", "defer-accept");
        assert_eq!((5..10).contains(&seconds), expected, "{rules}: {printed}");
    }
    // A client that had it would delay its last ACK, and a server that speaks first would wait for it.
    let rules = "default defer-accept=5; connect idle=30; accept idle=40";
    expecting(Engine::Library)(rules, &[HERE], RULED, RULED_TOO);
}
