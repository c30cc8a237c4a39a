//! Which settings a socket gets: modes, rules, and settings that must not be applied yet.

use super::{POLICY, attached, pair_with};
use crate::support::process::{LIMIT, eventually, output_within};
use crate::support::py_peer::PyPeer;
use crate::support::table::row;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use keepalive_policy::{Mode, OPTIONS};
use keepalive_sys::sockopt;
use serde_json::Value;
use std::time::Duration;

/// Values a little above and below the policy's.
const PROGRAM_VALUES: &str = "keepalive=1, idle=600, interval=5, count=8, user_timeout=5000";

#[test]
fn each_mode_resolves_values_of_the_program() {
    python!();
    let expected = ["1 600 5 8 5000", "1 61 5 4 5000", "1 600 13 8 30000", "1 61 13 4 30000"];
    for (mode, expected) in Mode::ALL.into_iter().zip(expected) {
        let mut program = pair_with(PROGRAM_VALUES);
        let mode = format!("--mode={}", mode.name());
        attached(program.pid(), &[&POLICY[..], &["--user-timeout=30s", &mode]].concat());
        assert_eq!(program.has("client"), expected, "{mode}");
        for other in ["listener", "accepted"] {
            assert_eq!(program.has(other), "1 61 13 4 30000", "{mode} {other}");
        }
        program.assert_talks("client", "accepted");
    }
}

/// A value that equals the sysctl of the socket's network namespace counts as unset.
#[test]
fn values_of_the_sysctls_count_as_unset() {
    root!();
    python!();
    let mut program = PyPeer::in_own_network();
    program.sysctl("tcp_keepalive_time", 600);
    program.sysctl("tcp_keepalive_intvl", 5);
    program.sysctl("tcp_keepalive_probes", 8);
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1)");
    program.execute("own(accepted, idle=7200, interval=75, count=9)");
    attached(program.pid(), &POLICY);
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), "1 7200 75 9 0");
}

#[test]
fn options_without_a_setting_stay() {
    python!();
    let mut program = pair_with("");
    attached(program.pid(), &["--interval=13"]);
    assert_eq!(program.has("client"), "1 7200 13 9 0");
    attached(program.pid(), &["--user-timeout=3s"]);
    assert_eq!(program.has("client"), "1 7200 13 9 3000");
}

#[test]
fn off_changes_no_socket_and_is_reported() {
    python!();
    for own in ["", PROGRAM_VALUES] {
        let mut program = pair_with(own);
        let before = program.has("client");
        let printed = attached(program.pid(), &[&POLICY[..], &["--rule=connect * off"]].concat());
        assert_eq!(program.has("client"), before);
        assert_eq!(program.has("accepted"), POLICY_VALUES);
        assert!(printed.contains("  left: the policy says off\n"), "{printed}");
    }
}

#[test]
fn connect_rules_match_opened_connections_and_accept_rules_match_accepted_ones() {
    python!();
    let mut program = pair_with("");
    attached(
        program.pid(),
        &[
            "--rule=connect * idle=31s interval=7s count=3",
            "--rule=accept * idle=32s interval=8s count=2",
        ],
    );
    assert_eq!(program.has("client"), "1 31 7 3 0");
    assert_eq!(program.has("accepted"), "1 32 8 2 0");
    assert_eq!(program.has("listener"), "1 32 8 2 0");
}

#[test]
fn rules_match_ports_and_peers_but_a_listener_has_no_peer() {
    python!();
    let mut program = pair_with("");
    let port = program.ask("listener.getsockname()[1]");
    attached(
        program.pid(),
        &[
            &POLICY[..],
            &[
                "--rule=accept 127.0.0.0/8 idle=33s",
                &format!("--rule=connect 127.0.0.1:{port} idle=34s"),
            ],
        ]
        .concat(),
    );
    assert_eq!(program.has("client"), "1 34 75 9 0");
    assert_eq!(program.has("accepted"), "1 33 75 9 0");
    assert_eq!(program.has("listener"), POLICY_VALUES);

    let mut program = pair_with("");
    let port = program.ask("listener.getsockname()[1]");
    attached(
        program.pid(),
        &[&POLICY[..], &[&format!("--rule=accept :{port} idle=35s")]].concat(),
    );
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), "1 35 75 9 0");
    assert_eq!(program.has("listener"), "1 35 75 9 0");
}

