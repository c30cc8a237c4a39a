//! Arguments, output and errors.

use super::{POLICY, attach, attach_under, attached, next_probe, outcome, pair_with};
use crate::support::keepalive;
use crate::support::process::{LIMIT, ended, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, id};

/// Asserts that the command fails and prints these messages on standard error, and nothing on standard output.
#[track_caller]
fn assert_fails(words: &[&str], status: i32, messages: &[&str]) {
    let output = outcome(words);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {errors}");
    for message in messages {
        assert!(errors.contains(message), "{words:?}: {errors}");
    }
    assert_eq!(text(&output.stdout), "", "{words:?}");
}

#[test]
fn invalid_arguments_are_refused() {
    assert_fails(&[], 2, &["keepalive: ", "<PID... | --program NAME | --all>"]);
    assert_fails(&["--program", "no-such-program", "1"], 2, &["keepalive: "]);
    assert_fails(&["0"], 2, &["keepalive: invalid value '0'"]);
    assert_fails(&["some-name"], 2, &["keepalive: invalid value 'some-name'"]);
    let pid = id().to_string();
    assert_fails(
        &["--idle", "0", &pid],
        2,
        &["too small\nhint: expected 1 to 32767 seconds"],
    );
    assert_fails(&["--count", "128", &pid], 2, &["too large\nhint: expected 1 to 127"]);
    assert_fails(
        &["--mode", "some", &pid],
        2,
        &["hint: expected fill, cap, floor or enforce"],
    );
    assert_fails(&["--preset", "some", &pid], 2, &["hint: keepalive presets lists them"]);
    assert_fails(
        &["--rule", "connect 10.0.0.0/8 idle=0", &pid],
        2,
        &["--rule:1:", "hint: "],
    );
    let mut command = attach();
    let output = output_within(LIMIT, command.env("KEEPIDLE", "x").arg(&pid));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    assert!(
        text(&output.stderr).starts_with("keepalive: KEEPIDLE=x: "),
        "{output:?}"
    );
}

#[test]
fn missing_process_is_reported_and_the_others_are_set() {
    python!();
    let missing = ended().to_string();
    let message = format!("keepalive: cannot attach to process {missing}: there is no such process\nhint: ");
    assert_fails(&[&missing], 1, &[&message]);

    let mut program = pair_with("");
    let pid = program.pid().to_string();
    for pids in [[&pid, &missing], [&missing, &pid]] {
        let output = outcome(&[&POLICY[..], &["--mode=enforce"], &pids.map(String::as_str)].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(&message), "{output:?}");
        assert!(text(&output.stdout).contains("accepted from"), "{output:?}");
        assert_eq!(program.has("client"), POLICY_VALUES);
        program.execute("own(client, keepalive=0, idle=1)");
    }
}

/// The zombie still occupies its process number.
#[test]
fn zombie_counts_as_missing() {
    let mut child = Command::new("true").spawn().expect("it starts");
    let stat = format!("/proc/{}/stat", child.id());
    eventually("its end", LIMIT, || {
        std::fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(())
    });
    assert_fails(&[&child.id().to_string()], 1, &["there is no such process"]);
    child.wait().expect("a child of the test");
}

#[test]
fn thread_id_is_refused_and_its_process_is_named() {
    python!();
    let mut program = PyPeer::start();
    let answer = program.ask("thread_with_its_own_table()");
    let tid = answer.split(' ').next().expect("a number");
    let hint = format!("it is a thread\nhint: name its process, {}", program.pid());
    assert_fails(&[tid], 1, &[&hint]);
}

