//! The settings of rules: every setting that the default can have.

use super::{RULED, RULED_TOO, line, netns};
use crate::support::engine::Engine;
use crate::support::netns::NetNs;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use keepalive_policy::SocketOption::{Count, Idle, Interval};
use keepalive_policy::preset::{self, Remedy};

const HERE: &str = "10.1.2.3:80";

/// Returns a function that tests rules with this engine: it takes the rules, the arguments for `targets/meet.py`, and
/// the expected options of the connecting and the accepting end.
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

/// Returns the number after `name=` in the part of the output that begins with `end`.
fn number(printed: &str, end: &str, name: &str) -> u32 {
    let line = printed.lines().find(|line| line.contains(name)).unwrap_or_default();
    let part = line.split(end).nth(1).unwrap_or_default();
    let value = part.split(&format!("{name}=")).nth(1).unwrap_or_default();
    let digits = value.split(' ').next().unwrap_or_default();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no {name} behind {end} in {printed}"))
}

/// Returns the further options that `targets/meet.py` prints with the library.
fn extras(rules: &str) -> String {
    let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", rules);
    netns.meet(&["--extras", HERE])
}

under_preload_and_cgroup! {
    every_setting_of_a_rule_is_set
    keepalive_leave_keeps_keepalive
    preset_sets_its_settings
    user_timeout_of_a_rule_applies_only_to_matching_connections
    options_set_by_the_program_stay_under_a_rule
    mode_of_a_rule_applies_only_to_matching_connections
}

fn every_setting_of_a_rule_is_set(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    for endpoint in [HERE, "[2001:db8::1]:80", "[::ffff:10.1.2.3]:80"] {
        let all = "idle=2m interval=7 count=3 user-timeout=1500ms";
        for flags in [&[][..], &["--non-blocking"]] {
            let words = [flags, &[endpoint]].concat();
            expect_under(&format!("connect {all}"), &words, "1 120 7 3 1500", POLICY_VALUES);
            expect_under(&format!("accept {all}"), &words, POLICY_VALUES, "1 120 7 3 1500");
        }
    }
}

fn keepalive_leave_keeps_keepalive(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    expect_under("connect keepalive=leave idle=30", &[HERE], "0 30 75 9 0", POLICY_VALUES);
    expect_under("accept keepalive=leave", &[HERE], POLICY_VALUES, KERNEL_DEFAULTS);
    let own = ["--own", "1.9=1", HERE];
    expect_under("connect keepalive=leave idle=30", &own, RULED, POLICY_VALUES);
}

fn preset_sets_its_settings(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let Some(Remedy::Settings(settings)) = preset::remedy(b"aws-nlb") else {
        panic!("keepalive helps there");
    };
    let option = |option| settings.number(option).expect("it sets all three");
    let (idle, interval, count) = (option(Idle), option(Interval), option(Count));
    let expected = format!("1 {idle} {interval} {count} 0");
    expect_under("connect preset=aws-nlb", &[HERE], &expected, POLICY_VALUES);
    let expected = format!("1 30 {interval} {count} 0");
    expect_under("accept idle=30 preset=aws-nlb", &[HERE], POLICY_VALUES, &expected);
}

fn user_timeout_of_a_rule_applies_only_to_matching_connections(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let auto = "user-timeout=auto idle=60 interval=10 count=6";
    expect_under(&format!("connect {auto}"), &[HERE], "1 60 10 6 120000", POLICY_VALUES);
    expect_under(
        &format!("accept :80 {auto}"),
        &[HERE],
        POLICY_VALUES,
        "1 60 10 6 120000",
    );
    expect_under(&format!("accept :81 {auto}"), &[HERE], POLICY_VALUES, POLICY_VALUES);
    // The user timeout that a listener has from the default is removed if a rule matches the connection.
    expect_under(
        "default user-timeout=9s; accept idle=30",
        &[HERE],
        "1 61 13 4 9000",
        RULED,
    );
    expect_under(
        "default user-timeout=9s; connect off",
        &[HERE],
        KERNEL_DEFAULTS,
        "1 61 13 4 9000",
    );
    expect_under(
        "accept off; default user-timeout=9s",
        &[HERE],
        "1 61 13 4 9000",
        KERNEL_DEFAULTS,
    );
    expect_under(
        "accept user-timeout=off; default user-timeout=9s",
        &[HERE],
        "1 61 13 4 9000",
        "1 7200 75 9 0",
    );
    // For options without a setting, the user timeout is computed from the kernel's defaults: 7200 + 75 × 9.
    expect_under(
        "accept user-timeout=auto",
        &[HERE],
        POLICY_VALUES,
        "1 7200 75 9 7875000",
    );
}

