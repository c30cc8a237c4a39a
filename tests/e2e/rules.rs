//! Rules: every form of them, read back from real sockets at both ends of a connection, over IPv4, IPv6
//! and IPv4 in IPv6.

mod settings;
mod sources;

use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::netns::{NetNs, meet};
use crate::support::process::install;
use crate::support::target::{TREATED, UNTOUCHED};
use std::os::unix::fs::symlink;
use std::path::Path;

/// What a connection has that a rule `idle=30` is for: the rule stands alone, so that the rest is the kernel's.
const RULED: &str = "1 30 75 9 0";
const RULED_TOO: &str = "1 40 75 9 0";

/// Rules, an endpoint (see `targets/meet.py`), and what the connecting and the accepting end then have.
pub type Row = (&'static str, &'static str, &'static str, &'static str);

/// Returns from the test where there are no namespaces.
macro_rules! netns {
    () => {
        if let Some(why) = $crate::support::netns::NetNs::missing() {
            skip!("{why}");
        }
    };
}
use netns;

/// Rules `idle=30` and `idle=40` over the policy 61/13/4.
pub const ROWS: &[Row] = &[
    // The direction.
    ("connect idle=30", "10.1.2.3:80", RULED, TREATED),
    ("connect idle=30", "[2001:db8::1]:80", RULED, TREATED),
    ("connect idle=30", "[::ffff:10.1.2.3]:80", RULED, TREATED),
    ("accept idle=30", "10.1.2.3:80", TREATED, RULED),
    ("accept idle=30", "[2001:db8::1]:80", TREATED, RULED),
    ("accept idle=30", "[::ffff:10.1.2.3]:80", TREATED, RULED),
    ("connect idle=30; accept idle=40", "10.1.2.3:80", RULED, RULED_TOO),
    ("connect * idle=30; accept * idle=40", "[fd00::1]:80", RULED, RULED_TOO),
    ("program python3 idle=30", "10.1.2.3:80", RULED, RULED),
    // The peer's address.
    ("connect 10.1.2.3 idle=30", "10.1.2.3:80", RULED, TREATED),
    ("connect 10.1.2.3 idle=30", "10.2.0.1:80", TREATED, TREATED),
    ("connect 10.1.2.3/32 idle=30", "10.1.2.3:80", RULED, TREATED),
    ("accept 10.1.2.3 idle=30", "10.1.2.3:80", TREATED, RULED),
    ("accept 10.1.2.3 idle=30", "10.2.0.1:80", TREATED, TREATED),
    ("connect 10.1.0.0/16 idle=30", "10.1.2.3:80", RULED, TREATED),
    ("connect 10.1.0.0/16 idle=30", "10.2.0.1:80", TREATED, TREATED),
    ("connect 10.0.0.0/14 idle=30", "10.2.0.1:80", RULED, TREATED),
    ("accept 10.0.0.0/8 idle=30", "10.1.2.3:80", TREATED, RULED),
    ("accept 10.0.0.0/8 idle=30", "172.16.0.1:80", TREATED, TREATED),
    ("connect 172.16.0.0/12 idle=30", "172.16.0.1:80", RULED, TREATED),
    ("connect 0.0.0.0/0 idle=30", "172.16.0.1:80", RULED, TREATED),
    ("connect 0.0.0.0/0 idle=30", "[2001:db8::1]:80", TREATED, TREATED),
    ("connect 2001:db8::1 idle=30", "[2001:db8::1]:80", RULED, TREATED),
    ("connect [2001:db8::1] idle=30", "[2001:db8::1]:80", RULED, TREATED),
    ("connect [2001:db8::1] idle=30", "[2001:db8:1::1]:80", TREATED, TREATED),
    ("connect 2001:db8::/32 idle=30", "[2001:db8:1::1]:80", RULED, TREATED),
    (
        "connect [2001:db8::/48] idle=30",
        "[2001:db8:1::1]:80",
        TREATED,
        TREATED,
    ),
    ("accept [2001:db8::/32] idle=30", "[2001:db8::1]:80", TREATED, RULED),
    ("accept [2001:db8::/32] idle=30", "[fd00::1]:80", TREATED, TREATED),
    ("connect [2000::/3] idle=30", "[2001:db8::1]:80", RULED, TREATED),
    ("connect [2000::/3] idle=30", "[fd00::1]:80", TREATED, TREATED),
    // IPv4 in IPv6 is IPv4, on either side.
    ("connect 10.0.0.0/8 idle=30", "[::ffff:10.1.2.3]:80", RULED, TREATED),
    ("accept 10.1.2.3 idle=30", "[::ffff:10.1.2.3]:80", TREATED, RULED),
    ("connect ::ffff:10.1.2.3 idle=30", "10.1.2.3:80", RULED, TREATED),
    ("connect [::ffff:10.0.0.0/104] idle=30", "10.1.2.3:80", RULED, TREATED),
    ("accept [::ffff:0:0/96] idle=30", "10.1.2.3:80", TREATED, RULED),
    ("accept [::ffff:0:0/96] idle=30", "[2001:db8::1]:80", TREATED, TREATED),
    (
        "connect [2001:db8::/32] idle=30",
        "[::ffff:10.1.2.3]:80",
        TREATED,
        TREATED,
    ),
    // The port: the peer's on connect, the local one on accept.
    ("connect :80 idle=30", "10.1.2.3:80", RULED, TREATED),
    ("connect :80 idle=30", "10.1.2.3:81", TREATED, TREATED),
    ("connect *:80 idle=30", "[2001:db8::1]:80", RULED, TREATED),
    ("connect :7000 idle=30", "7000>10.1.2.3:80", TREATED, TREATED),
    ("accept :80 idle=30", "10.1.2.3:80", TREATED, RULED),
    ("accept *:80 idle=30", "[::ffff:10.1.2.3]:80", TREATED, RULED),
    ("accept :81 idle=30", "10.1.2.3:80", TREATED, TREATED),
    ("accept :7000 idle=30", "7000>[2001:db8::1]:80", TREATED, TREATED),
    ("connect :8000-8999 idle=30", "10.1.2.3:7999", TREATED, TREATED),
    ("connect :8000-8999 idle=30", "10.1.2.3:8000", RULED, TREATED),
    ("accept :8000-8999 idle=30", "[2001:db8::1]:8999", TREATED, RULED),
    ("accept :8000-8999 idle=30", "[2001:db8::1]:9000", TREATED, TREATED),
    ("accept :0-65535 idle=30", "10.1.2.3:80", TREATED, RULED),
    // Both.
    ("connect 10.0.0.0/8:5432 idle=30", "10.1.2.3:5432", RULED, TREATED),
    ("connect 10.0.0.0/8:5432 idle=30", "10.1.2.3:5433", TREATED, TREATED),
    ("connect 10.0.0.0/8:5432 idle=30", "172.16.0.1:5432", TREATED, TREATED),
    (
        "connect [2001:db8::/32]:443 idle=30",
        "[2001:db8::1]:443",
        RULED,
        TREATED,
    ),
    (
        "accept [2001:db8::/32]:443 idle=30",
        "[2001:db8::1]:443",
        TREATED,
        RULED,
    ),
    ("accept 10.0.0.0/8:400-500 idle=30", "10.1.2.3:443", TREATED, RULED),
    // The program.
    ("program python3 connect :80 idle=30", "10.1.2.3:80", RULED, TREATED),
    (
        "program python3 accept 10.0.0.0/8 idle=30",
        "10.1.2.3:80",
        TREATED,
        RULED,
    ),
    ("program python idle=30", "10.1.2.3:80", TREATED, TREATED),
    ("program /usr/bin/python3 idle=30", "10.1.2.3:80", TREATED, TREATED),
    ("program java connect idle=30", "10.1.2.3:80", TREATED, TREATED),
    // Off.
    ("connect off", "10.1.2.3:80", UNTOUCHED, TREATED),
    ("accept off", "[2001:db8::1]:80", TREATED, UNTOUCHED),
    ("connect :80 off", "[::ffff:10.1.2.3]:80", UNTOUCHED, TREATED),
    ("accept 10.0.0.0/8 off", "10.1.2.3:80", TREATED, UNTOUCHED),
    ("program python3 off", "10.1.2.3:80", UNTOUCHED, UNTOUCHED),
    ("program sshd off", "10.1.2.3:80", TREATED, TREATED),
    (
        "connect :80 idle=30; program python3 off",
        "10.1.2.3:80",
        RULED,
        UNTOUCHED,
    ),
    // The first that matches.
    ("connect :80 idle=30; connect idle=40", "10.1.2.3:80", RULED, TREATED),
    (
        "connect :80 idle=30; connect idle=40",
        "10.1.2.3:81",
        RULED_TOO,
        TREATED,
    ),
    ("connect idle=30; connect :80 idle=40", "10.1.2.3:80", RULED, TREATED),
    (
        "accept :81 idle=30; accept 10.0.0.0/8 idle=40",
        "10.1.2.3:80",
        TREATED,
        RULED_TOO,
    ),
    ("connect :80 off; connect idle=40", "10.1.2.3:80", UNTOUCHED, TREATED),
    (
        "program java idle=30; connect idle=40",
        "10.1.2.3:80",
        RULED_TOO,
        TREATED,
    ),
    // Alone: nothing of the default shines through.
    ("connect interval=5", "10.1.2.3:80", "1 7200 5 9 0", TREATED),
    ("accept count=3", "10.1.2.3:80", TREATED, "1 7200 75 3 0"),
    ("connect keepalive=on", "10.1.2.3:80", "1 7200 75 9 0", TREATED),
    ("accept mode=fill", "10.1.2.3:80", TREATED, "1 7200 75 9 0"),
];

