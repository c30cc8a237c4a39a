//! The four modes, with programs that set options at every possible moment; `programs.rs` tests real programs. The
//! results of the program's calls are the kernel's, so they never differ.

mod calls;

use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::target::{output, without_library};
use keepalive_policy::Mode;
use std::path::Path;
use std::process::Command;

/// Definitions for the snippets. `OWN` is a little above and below the policy, which is 61, 13 and 4.
const PRELUDE: &str = "
import ctypes, os, platform, resource, socket, threading
KEEPALIVE, IDLE, INTERVAL, COUNT, TIMEOUT = (1, 9), (6, 4), (6, 5), (6, 6), (6, 18)
OWN = [(*IDLE, 600), (*INTERVAL, 5), (*COUNT, 8)]
def put(end, *options):
    for option in options: end.setsockopt(*option)
def show(end):
    print(*(end.getsockopt(*option) for option in (KEEPALIVE, IDLE, INTERVAL, COUNT, TIMEOUT)))
def listen():
    return socket.create_server(('127.0.0.1', 0))
peer = listen()
def connect(end):
    end.connect(peer.getsockname())
    return end
def accept(listener):
    global client
    client = socket.create_connection(listener.getsockname())
    return listener.accept()[0]
";

/// Returns the command of the program in `snippet`, with this engine.
fn program(engine: Engine, snippet: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = engine.command(Path::new(PYTHON));
    command.args(["-IS", "-c", &format!("{PRELUDE}{snippet}")]);
    command.envs(variables.iter().copied());
    command
}