#[test]
fn every_program_of_a_name_is_set_and_none_is_an_error() {
    python!();
    // No other process on this machine has this name.
    let name = format!("named-{}-by-test", id());
    assert_fails(
        &["--program", &name],
        1,
        &[&format!("no process is called '{name}'\nhint: ")],
    );
    let mut programs = [(), ()].map(|()| PyPeer::called(&name));
    let mut other = pair_with("");
    for program in &mut programs {
        program.execute("listener = listen()");
    }
    let output = outcome(&[&POLICY[..], &["--program", &name]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "keepalive: 2 TCP sockets of 2 processes: 2 set\n");
    for program in &mut programs {
        assert_eq!(program.has("listener"), POLICY_VALUES);
    }
    assert_eq!(other.has("client"), KERNEL_DEFAULTS);
}

#[test]
fn dry_run_changes_nothing_and_prints_the_changes() {
    python!();
    let mut program = pair_with("");
    program.execute("known, end = pair(listener, keepalive=1, idle=600)");
    let names = ["client", "accepted", "listener", "known", "end"];
    let before = names.map(|name| program.has(name));
    let fds = program.fds(names);
    let output = outcome(
        &[
            &POLICY[..],
            &["--user-timeout=30s", "--dry-run", &program.pid().to_string()],
        ]
        .concat(),
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names.map(|name| program.has(name)), before);
    assert_eq!(next_probe(program.pid(), fds[0]), None);

    let printed = text(&output.stdout);
    let plain = printed.replace("\n    ", " ");
    let would = "  would set count 9 -> 4, interval 75s -> 13s, keepalive off -> on, idle 7200s -> 61s, \
                 user-timeout none -> 30s\n";
    assert_eq!(plain.matches(would).count(), 4, "{printed}");
    assert!(
        plain.contains("  would set count 9 -> 4, interval 75s -> 13s, user-timeout none -> 30s\n"),
        "{printed}"
    );
    assert!(
        plain.contains("  left: idle 600s, set already, and mode fill keeps it\n"),
        "{printed}"
    );
    assert_eq!(
        text(&output.stderr),
        "keepalive: 5 TCP sockets of 1 process: 5 would be set\n"
    );
}

#[test]
fn second_attach_reports_options_as_already_set() {
    python!();
    let mut program = pair_with("");
    let pid = program.pid().to_string();
    attached(program.pid(), &POLICY);
    let again = outcome(&[&POLICY[..], &[&pid]].concat());
    assert_eq!(text(&again.stdout).matches("  is so already\n").count(), 3, "{again:?}");
    assert_eq!(
        text(&again.stderr),
        "keepalive: 3 TCP sockets of 1 process: 3 so already\n"
    );

    let other = outcome(&["--idle=99", "--count=7", &pid]);
    let printed = text(&other.stdout);
    assert_eq!(
        printed
            .matches("left: idle 61s, set already, and mode fill keeps it")
            .count(),
        3,
        "{printed}"
    );
    assert_eq!(
        printed
            .matches("left: count 4, set already, and mode fill keeps it")
            .count(),
        3,
        "{printed}"
    );
    assert_eq!(
        text(&other.stderr),
        "keepalive: 3 TCP sockets of 1 process: 3 left as they are\n"
    );
    assert_eq!(program.has("client"), POLICY_VALUES);
}

#[test]
fn process_named_twice_is_reported_once() {
    python!();
    let program = pair_with("");
    let pid = program.pid().to_string();
    let output = outcome(&[&POLICY[..], &[&pid, &pid]].concat());
    assert_eq!(text(&output.stdout).matches(" fd ").count(), 3, "{output:?}");
    assert_eq!(text(&output.stderr), "keepalive: 3 TCP sockets of 1 process: 3 set\n");
}

/// A name may contain control characters.
#[test]
fn control_characters_in_a_name_are_escaped() {
    python!();
    let mut program = PyPeer::called("a\x1b[2Jb\nc");
    program.execute("listener = listen()");
    let printed = attached(program.pid(), &POLICY);
    assert!(!printed.contains('\x1b') && printed.lines().count() == 2, "{printed:?}");
    let printed = attached(program.pid(), &["--json"]);
    let array: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(array[0]["program"], "a\x1b[2Jb\nc");
    assert_eq!(program.has("listener"), POLICY_VALUES);
}

#[test]
fn options_that_the_kernel_refuses_are_reported() {
    python!();
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the number of setsockopt(2) is not known here");
    }
    let denied = compile(Libc::Host, "denied.c", &[]);
    let denied = denied.to_str().expect("a UTF-8 path");
    let mut program = pair_with("");
    let [client] = program.fds(["client"]);
    let pid = program.pid().to_string();
    let refused = |words: &[&str]| {
        let mut command = attach_under(&[denied, "54", "1"], &keepalive());
        let output = output_within(LIMIT, command.args(POLICY).args(words).arg(&pid));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        (text(&output.stdout), text(&output.stderr).replace("\n      ", " "))
    };
    let (printed, errors) = refused(&[]);
    let place = format!("python3 ({pid}) fd {client}");
    assert!(
        errors.contains(&format!("keepalive: cannot set all on {place}: setsockopt: count: ")),
        "{errors}"
    );
    assert!(errors.contains("3 TCP sockets of 1 process: 3 failed"), "{errors}");
    assert!(printed.contains("  failed: idle: "), "{printed}");
    let (printed, _) = refused(&["--json"]);
    let array: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(array[0]["failed"][0]["option"], "count", "{printed}");
    assert_eq!(array[0]["keepalive"], false, "{printed}");
    assert_eq!(program.has("client"), KERNEL_DEFAULTS);
}