fn line(endpoint: &str, connect: &str, accept: &str) -> String {
    format!("{endpoint} connect: {connect} accept: {accept}\n")
}

/// Whether one of `rules` asks who connects.
fn asks_for_clients(rules: &str) -> bool {
    ["accept 1", "accept [", "accept ::"]
        .iter()
        .any(|accept| rules.contains(accept))
}

/// Tries all rows with this engine. The supervisor judges a listener, before it has any client.
pub fn check(engine: Engine, flags: &[&str]) {
    let mut wrong = Vec::new();
    for rows in ROWS.chunk_by(|one, next| one.0 == next.0) {
        let rules = rows[0].0;
        let words: Vec<&str> = flags.iter().copied().chain(rows.iter().map(|row| row.1)).collect();
        let printed = NetNs::new(engine).with("KEEPALIVE_RULES", rules).meet(&words);
        assert_eq!(printed.lines().count(), rows.len(), "{rules:?}: {printed}");
        for (printed, &(_, endpoint, connect, accept)) in printed.lines().zip(rows) {
            let is_unknown = engine == Engine::Supervisor && asks_for_clients(rules);
            let accept = if is_unknown { TREATED } else { accept };
            if printed != line(endpoint, connect, accept).trim_end() {
                wrong.push(format!("{rules:?}: {printed}, not connect: {connect} accept: {accept}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

with_the_library_and_the_kernel! {
    every_form_of_rule_is_for_the_connections_that_it_names
    a_connect_that_does_not_wait_has_the_same_rules
    a_program_is_known_by_the_name_of_its_file
    a_script_has_the_name_of_its_file
    a_hundred_rules_are_tried_in_order
}

fn every_form_of_rule_is_for_the_connections_that_it_names(engine: Engine) {
    netns!();
    check(engine, &[]);
}

fn a_connect_that_does_not_wait_has_the_same_rules(engine: Engine) {
    netns!();
    check(engine, &["--non-blocking"]);
}

fn a_program_is_known_by_the_name_of_its_file(engine: Engine) {
    netns!();
    let rules = "program known accept idle=30; program known connect idle=40; connect off";
    let run = |program: &Path, netns: &NetNs, words: &[&str]| netns.run(program, words);

    let netns = NetNs::new(engine).with("KEEPALIVE_RULES", rules);
    let copy = netns.path("known");
    install(
        &Path::new(PYTHON).canonicalize().expect("it was there before"),
        &copy,
        0o755,
    );
    let meet_script = meet();
    let script = meet_script.to_str().expect("a path of ours");
    let words = ["-I", "-S", script, "10.1.2.3:80"];
    assert_eq!(
        run(&copy, &netns, &words),
        line("10.1.2.3:80", RULED_TOO, RULED),
        "a renamed copy"
    );

    let link = netns.path("unknown");
    symlink(&copy, &link).expect("a link in a directory of ours");
    assert_eq!(
        run(&link, &netns, &words),
        line("10.1.2.3:80", UNTOUCHED, TREATED),
        "a link's name is its own"
    );
}

fn a_script_has_the_name_of_its_file(engine: Engine) {
    netns!();
    let netns = NetNs::new(engine).with("KEEPALIVE_RULES", "program script connect idle=30; program python3 off");
    let text = std::fs::read_to_string(meet()).expect("a file of the repository");
    let source = netns.write("source", format!("#!{PYTHON} -IS\n{text}"));
    let script = netns.path("script");
    install(&source, &script, 0o755);
    assert_eq!(
        netns.run(&script, &["10.1.2.3:80"]),
        line("10.1.2.3:80", RULED, TREATED)
    );
}

fn a_hundred_rules_are_tried_in_order(engine: Engine) {
    netns!();
    let mut rules: Vec<String> = (1..=98).map(|port| format!("connect :{port} idle={port}")).collect();
    rules.push("connect :7000-7999 idle=99".to_owned());
    rules.push("accept 10.0.0.0/8 idle=100".to_owned());
    let netns = NetNs::new(engine).with("KEEPALIVE_RULES", rules.join("; "));
    let endpoints = [
        "10.1.2.3:1",
        "10.1.2.3:98",
        "10.1.2.3:7001",
        "10.1.2.3:99",
        "[fd00::1]:50",
    ];
    let hundred = "1 100 75 9 0";
    let expected = [
        line(endpoints[0], "1 1 75 9 0", hundred),
        line(endpoints[1], "1 98 75 9 0", hundred),
        line(endpoints[2], "1 99 75 9 0", hundred),
        line(endpoints[3], TREATED, hundred),
        line(endpoints[4], "1 50 75 9 0", TREATED),
    ];
    assert_eq!(netns.meet(&endpoints), expected.concat());
}