/// Runs `snippet` under each mode and compares what it prints.
fn expect(engine: Engine, snippet: &str, variables: &[(&str, &str)], expected: [&str; 4]) {
    let mut wrong = Vec::new();
    for (mode, expected) in Mode::ALL.into_iter().zip(expected) {
        let mut command = program(engine, snippet, variables);
        command.env("KEEPALIVE_MODE", mode.name());
        let printed = output(&mut command);
        if printed.trim_end() != expected {
            wrong.push(format!("{mode:?}: {} instead of {expected}", printed.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "{snippet}\n{variables:?}\n{}", wrong.join("\n"));
}

/// As [`expect`], for several lines that print the same.
fn expect_each(engine: Engine, lines: &[&str], variables: &[(&str, &str)], expected: [&str; 4]) {
    let all = expected.map(|line| vec![line; lines.len()].join("\n"));
    expect(engine, &lines.join("\n"), variables, all.each_ref().map(String::as_str));
}

/// The results of `OWN` and the policy, in the order of the modes.
const RESOLVED: [&str; 4] = ["1 600 5 8 0", "1 61 5 4 0", "1 600 13 8 0", "1 61 13 4 0"];
const POLICY_VALUES: [&str; 4] = ["1 61 13 4 0"; 4];
/// The results after the program has switched keepalive off.
const OFF: [&str; 4] = ["0 61 13 4 0", "1 61 13 4 0", "0 61 13 4 0", "1 61 13 4 0"];

/// The same, if it was switched off before the connection was established.
fn off_early(engine: Engine) -> [&'static str; 4] {
    if engine.detects_early_off() { OFF } else { POLICY_VALUES }
}

under_preload_and_cgroup! {
    modes_apply_to_options_of_a_client_before_and_after_connect
    modes_apply_to_options_of_a_listener_and_of_accepted_sockets
    keepalive_can_be_switched_off_if_the_mode_permits_it
    rule_that_does_not_match_leaves_the_mode_in_effect
    rule_sets_the_options_that_the_program_does_not_set
    modes_apply_to_the_user_timeout
    modes_apply_to_options_set_through_a_duplicate
    concurrent_threads_get_the_right_options
}

fn modes_apply_to_options_of_a_client_before_and_after_connect(engine: Engine) {
    python!();
    expect(engine, "show(connect(socket.socket()))", &[], POLICY_VALUES);
    let lines = [
        "s = socket.socket(); put(s, *OWN); show(connect(s))",
        "s = connect(socket.socket()); put(s, *OWN); show(s)",
        "s = socket.socket(); put(s, OWN[0]); connect(s); put(s, *OWN[1:]); show(s)",
    ];
    expect_each(engine, &lines, &[], RESOLVED);
    if engine.sets_new_sockets() {
        let lines = [
            "s = socket.socket(); put(s, *OWN); show(s)",
            "s = socket.socket(socket.AF_INET6); put(s, *OWN); show(s)",
        ];
        expect_each(engine, &lines, &[], RESOLVED);
    }
    let twice = "s = connect(socket.socket()); put(s, *OWN, (*IDLE, 61), (*IDLE, 30)); show(s)";
    expect(
        engine,
        twice,
        &[],
        ["1 30 5 8 0", "1 30 5 4 0", "1 61 13 8 0", "1 61 13 4 0"],
    );
}

fn modes_apply_to_options_of_a_listener_and_of_accepted_sockets(engine: Engine) {
    python!();
    expect(engine, "show(accept(listen()))", &[], POLICY_VALUES);
    let lines = [
        "l = socket.socket(); put(l, *OWN); l.bind(('127.0.0.1', 0)); l.listen(); show(accept(l))",
        "l = listen(); put(l, *OWN); show(accept(l))",
        "a = accept(listen()); put(a, *OWN); show(a)",
        "l = listen(); put(l, OWN[0]); a = accept(l); put(a, *OWN[1:]); show(a)",
    ];
    expect_each(engine, &lines, &[], RESOLVED);
    // A connection in the accept queue already has the listener's options at its handshake.
    let late = "l = listen(); c = socket.create_connection(l.getsockname()); put(l, *OWN); show(l.accept()[0])";
    expect(engine, late, &[], POLICY_VALUES);
}

fn keepalive_can_be_switched_off_if_the_mode_permits_it(engine: Engine) {
    python!();
    let early = [
        "s = socket.socket(); put(s, (*KEEPALIVE, 0)); show(connect(s))",
        "l = listen(); put(l, (*KEEPALIVE, 0)); show(accept(l))",
    ];
    expect_each(engine, &early, &[], off_early(engine));
    if engine.sets_new_sockets() {
        let early = "s = socket.socket(); put(s, (*KEEPALIVE, 0)); show(s)";
        expect(engine, early, &[], OFF);
    }
    let lines = [
        "s = connect(socket.socket()); put(s, (*KEEPALIVE, 0)); show(s)",
        "s = connect(socket.socket()); put(s, (*KEEPALIVE, 1), (*KEEPALIVE, 0)); show(s)",
        "a = accept(listen()); put(a, (*KEEPALIVE, 0)); show(a)",
    ];
    expect_each(engine, &lines, &[], OFF);
    let on = "s = connect(socket.socket()); put(s, (*KEEPALIVE, 0), (*KEEPALIVE, 7)); show(s)";
    expect(engine, on, &[], POLICY_VALUES);
    // Without a setting for keepalive, no mode applies to it.
    let skip = [("KEEPALIVE", "skip")];
    let without_keepalive_setting = ["0 600 5 8 0", "0 61 5 4 0", "0 600 13 8 0", "0 61 13 4 0"];
    expect(
        engine,
        "s = socket.socket(); put(s, *OWN); show(connect(s))",
        &skip,
        without_keepalive_setting,
    );
    let on = "s = socket.socket(); put(s, (*KEEPALIVE, 1), *OWN); show(connect(s))";
    expect(engine, on, &skip, RESOLVED);
}

fn rule_that_does_not_match_leaves_the_mode_in_effect(engine: Engine) {
    python!();
    // Until its peer is known, a socket keeps the program's options; the mode applies when it connects.
    let rules = [("KEEPALIVE_RULES", "connect 192.0.2.0/24 off; accept 192.0.2.0/24 off")];
    let early = "s = socket.socket(); put(s, *OWN, (*KEEPALIVE, 0)); show(s)";
    expect(engine, early, &rules, ["0 600 5 8 0"; 4]);
    let lines = [
        "s = socket.socket(); put(s, *OWN); show(connect(s))",
        "s = connect(socket.socket()); put(s, *OWN); show(s)",
        "l = listen(); put(l, *OWN); show(accept(l))",
        "a = accept(listen()); put(a, *OWN); show(a)",
    ];
    expect_each(engine, &lines, &rules, RESOLVED);
    let off = [
        "s = socket.socket(); put(s, (*KEEPALIVE, 0)); show(connect(s))",
        "l = listen(); put(l, (*KEEPALIVE, 0)); show(accept(l))",
    ];
    expect_each(engine, &off, &rules, off_early(engine));
}

fn rule_sets_the_options_that_the_program_does_not_set(engine: Engine) {
    python!();
    let rules = [("KEEPALIVE_RULES", "connect idle=30; accept idle=40")];
    let lines = [
        "a = accept(listen()); put(a, (*KEEPALIVE, 1)); show(a)",
        "a = accept(listen()); d = a.dup(); put(d, (*KEEPALIVE, 1)); show(d)",
        "l = listen(); put(l, (*KEEPALIVE, 1)); show(accept(l))",
    ];
    expect_each(engine, &lines, &rules, ["1 40 75 9 0"; 4]);
    let lines = [
        "s = connect(socket.socket()); put(s, (*KEEPALIVE, 1)); show(s)",
        "s = connect(socket.socket()); d = s.dup(); put(d, (*KEEPALIVE, 1)); show(d)",
        "s = socket.socket(); put(s, (*KEEPALIVE, 1)); show(connect(s))",
    ];
    expect_each(engine, &lines, &rules, ["1 30 75 9 0"; 4]);
    // A descriptor number that the library has not seen may be a duplicate of a known socket.
    let rules = [("KEEPALIVE_RULES", "connect off; accept off")];
    let lines = [
        "s = connect(socket.socket()); os.dup2(s.fileno(), 70); put(socket.socket(fileno=70), OWN[0]); show(s)",
        "a = accept(listen()); os.dup2(a.fileno(), 80); put(socket.socket(fileno=80), OWN[0]); show(a)",
    ];
    expect_each(engine, &lines, &rules, ["0 600 75 9 0"; 4]);
}

fn modes_apply_to_the_user_timeout(engine: Engine) {
    python!();
    let timeout = [("KEEPALIVE_USER_TIMEOUT", "30s")];
    let shorter = ["1 61 13 4 5000", "1 61 13 4 5000", "1 61 13 4 30000", "1 61 13 4 30000"];
    let longer = [
        "1 61 13 4 60000",
        "1 61 13 4 30000",
        "1 61 13 4 60000",
        "1 61 13 4 30000",
    ];
    let none = ["1 61 13 4 0", "1 61 13 4 30000", "1 61 13 4 0", "1 61 13 4 30000"];
    // A user timeout of 0 is every socket's default.
    let none_early = if engine.detects_early_off() {
        none
    } else {
        ["1 61 13 4 30000"; 4]
    };
    for (milliseconds, early, late) in [
        (5000, shorter, shorter),
        (60_000, longer, longer),
        (0, none_early, none),
    ] {
        let option = format!("(*TIMEOUT, {milliseconds})");
        let lines = [
            "s = socket.socket(); put(s, OPTION); show(connect(s))",
            "l = socket.socket(); put(l, OPTION); l.bind(('127.0.0.1', 0)); l.listen(); show(accept(l))",
            "l = listen(); put(l, OPTION); show(accept(l))",
        ];
        let lines = lines.map(|line| line.replace("OPTION", &option));
        expect_each(engine, &lines.each_ref().map(String::as_str), &timeout, early);
        let lines = [
            "s = connect(socket.socket()); put(s, OPTION); show(s)",
            "a = accept(listen()); put(a, OPTION); show(a)",
        ];
        let lines = lines.map(|line| line.replace("OPTION", &option));
        expect_each(engine, &lines.each_ref().map(String::as_str), &timeout, late);
    }
    // Until it is connected, the socket has the program's user timeout: the policy's would limit the connect.
    let before = "s = socket.socket(); put(s, (*TIMEOUT, 60000)); show(s)";
    let has = if engine.sets_new_sockets() {
        "1 61 13 4 60000"
    } else {
        "0 7200 75 9 60000"
    };
    expect(engine, before, &timeout, [has; 4]);
    // Without a user timeout in the policy, no mode applies to it.
    let alone = "s = connect(socket.socket()); put(s, (*TIMEOUT, 5000)); show(s)";
    expect(engine, alone, &[], ["1 61 13 4 5000"; 4]);
    let auto = [("KEEPALIVE_USER_TIMEOUT", "auto")];
    let effective = [
        "1 600 5 8 640000",
        "1 61 5 4 81000",
        "1 600 13 8 704000",
        "1 61 13 4 113000",
    ];
    expect(
        engine,
        "s = socket.socket(); put(s, *OWN); show(connect(s))",
        &auto,
        effective,
    );
}

fn modes_apply_to_options_set_through_a_duplicate(engine: Engine) {
    python!();
    let lines = [
        "s = socket.socket(); d = s.dup(); put(d, *OWN); show(connect(d))",
        "s = socket.socket(); d = s.dup(); put(d, *OWN); show(connect(s))",
        "s = socket.socket(); put(s, *OWN); d = s.dup(); s.close(); show(connect(d))",
        "s = connect(socket.socket()); d = s.dup(); put(d, *OWN); show(s)",
        "s = socket.socket(); put(s, *OWN); os.dup2(s.fileno(), 60); show(connect(socket.socket(fileno=60)))",
        "l = listen(); put(l, *OWN); d = l.dup(); show(accept(d))",
        "l = listen(); d = l.dup(); put(d, *OWN); show(accept(l))",
    ];
    expect_each(engine, &lines, &[], RESOLVED);
    // Even the kernel's default stays if the program has set it.
    let kernel_default = "s = socket.socket(); d = s.dup(); put(d, (*COUNT, 9)); show(connect(d))";
    expect(
        engine,
        kernel_default,
        &[],
        ["1 61 13 9 0", "1 61 13 4 0", "1 61 13 9 0", "1 61 13 4 0"],
    );
    let rules = [("KEEPALIVE_RULES", "connect 127.0.0.0/8 idle=30; accept idle=40")];
    let other = "s = socket.socket(); os.dup2(s.fileno(), 60); show(connect(socket.socket(fileno=60)))";
    expect(engine, other, &rules, ["1 30 75 9 0"; 4]);
    let own = "s = socket.socket(); put(s, *OWN); os.dup2(s.fileno(), 60); show(connect(socket.socket(fileno=60)))";
    expect(engine, own, &rules, ["1 600 5 8 0"; 4]);
}

/// Opens descriptors until all below `count` are in use.
const FILL: &str = "
def fill(count):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, max(hard, count + 64)))
    null = os.open('/dev/null', os.O_RDONLY)
    while os.dup(null) < count: pass
";

fn expect_above(count: u32, lines: &[&str], variables: &[(&str, &str)], expected: [&str; 4]) {
    let fill = format!("{FILL}\nfill({count})\n");
    let all = expected.map(|line| vec![line; lines.len()].join("\n"));
    expect(
        Engine::Library,
        &(fill + &lines.join("\n")),
        variables,
        all.each_ref().map(String::as_str),
    );
}

fn expect_all_above(count: u32) {
    let lines = [
        "s = socket.socket(); put(s, *OWN); show(connect(s))",
        "s = connect(socket.socket()); put(s, *OWN); show(s)",
        "l = listen(); put(l, *OWN); show(accept(l))",
        "a = accept(listen()); put(a, *OWN); show(a)",
    ];
    expect_above(count, &lines, &[], RESOLVED);
    let off = "a = accept(listen()); put(a, (*KEEPALIVE, 0)); show(a)";
    expect_above(count, &[off], &[], OFF);
    let rules = [("KEEPALIVE_RULES", "connect idle=30; accept idle=40")];
    expect_above(count, &["show(connect(socket.socket()))"], &rules, ["1 30 75 9 0"; 4]);
    expect_above(count, &["show(accept(listen()))"], &rules, ["1 40 75 9 0"; 4]);
    expect_above(count, &lines, &rules, ["1 600 5 8 0"; 4]);
}

/// The program sets the same value as the default; then a rule with another value matches.
const SAME: &str = "s = socket.socket(); put(s, (*IDLE, 61)); show(connect(s))";
const RULE: [(&str, &str); 1] = [("KEEPALIVE_RULES", "connect idle=30")];

#[test]
fn modes_work_for_more_than_a_thousand_descriptors() {
    python!();
    expect_all_above(1100);
    expect_above(1100, &[SAME], &RULE, ["1 61 75 9 0"; 4]);
}

fn concurrent_threads_get_the_right_options(engine: Engine) {
    python!();
    let snippet = "
seen = set()
def work(index):
    for round in range(50):
        s = socket.socket()
        if index % 2: put(s, *OWN)
        connect(s)
        seen.add((index % 2, *(s.getsockopt(*option) for option in (IDLE, INTERVAL, COUNT))))
        s.close()
threads = [threading.Thread(target=work, args=[index]) for index in range(8)]
peer.listen(1000)
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(seen))";
    let resolved = ["600, 5, 8", "61, 5, 4", "600, 13, 8", "61, 13, 4"];
    let lines = resolved.map(|resolved| format!("[(0, 61, 13, 4), (1, {resolved})]"));
    expect(engine, snippet, &[], lines.each_ref().map(String::as_str));
    let rules = [("KEEPALIVE_RULES", "connect idle=30")];
    expect(engine, snippet, &rules, ["[(0, 30, 75, 9), (1, 600, 5, 8)]"; 4]);
}