#[test]
fn without_a_policy_the_fallback_applies() {
    python!();
    if Path::new("/etc/keepalive.conf").exists() {
        skip!("this machine has an /etc/keepalive.conf");
    }
    let mut program = pair_with("");
    let pid = program.pid().to_string();
    let output = output_within(LIMIT, attach().env_remove("KEEPALIVE_CONFIG").arg(&pid));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), "1 60 15 5 0");
}

#[test]
fn policy_off_changes_nothing() {
    python!();
    let mut program = pair_with("keepalive=1");
    let pid = program.pid().to_string();
    let output = output_within(LIMIT, attach().env("KEEPALIVE", "off").args(POLICY).arg(&pid));
    assert_eq!(
        text(&output.stderr),
        "keepalive: 3 TCP sockets of 1 process: 3 left as they are\n"
    );
    assert_eq!(program.has("client"), "1 7200 75 9 0");
    assert_eq!(program.has("accepted"), KERNEL_DEFAULTS);
}

#[test]
fn json_contains_the_values_of_the_kernel() {
    python!();
    let mut program = pair_with("keepalive=1, idle=600");
    let [client, accepted, listener] = program.fds(["client", "accepted", "listener"]);
    let policy = [&POLICY[..], &["--user-timeout=auto", "--rule=accept * off", "--json"]].concat();
    for is_dry in [true, false] {
        let words = if is_dry {
            [&policy[..], &["--dry-run"]].concat()
        } else {
            policy.clone()
        };
        let printed = attached(program.pid(), &words);
        let array: Value = serde_json::from_str(&printed).expect("JSON");
        let array = array.as_array().expect("an array");
        assert_eq!(array.len(), 3, "{printed}");
        let of = |fd: i32| array.iter().find(|object| object["fd"] == fd).expect("an object");
        let object = of(client);
        let timer = object["timer"]["expires_ms"].as_u64().expect("a timer");
        let exact = next_probe(program.pid(), client).expect("keepalive is on").as_millis();
        assert!(u128::from(timer).abs_diff(exact) < 5000, "{timer} {exact}");

        let name = |what: &str| format!("'%s:%d' % client.get{what}name()");
        assert_eq!(object["local"], program.ask(&name("sock")), "{object}");
        assert_eq!(object["peer"], program.ask(&name("peer")), "{object}");
        assert_eq!(
            object["inode"].to_string(),
            program.ask("os.fstat(client.fileno()).st_ino")
        );
        let options = [
            &object["keepalive"],
            &object["idle_s"],
            &object["interval_s"],
            &object["count"],
            &object["user_timeout_ms"],
        ];
        let options = options.map(ToString::to_string).join(" ").replace("true", "1");
        assert_eq!(options, program.has("client"), "{object}");
        assert_eq!(options, if is_dry { "1 600 75 9 0" } else { "1 600 13 4 652000" });
        let common = json!({
            "pid": program.pid(), "tid": program.pid(), "program": "python3", "family": "inet", "protocol": "tcp",
            "state": "established", "direction": "connect", "dry_run": is_dry, "unanswered_probes": 0,
        });
        for (key, value) in common.as_object().expect("an object") {
            assert_eq!(object[key], *value, "{key}: {object}");
        }
        assert_eq!(
            object["changes"],
            json!([
                {"option": "count", "from": 9, "to": 4},
                {"option": "interval", "from": 75, "to": 13},
                {"option": "user-timeout", "from": 0, "to": 652_000},
            ])
        );
        assert_eq!(object["left"][0]["option"], "idle", "{object}");
        assert_eq!(object["failed"], json!([]));
        let before = &object["before"];
        assert_eq!([&before["idle_s"], &before["count"]], [&json!(600), &json!(9)]);
        for fd in [accepted, listener] {
            let object = of(fd);
            assert_eq!(
                [&object["direction"], &object["keepalive"]],
                [&json!("accept"), &json!(false)],
                "{object}"
            );
            assert_eq!(object["changes"], json!([]));
            assert_eq!(
                object["left"][0],
                json!({"option": "keepalive", "reason": "the policy says off"})
            );
        }
        assert_eq!(of(listener)["state"], "listen");
    }
    let nothing = PyPeer::start();
    assert_eq!(attached(nothing.pid(), &["--json"]), "[]\n");
}
