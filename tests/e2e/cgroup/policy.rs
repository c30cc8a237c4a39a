//! The sources of a policy.

use super::{POLICY, both_ends, pair_with};
use crate::support::process::{LIMIT, output_within};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::{BPF_FILE_SYSTEM, TestCgroup};
use std::fs;

#[test]
fn both_ends_of_a_connection_have_the_policy_and_its_listener_is_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    let printed = test_cgroup.enable(&POLICY);
    assert_eq!(printed, format!("{}: active\n", test_cgroup.name()));
    let mut program = pair_with(&test_cgroup, "");
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    assert_eq!(program.has("listener"), KERNEL_DEFAULTS);
    program.assert_talks("client", "accepted");
}

#[test]
fn sockets_outside_of_the_cgroup_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut inside = test_cgroup.py_peer();
    inside.execute("listener = listen()");
    let port = inside.number("listener.getsockname()[1]");
    let mut outside = crate::support::py_peer::PyPeer::start();
    outside.execute(&format!("client = socket.create_connection(('127.0.0.1', {port}))"));
    inside.execute("accepted = listener.accept()[0]");
    assert_eq!(inside.has("accepted"), POLICY_VALUES);
    assert_eq!(outside.has("client"), KERNEL_DEFAULTS);
}

#[test]
fn without_a_policy_the_fallback_60_15_5_applies() {
    let _ = test_cgroup!();
    python!();
    // Hides the machine's own rules file.
    let test_cgroup =
        TestCgroup::prepared(&format!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /etc")).expect("as the other");
    let mut command = test_cgroup.command(&["cgroup", "enable", &test_cgroup.name()]);
    let output = output_within(LIMIT, command.env_remove("KEEPALIVE_CONFIG"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), ["1 60 15 5 0"; 2]);
}

#[test]
fn file_in_etc_applies() {
    let _ = test_cgroup!();
    python!();
    let lines = format!("{BPF_FILE_SYSTEM}; mount -t tmpfs none /etc; echo 'connect * idle=33s' > /etc/keepalive.conf");
    let test_cgroup = TestCgroup::prepared(&lines).expect("as the other");
    let mut command = test_cgroup.command(&["cgroup", "enable", &test_cgroup.name(), "--interval=9s"]);
    let output = output_within(LIMIT, command.env_remove("KEEPALIVE_CONFIG"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), ["1 33 9 9 0", "1 7200 9 9 0"]);
    assert_eq!(test_cgroup.status()["rules"][0]["from"], "/etc/keepalive.conf");
}

#[test]
fn options_of_the_command_line_apply() {
    let test_cgroup = test_cgroup!();
    python!();
    for (flags, expected) in [
        (&["--idle=2m"][..], "1 120 75 9 0"),
        (&["--interval=7"], "1 7200 7 9 0"),
        (&["--count=3"], "1 7200 75 3 0"),
        (&["--user-timeout=1500ms"], "1 7200 75 9 1500"),
        (
            &["--idle=60", "--interval=10", "--count=3", "--user-timeout=auto"],
            "1 60 10 3 90000",
        ),
        // The user timeout is computed from the kernel's defaults: 7200 + 75 x 9 seconds.
        (&["--user-timeout=auto"], "1 7200 75 9 7875000"),
        (&["--preset=aws-nlb", "--count=2"], "1 110 30 2 0"),
    ] {
        test_cgroup.enable(flags);
        assert_eq!(both_ends(&test_cgroup), [expected; 2], "{flags:?}");
    }
}

#[test]
fn rules_of_the_command_line_keep_their_order() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[
        "--rule=connect 127.0.0.0/8 idle=31s",
        "--rule=connect * idle=30s",
        "--rule=accept * idle=32s interval=3s",
        "--idle=61",
    ]);
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0", "1 32 3 9 0"]);
}

#[test]
fn rules_match_ports_of_the_peer_and_of_the_listener() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer();
    program.execute("here = listen(); there = listen()");
    let [here, there] = ["here", "there"].map(|name| program.number(&format!("{name}.getsockname()[1]")));
    let (low, high) = (here.min(there), here.max(there));
    test_cgroup.enable(&[
        &format!("--rule=connect 127.0.0.1:{here} idle=31s"),
        &format!("--rule=accept :{there} idle=32s"),
        &format!("--rule=connect :{low}-{high} idle=33s"),
        &format!("--rule=accept :{low}-{high} idle=34s"),
        "--rule=connect :0-65535 idle=35s",
    ]);
    program.execute("one, two = pair(here); three, four = pair(there)");
    assert_eq!(program.has("one"), "1 31 75 9 0");
    assert_eq!(program.has("two"), "1 34 75 9 0");
    assert_eq!(program.has("three"), "1 33 75 9 0");
    assert_eq!(program.has("four"), "1 32 75 9 0");
}

#[test]
fn rule_with_off_changes_no_connection() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[&POLICY[..], &["--rule=connect * off"]].concat());
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS, POLICY_VALUES]);
}

#[test]
fn program_rules_match_the_name_of_the_connecting_or_listening_process() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[
        "--rule=program ka-first connect * idle=31s",
        "--rule=program ka-first idle=32s",
        "--rule=program ka-a-name-of-twenty idle=33s",
        "--idle=61",
    ]);
    let mut program = test_cgroup.py_peer();
    program.execute("def call(name): open('/proc/self/comm', 'w').write(name)");
    for (name, expected) in [
        ("ka-first", ["1 31 75 9 0", "1 32 75 9 0"]),
        // The kernel keeps 15 bytes of a name.
        ("ka-a-name-of-twenty", ["1 33 75 9 0", "1 33 75 9 0"]),
        ("ka-other", ["1 61 75 9 0", "1 61 75 9 0"]),
    ] {
        program.execute(&format!("call({name:?}); client, accepted = pair(listen())"));
        assert_eq!(["client", "accepted"].map(|end| program.has(end)), expected, "{name}");
    }
}

#[test]
fn rules_file_applies_after_the_command_line() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let path = path.to_str().expect("a UTF-8 path");
    fs::write(path, "accept * idle=32s interval=3s\n\ndefault idle=40s count=7\n").expect("a file of the test");
    test_cgroup.enable(&["--config", path]);
    assert_eq!(both_ends(&test_cgroup), ["1 40 75 7 0", "1 32 3 9 0"]);
    test_cgroup.enable(&["--config", path, "--idle=61"]);
    assert_eq!(both_ends(&test_cgroup), ["1 61 75 7 0", "1 61 3 9 0"]);
    test_cgroup.enable(&["--config", path, "--rule=connect * count=2"]);
    assert_eq!(both_ends(&test_cgroup), ["1 40 75 2 0", "1 32 3 9 0"]);
}

#[test]
fn environment_applies_after_the_command_line_and_before_the_file() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    fs::write(&path, "default idle=40s interval=4s count=7\n").expect("a file of the test");
    let mut command = test_cgroup.command(&["cgroup", "enable", &test_cgroup.name(), "--idle=61"]);
    command
        .env("KEEPALIVE_CONFIG", &path)
        .env("KEEPIDLE", "50")
        .env("KEEPINTVL", "5")
        .env("KEEPALIVE_RULES", "accept * user-timeout=9s");
    let output = output_within(LIMIT, &mut command);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), ["1 61 5 7 0", "1 40 4 7 9000"]);
}

#[test]
fn policy_off_sets_nothing() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut command = test_cgroup.command(&["cgroup", "enable", &name, "--idle=61"]);
    let output = output_within(LIMIT, command.env("KEEPALIVE", "off"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
    assert_eq!(test_cgroup.status()["default"], "off");
}