/// Returns what `snippet` prints without keepalive.
fn alone(snippet: &str) -> String {
    output(without_library(Path::new(PYTHON)).args(["-IS", "-c", &format!("{PRELUDE}{snippet}")]))
}

/// An MPTCP socket accepts any number, but the connection then has the kernel's default. In mode fill the program's
/// options stay as the kernel made them.
#[test]
fn numbers_out_of_range_count_as_unset() {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    if enabled.is_ok_and(|text| text.trim() != "1") {
        skip!("MPTCP is switched off");
    }
    let snippet = "
end = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
for option in ((*IDLE, -5), (*INTERVAL, 40000), (*COUNT, 128)):
    try: end.setsockopt(*option)
    except OSError: print('refused'); break
else:
    end.connect(peer.getsockname())
    print(*(end.getsockopt(*option) for option in (KEEPALIVE, IDLE, INTERVAL, COUNT)))
";
    let without_engine = alone(snippet);
    if without_engine.trim() == "refused" {
        skip!("this kernel checks the options of MPTCP sockets");
    }
    let (_, kernel_values) = without_engine.trim().split_once(' ').expect("four numbers");
    let fill = format!("1 {kernel_values}");
    let expected = [&*fill, "1 61 13 4", "1 61 13 4", "1 61 13 4"];
    for engine in [Engine::Library, Engine::Supervisor] {
        if let Some(why) = engine.missing() {
            skip!("{why}");
        }
        expect(engine, snippet, &[], expected);
    }
}
