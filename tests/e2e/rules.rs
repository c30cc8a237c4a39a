//! Rules: every form, read back from real sockets at both ends of a connection, over IPv4, IPv6 and IPv4-mapped
//! addresses.

mod settings;
mod sources;

use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::netns::{NetNs, meet};
use crate::support::process::install;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use std::os::unix::fs::symlink;
use std::path::Path;

/// The options of a connection that a rule `idle=30` matches: no other settings apply, so the others are the kernel's.
const RULED: &str = "1 30 75 9 0";
const RULED_TOO: &str = "1 40 75 9 0";

/// Rules, an endpoint (see `targets/meet.py`), and the expected options of the connecting and the accepting end.
pub type Row = (&'static str, &'static str, &'static str, &'static str);

/// Returns from the test where namespaces are impossible.
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
    ("connect idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    ("connect idle=30", "[2001:db8::1]:80", RULED, POLICY_VALUES),
    ("connect idle=30", "[::ffff:10.1.2.3]:80", RULED, POLICY_VALUES),
    ("accept idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    ("accept idle=30", "[2001:db8::1]:80", POLICY_VALUES, RULED),
    ("accept idle=30", "[::ffff:10.1.2.3]:80", POLICY_VALUES, RULED),
    ("connect idle=30; accept idle=40", "10.1.2.3:80", RULED, RULED_TOO),
    ("connect * idle=30; accept * idle=40", "[fd00::1]:80", RULED, RULED_TOO),
    ("program python3 idle=30", "10.1.2.3:80", RULED, RULED),
    // The peer's address.
    ("connect 10.1.2.3 idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    ("connect 10.1.2.3 idle=30", "10.2.0.1:80", POLICY_VALUES, POLICY_VALUES),
    ("connect 10.1.2.3/32 idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    ("accept 10.1.2.3 idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    ("accept 10.1.2.3 idle=30", "10.2.0.1:80", POLICY_VALUES, POLICY_VALUES),
    ("connect 10.1.0.0/16 idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    (
        "connect 10.1.0.0/16 idle=30",
        "10.2.0.1:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("connect 10.0.0.0/14 idle=30", "10.2.0.1:80", RULED, POLICY_VALUES),
    ("accept 10.0.0.0/8 idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    (
        "accept 10.0.0.0/8 idle=30",
        "172.16.0.1:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("connect 172.16.0.0/12 idle=30", "172.16.0.1:80", RULED, POLICY_VALUES),
    ("connect 0.0.0.0/0 idle=30", "172.16.0.1:80", RULED, POLICY_VALUES),
    (
        "connect 0.0.0.0/0 idle=30",
        "[2001:db8::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("connect 2001:db8::1 idle=30", "[2001:db8::1]:80", RULED, POLICY_VALUES),
    (
        "connect [2001:db8::1] idle=30",
        "[2001:db8::1]:80",
        RULED,
        POLICY_VALUES,
    ),
    (
        "connect [2001:db8::1] idle=30",
        "[2001:db8:1::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "connect 2001:db8::/32 idle=30",
        "[2001:db8:1::1]:80",
        RULED,
        POLICY_VALUES,
    ),
    (
        "connect [2001:db8::/48] idle=30",
        "[2001:db8:1::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "accept [2001:db8::/32] idle=30",
        "[2001:db8::1]:80",
        POLICY_VALUES,
        RULED,
    ),
    (
        "accept [2001:db8::/32] idle=30",
        "[fd00::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("connect [2000::/3] idle=30", "[2001:db8::1]:80", RULED, POLICY_VALUES),
    (
        "connect [2000::/3] idle=30",
        "[fd00::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    // IPv4-mapped addresses are IPv4, on either side.
    (
        "connect 10.0.0.0/8 idle=30",
        "[::ffff:10.1.2.3]:80",
        RULED,
        POLICY_VALUES,
    ),
    ("accept 10.1.2.3 idle=30", "[::ffff:10.1.2.3]:80", POLICY_VALUES, RULED),
    ("connect ::ffff:10.1.2.3 idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    (
        "connect [::ffff:10.0.0.0/104] idle=30",
        "10.1.2.3:80",
        RULED,
        POLICY_VALUES,
    ),
    ("accept [::ffff:0:0/96] idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    (
        "accept [::ffff:0:0/96] idle=30",
        "[2001:db8::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "connect [2001:db8::/32] idle=30",
        "[::ffff:10.1.2.3]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    // The port: the peer's for connect, the local one for accept.
    ("connect :80 idle=30", "10.1.2.3:80", RULED, POLICY_VALUES),
    ("connect :80 idle=30", "10.1.2.3:81", POLICY_VALUES, POLICY_VALUES),
    ("connect *:80 idle=30", "[2001:db8::1]:80", RULED, POLICY_VALUES),
    (
        "connect :7000 idle=30",
        "7000>10.1.2.3:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("accept :80 idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    ("accept *:80 idle=30", "[::ffff:10.1.2.3]:80", POLICY_VALUES, RULED),
    ("accept :81 idle=30", "10.1.2.3:80", POLICY_VALUES, POLICY_VALUES),
    (
        "accept :7000 idle=30",
        "7000>[2001:db8::1]:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "connect :8000-8999 idle=30",
        "10.1.2.3:7999",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("connect :8000-8999 idle=30", "10.1.2.3:8000", RULED, POLICY_VALUES),
    ("accept :8000-8999 idle=30", "[2001:db8::1]:8999", POLICY_VALUES, RULED),
    (
        "accept :8000-8999 idle=30",
        "[2001:db8::1]:9000",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    ("accept :0-65535 idle=30", "10.1.2.3:80", POLICY_VALUES, RULED),
    // Address and port.
    ("connect 10.0.0.0/8:5432 idle=30", "10.1.2.3:5432", RULED, POLICY_VALUES),
    (
        "connect 10.0.0.0/8:5432 idle=30",
        "10.1.2.3:5433",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "connect 10.0.0.0/8:5432 idle=30",
        "172.16.0.1:5432",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "connect [2001:db8::/32]:443 idle=30",
        "[2001:db8::1]:443",
        RULED,
        POLICY_VALUES,
    ),
    (
        "accept [2001:db8::/32]:443 idle=30",
        "[2001:db8::1]:443",
        POLICY_VALUES,
        RULED,
    ),
    (
        "accept 10.0.0.0/8:400-500 idle=30",
        "10.1.2.3:443",
        POLICY_VALUES,
        RULED,
    ),
    // The program.
    (
        "program python3 connect :80 idle=30",
        "10.1.2.3:80",
        RULED,
        POLICY_VALUES,
    ),
    (
        "program python3 accept 10.0.0.0/8 idle=30",
        "10.1.2.3:80",
        POLICY_VALUES,
        RULED,
    ),
    ("program python idle=30", "10.1.2.3:80", POLICY_VALUES, POLICY_VALUES),
    (
        "program /usr/bin/python3 idle=30",
        "10.1.2.3:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    (
        "program java connect idle=30",
        "10.1.2.3:80",
        POLICY_VALUES,
        POLICY_VALUES,
    ),
    // Off.
    ("connect off", "10.1.2.3:80", KERNEL_DEFAULTS, POLICY_VALUES),
    ("accept off", "[2001:db8::1]:80", POLICY_VALUES, KERNEL_DEFAULTS),
    (
        "connect :80 off",
        "[::ffff:10.1.2.3]:80",
        KERNEL_DEFAULTS,
        POLICY_VALUES,
    ),
    ("accept 10.0.0.0/8 off", "10.1.2.3:80", POLICY_VALUES, KERNEL_DEFAULTS),
    ("program python3 off", "10.1.2.3:80", KERNEL_DEFAULTS, KERNEL_DEFAULTS),
    ("program sshd off", "10.1.2.3:80", POLICY_VALUES, POLICY_VALUES),
    (
        "connect :80 idle=30; program python3 off",
        "10.1.2.3:80",
        RULED,
        KERNEL_DEFAULTS,
    ),
    // The first match wins.
    (
        "connect :80 idle=30; connect idle=40",
        "10.1.2.3:80",
        RULED,
        POLICY_VALUES,
    ),
    (
        "connect :80 idle=30; connect idle=40",
        "10.1.2.3:81",
        RULED_TOO,
        POLICY_VALUES,
    ),
    (
        "connect idle=30; connect :80 idle=40",
        "10.1.2.3:80",
        RULED,
        POLICY_VALUES,
    ),
    (
        "accept :81 idle=30; accept 10.0.0.0/8 idle=40",
        "10.1.2.3:80",
        POLICY_VALUES,
        RULED_TOO,
    ),
    (
        "connect :80 off; connect idle=40",
        "10.1.2.3:80",
        KERNEL_DEFAULTS,
        POLICY_VALUES,
    ),
    (
        "program java idle=30; connect idle=40",
        "10.1.2.3:80",
        RULED_TOO,
        POLICY_VALUES,
    ),
    // Only the rule applies: no setting of the default is added.
    ("connect interval=5", "10.1.2.3:80", "1 7200 5 9 0", POLICY_VALUES),
    ("accept count=3", "10.1.2.3:80", POLICY_VALUES, "1 7200 75 3 0"),
    ("connect keepalive=on", "10.1.2.3:80", "1 7200 75 9 0", POLICY_VALUES),
    ("accept mode=fill", "10.1.2.3:80", POLICY_VALUES, "1 7200 75 9 0"),
];

fn line(endpoint: &str, connect: &str, accept: &str) -> String {
    format!("{endpoint} connect: {connect} accept: {accept}\n")
}

/// Whether one of `rules` matches addresses of clients.
fn matches_clients(rules: &str) -> bool {
    ["accept 1", "accept [", "accept ::"]
        .iter()
        .any(|accept| rules.contains(accept))
}

/// Tries all rows with this engine. The supervisor sets a listener, before any client is known.
pub fn check(engine: Engine, flags: &[&str]) {
    let mut wrong = Vec::new();
    for rows in ROWS.chunk_by(|one, next| one.0 == next.0) {
        let rules = rows[0].0;
        let words: Vec<&str> = flags.iter().copied().chain(rows.iter().map(|row| row.1)).collect();
        let printed = NetNs::new(engine).with("KEEPALIVE_RULES", rules).meet(&words);
        assert_eq!(printed.lines().count(), rows.len(), "{rules:?}: {printed}");
        for (printed, &(_, endpoint, connect, accept)) in printed.lines().zip(rows) {
            let is_unknown = engine == Engine::Supervisor && matches_clients(rules);
            let accept = if is_unknown { POLICY_VALUES } else { accept };
            if printed != line(endpoint, connect, accept).trim_end() {
                wrong.push(format!("{rules:?}: {printed}, not connect: {connect} accept: {accept}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

under_preload_and_cgroup! {
    every_form_of_rule_matches_its_connections
    rules_match_nonblocking_connects
    program_rules_match_the_name_of_the_file
    program_rules_match_the_name_of_a_script
    first_match_of_a_hundred_rules_wins
}

fn every_form_of_rule_matches_its_connections(engine: Engine) {
    netns!();
    check(engine, &[]);
}

fn rules_match_nonblocking_connects(engine: Engine) {
    netns!();
    check(engine, &["--non-blocking"]);
}

fn program_rules_match_the_name_of_the_file(engine: Engine) {
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
    let script = meet_script.to_str().expect("a UTF-8 path");
    let words = ["-I", "-S", script, "10.1.2.3:80"];
    assert_eq!(
        run(&copy, &netns, &words),
        line("10.1.2.3:80", RULED_TOO, RULED),
        "a renamed copy"
    );

    let link = netns.path("unknown");
    symlink(&copy, &link).expect("a link in a directory of the test");
    assert_eq!(
        run(&link, &netns, &words),
        line("10.1.2.3:80", KERNEL_DEFAULTS, POLICY_VALUES),
        "a link's name is its own"
    );
}

fn program_rules_match_the_name_of_a_script(engine: Engine) {
    netns!();
    let netns = NetNs::new(engine).with("KEEPALIVE_RULES", "program script connect idle=30; program python3 off");
    let text = std::fs::read_to_string(meet()).expect("a file of the repository");
    let source = netns.write("source", format!("#!{PYTHON} -IS\n{text}"));
    let script = netns.path("script");
    install(&source, &script, 0o755);
    assert_eq!(
        netns.run(&script, &["10.1.2.3:80"]),
        line("10.1.2.3:80", RULED, POLICY_VALUES)
    );
}

fn first_match_of_a_hundred_rules_wins(engine: Engine) {
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
        line(endpoints[3], POLICY_VALUES, hundred),
        line(endpoints[4], "1 50 75 9 0", POLICY_VALUES),
    ];
    assert_eq!(netns.meet(&endpoints), expected.concat());
}