fn options_set_by_the_program_stay_under_a_rule(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    expect_under(
        "connect idle=30",
        &["--own", "6.4=5", HERE],
        "1 5 75 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect idle=30",
        &["--own", "6.4=61", HERE],
        "1 61 75 9 0",
        POLICY_VALUES,
    );
    expect_under("connect idle=30", &["--own", "6.4=30", HERE], RULED, POLICY_VALUES);
    expect_under("connect off", &["--own", "6.4=61", HERE], "0 61 75 9 0", POLICY_VALUES);
    let off = if engine.detects_early_off() {
        "0 30 75 9 0"
    } else {
        RULED
    };
    expect_under("connect idle=30", &["--own", "1.9=0", HERE], off, POLICY_VALUES);
    expect_under(
        "connect user-timeout=9s",
        &["--own", "6.18=5000", HERE],
        "1 7200 75 9 5000",
        POLICY_VALUES,
    );
}

/// The mode of the matching rule applies to options that the program has set before the peer was known.
fn mode_of_a_rule_applies_only_to_matching_connections(engine: Engine) {
    netns!();
    let expect_under = expecting(engine);
    let own = ["--own", "6.4=5", "--own", "6.5=100", HERE];
    expect_under(
        "connect idle=30 interval=30 mode=fill",
        &own,
        "1 5 100 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect idle=30 interval=30 mode=cap",
        &own,
        "1 5 30 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect idle=30 interval=30 mode=floor",
        &own,
        "1 30 100 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect idle=30 interval=30 mode=enforce",
        &own,
        "1 30 30 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect :81 idle=30 interval=30 mode=enforce",
        &own,
        "1 5 100 4 0",
        POLICY_VALUES,
    );
    expect_under(
        "connect mode=enforce",
        &["--own", "1.9=0", HERE],
        "1 7200 75 9 0",
        POLICY_VALUES,
    );
    for mode in ["cap", "floor", "enforce"] {
        let default = format!("default mode={mode}; ");
        expect_under(
            &format!("{default}connect idle=30 mode=fill"),
            &own,
            "1 5 100 9 0",
            POLICY_VALUES,
        );
        expect_under(&format!("{default}connect idle=30"), &own, "1 5 100 9 0", POLICY_VALUES);
        expect_under(&format!("{default}connect off"), &own, "0 5 100 9 0", POLICY_VALUES);
        expect_under(
            &format!("{default}connect :81 idle=30"),
            &["--own", "6.4=61", HERE],
            POLICY_VALUES,
            POLICY_VALUES,
        );
    }
    let default = "default mode=cap; connect idle=90 interval=90 mode=cap";
    expect_under(
        default,
        &["--own", "6.4=80", "--own", "6.5=100", HERE],
        "1 80 90 9 0",
        POLICY_VALUES,
    );
    expect_under(
        "default mode=enforce; connect :81 off",
        &own,
        POLICY_VALUES,
        POLICY_VALUES,
    );
}

#[test]
fn syn_count_of_a_rule_limits_connect() {
    netns!();
    let rules = "connect 192.0.2.0/24 syn-count=1; connect idle=30";
    let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", rules);
    // The kernel's default of six SYNs would take two minutes.
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
fn max_segment_of_a_rule_limits_segments() {
    netns!();
    // Both ends observe the smaller announced size, without the 12 bytes of the timestamps.
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
    // The kernel cannot reset the option on every kind of socket, so the default's value stays under a rule.
    let rules = "default max-segment=700; connect 10.0.0.0/8 idle=30";
    let printed = extras(rules);
    assert_eq!(number(&printed, "connect:", "max-segment"), 688, "{printed}");
}

#[test]
fn window_clamp_of_a_rule_limits_windows() {
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
fn defer_accept_is_set_only_on_listeners() {
    netns!();
    for (rules, expected) in [
        ("default defer-accept=5", true),
        ("accept :80 defer-accept=5", true),
        ("accept defer-accept=5", true),
        ("accept :81 defer-accept=5", false),
        ("connect defer-accept=5", false),
    ] {
        let printed = extras(rules);
        // The kernel stores a number of retransmissions, and returns a slightly longer time.
        let seconds = number(&printed, "accept:", "defer-accept");
        assert_eq!((5..10).contains(&seconds), expected, "{rules}: {printed}");
    }
    // On a client the option would delay the last ACK, and a server that sends first would wait for it.
    let rules = "default defer-accept=5; connect idle=30; accept idle=40";
    expecting(Engine::Library)(rules, &[HERE], RULED, RULED_TOO);
}