#[test]
fn program_rules_match_the_name_of_the_executed_file() {
    python!();
    let mut programs = [PyPeer::start(), PyPeer::called("another-name")];
    let mut words: Vec<String> = vec![
        "--rule=program another-name idle=36s".to_owned(),
        "--idle=61".to_owned(),
    ];
    for program in &mut programs {
        program.execute("listener = listen()");
        words.push(program.pid().to_string());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(super::outcome(&words).status.success());
    let [first, other] = &mut programs;
    assert_eq!(first.has("listener"), "1 61 75 9 0");
    assert_eq!(other.has("listener"), "1 36 75 9 0");
}

#[test]
fn rules_of_the_file_and_the_environment_apply() {
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    std::fs::write(&path, "connect * idle=37s\ndefault count=7\n").expect("a file of the test");
    let mut program = pair_with("");
    let mut command = super::attach();
    command
        .env("KEEPIDLE", "38")
        .env("KEEPALIVE_RULES", "accept * interval=11s");
    command.arg("--config").arg(&path).arg(program.pid().to_string());
    assert!(output_within(LIMIT, &mut command).status.success());
    assert_eq!(program.has("client"), "1 38 75 9 0");
    assert_eq!(program.has("accepted"), "1 7200 11 7 0");
}

/// Some options have an effect only before the connection is established.
#[test]
fn options_reported_as_set_are_set() {
    python!();
    let mut program = pair_with("");
    let [client] = program.fds(["client"]);
    let rule = "--rule=connect * idle=61s max-segment=1000 window-clamp=5000 syn-count=3";
    let printed = attached(program.pid(), &["--json", rule]);
    let array: Value = serde_json::from_str(&printed).expect("JSON");
    let mut objects = array.as_array().expect("an array").iter();
    let object = objects.find(|object| object["fd"] == client).expect("an object");
    let changes = object["changes"].as_array().expect("an array");
    assert!(changes.iter().any(|change| change["option"] == "idle"), "{object}");
    let socket = sockopt::duplicate(program.pid(), client).expect("an open descriptor");
    for change in changes {
        let option = OPTIONS.into_iter().find(|option| change["option"] == option.row().name);
        let number = sockopt::get(&socket, option.expect("an option")).expect("TCP has it");
        assert_eq!(change["to"], number, "{change}");
    }
}

#[test]
fn automatic_user_timeout_is_computed_from_the_options_of_the_socket() {
    python!();
    let mut program = pair_with("");
    program.execute("other, end = pair(listener, idle=300)");
    attached(program.pid(), &[&POLICY[..], &["--user-timeout=auto"]].concat());
    for name in ["client", "accepted", "listener"] {
        assert_eq!(program.has(name), "1 61 13 4 113000", "{name}");
    }
    assert_eq!(program.has("other"), "1 300 13 4 352000");
}

#[test]
fn unconnected_socket_gets_no_user_timeout() {
    python!();
    let mut program = PyPeer::start();
    program.execute("fresh = socket.socket(); bound = socket.socket(); bound.bind(('127.0.0.1', 0))");
    let printed = attached(program.pid(), &[&POLICY[..], &["--user-timeout=auto"]].concat());
    assert_eq!([program.has("fresh"), program.has("bound")], [POLICY_VALUES; 2]);
    assert!(
        printed.contains("left: user-timeout, it would limit connecting"),
        "{printed}"
    );
}

/// The third connect has its user timeout from the start, which shows the effect that attach avoids.
#[test]
fn user_timeout_does_not_shorten_an_unanswered_connect() {
    root!();
    python!();
    let mut programs = [(), (), ()].map(|()| PyPeer::in_own_network());
    for (index, program) in programs.iter_mut().enumerate() {
        program.sysctl("tcp_syn_retries", 2);
        program.execute("silent = socket.socket()");
        if index == 2 {
            program.execute("own(silent, user_timeout=1000)");
        }
        let [silent] = program.fds(["silent"]);
        program.0.send_line("connect_in_vain('192.0.2.1', 80)");
        eventually("a SYN", LIMIT, || {
            (row(program.pid(), silent)?.state == 2).then_some(())
        });
        if index == 1 {
            attached(program.pid(), &[&POLICY[..], &["--user-timeout=1s"]].concat());
            assert_eq!(super::has(program.pid(), silent), POLICY_VALUES);
        }
    }
    let [without, with, limited] = programs.map(|mut program| program.answer().parse::<f64>().expect("seconds"));
    assert!((with - without).abs() < 0.8, "{with} s with, {without} s without");
    assert!(
        limited < without - 0.8,
        "{limited} s where it limits, {without} s without"
    );
}

#[test]
fn later_accepted_sockets_inherit_the_settings() {
    python!();
    let mut program = pair_with("");
    attached(program.pid(), &[&POLICY[..], &["--user-timeout=30s"]].concat());
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("end"), "1 61 13 4 30000");
    assert_eq!(program.has("late"), KERNEL_DEFAULTS);
    let [end] = program.fds(["end"]);
    let expires = super::next_probe(program.pid(), end).expect("keepalive is on");
    assert!(expires <= Duration::from_secs(61), "{expires:?}");
}
