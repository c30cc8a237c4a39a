//! From `enable` to `disable`: in between, only eBPF programs in the kernel remain.

use super::{POLICY, both_ends, pair_with};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::{TestCgroup, wait_until_freed};
use std::fs;
use std::path::PathBuf;

/// Returns the path of the pin with this name.
#[track_caller]
fn pin(test_cgroup: &TestCgroup, name: &str) -> PathBuf {
    let found = test_cgroup.pins();
    let path = found.iter().find(|path| path.rsplit('/').next() == Some(name));
    test_cgroup
        .file_system()
        .join(path.unwrap_or_else(|| panic!("no {name} in {found:?}")))
}

const NO_PINS: [&str; 0] = [];

/// Flags of a policy that uses every kind of eBPF object: rules for programs, a mode, and persistent settings.
const EVERYTHING: [&str; 3] = ["--mode=enforce", "--rule=program nothing off", "--idle=61"];

#[test]
fn policy_stays_without_a_process_after_its_command() {
    let test_cgroup = test_cgroup!();
    python!();
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "--idle=61"]);
    assert!(output.status.success(), "{output:?}");
    // The command has closed its pipes and has left no process.
    let text_of_processes = fs::read_to_string(test_cgroup.directory().join("cgroup.procs")).expect("a cgroup");
    assert_eq!(text_of_processes, "");
    assert_eq!(both_ends(&test_cgroup), ["1 61 75 9 0"; 2]);
}

#[test]
fn new_policy_replaces_the_old_one_and_open_connections_are_unchanged() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut program = pair_with(&test_cgroup, "");
    let printed = test_cgroup.enable(&["--idle=31"]);
    assert_eq!(printed, format!("{}: replaced\n", test_cgroup.name()));
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("late"), "1 31 75 9 0");
    assert_eq!(program.has("end"), "1 31 75 9 0");
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    assert_eq!(test_cgroup.programs(test_cgroup.directory()).len(), 1);
}

#[test]
fn every_connection_has_a_policy_during_a_replacement() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&["--idle=31"]);
    let mut program = test_cgroup.py_peer();
    program.execute(
        "def run():
    seen = set()
    listener = listen()
    while not stop.is_set():
        ends = pair(listener)
        seen.update(end.getsockopt(TCP, 4) for end in ends)
        [end.close() for end in ends]
    return seen
stop = threading.Event()
seen = set()
thread = threading.Thread(target=lambda: seen.update(run()), daemon=True)
thread.start()",
    );
    for number in 0..20 {
        test_cgroup.enable(&EVERYTHING);
        test_cgroup.enable(&[&format!("--idle={}", 31 + number % 2)]);
    }
    program.execute("stop.set(); thread.join()");
    assert_eq!(program.ask("sorted(seen - {31, 32, 61})"), "[]");
    assert_eq!(program.ask("61 in seen"), "True");
}

#[test]
fn disable_leaves_nothing_and_changes_no_connection() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&EVERYTHING);
    let mut program = pair_with(&test_cgroup, "");
    let programs = test_cgroup.programs(test_cgroup.directory());
    assert_eq!(programs.len(), 2);
    assert_ne!(test_cgroup.pins(), NO_PINS);
    assert_eq!(test_cgroup.disable(), format!("{}: disabled\n", test_cgroup.name()));
    assert!(test_cgroup.programs(test_cgroup.directory()).is_empty());
    assert_eq!(test_cgroup.pins(), NO_PINS);
    wait_until_freed(&programs);
    assert_eq!(program.has("client"), "1 61 75 9 0");
    // Nothing applies the mode to later calls any more.
    program.execute("own(client, idle=99)");
    assert_eq!(program.has("client"), "1 99 75 9 0");
    program.execute("late, end = pair(listener)");
    assert_eq!(program.has("late"), KERNEL_DEFAULTS);
}

#[test]
fn replaced_programs_are_freed() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&EVERYTHING);
    let old = test_cgroup.programs(test_cgroup.directory());
    test_cgroup.enable(&["--idle=31"]);
    wait_until_freed(&old);
    let [program] = test_cgroup.programs(test_cgroup.directory())[..] else {
        panic!("one program");
    };
    let place = format!(
        "keepalive/{}",
        keepalive_sys::cgroup::id(test_cgroup.directory()).expect("a cgroup")
    );
    assert_eq!(
        test_cgroup.pins(),
        [
            "keepalive".to_owned(),
            place.clone(),
            format!("{place}/established"),
            format!("{place}/policy-{program}")
        ]
    );
}

#[test]
fn disabling_without_a_policy_is_no_error() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&POLICY);
    test_cgroup.disable();
    for cgroup in [test_cgroup.name().as_str(), "/keepalive-test-nowhere"] {
        let output = test_cgroup.output(&["cgroup", "disable", cgroup]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stderr), format!("keepalive: {cgroup} has no policy\n"));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn several_cgroups_are_enabled_and_disabled_at_once() {
    let test_cgroup = test_cgroup!();
    python!();
    let names = ["one", "two"].map(|name| test_cgroup.name_of(&test_cgroup.child(name)));
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let printed = test_cgroup.quiet(&[&["cgroup", "enable", "--idle=61"], &words[..]].concat());
    assert_eq!(printed, format!("{}: active\n{}: active\n", names[0], names[1]));
    let mut program = test_cgroup.py_peer_in(&test_cgroup.directory().join("two"), &[]);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), "1 61 75 9 0");
    let printed = test_cgroup.quiet(&[&["cgroup", "disable"], &words[..]].concat());
    assert_eq!(printed, format!("{}: disabled\n{}: disabled\n", names[0], names[1]));
    assert_eq!(test_cgroup.pins(), NO_PINS);
}

#[test]
fn cgroup_is_found_by_its_path_in_the_file_system() {
    let test_cgroup = test_cgroup!();
    let path = test_cgroup.directory().to_str().expect("a UTF-8 path");
    assert_eq!(
        test_cgroup.enable_for(path, &POLICY),
        format!("{}: active\n", test_cgroup.name())
    );
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "disable", path]),
        format!("{}: disabled\n", test_cgroup.name())
    );
}

/// As if the command had been killed before the policy was active, or during `disable`.
#[test]
fn unfinished_policy_is_reported_and_can_be_enabled_or_disabled() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    for again in [&["--idle=31"][..], &EVERYTHING] {
        test_cgroup.enable(&EVERYTHING);
        fs::remove_file(pin(&test_cgroup, "established")).expect("it is there");
        assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
        let output = test_cgroup.output(&["cgroup", "status", &name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stdout).starts_with(&format!("{name}: unfinished\n")),
            "{output:?}"
        );
        assert_eq!(test_cgroup.status()["state"], "unfinished");
        let hint = format!("keepalive cgroup enable or disable {name}");
        assert!(text(&output.stderr).contains(&hint), "{output:?}");
        test_cgroup.enable(again);
        assert_eq!(test_cgroup.status()["state"], "in-force");
        let idle = if again == EVERYTHING { 61 } else { 31 };
        assert_eq!(
            both_ends(&test_cgroup),
            [format!("1 {idle} 75 9 0"), format!("1 {idle} 75 9 0")]
        );
    }
    fs::remove_file(pin(&test_cgroup, "established")).expect("it is there");
    assert_eq!(test_cgroup.disable(), format!("{name}: disabled\n"));
    assert_eq!(test_cgroup.pins(), NO_PINS);
}

/// As if the command was killed when only the directory existed, or no file that names the cgroup.
#[test]
fn unfinished_policy_without_a_description_can_be_enabled_or_disabled() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    test_cgroup.enable(&POLICY);
    for is_enabled_again in [true, false] {
        let directory = pin(&test_cgroup, "established")
            .parent()
            .expect("a directory")
            .to_owned();
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            fs::remove_file(entry.path()).expect("a pin");
        }
        if is_enabled_again {
            test_cgroup.enable(&POLICY);
            assert_eq!(test_cgroup.status()["state"], "in-force");
        } else {
            let output = test_cgroup.output(&["cgroup", "status"]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            test_cgroup.quiet(&["cgroup", "disable", &name]);
            assert_eq!(test_cgroup.pins(), NO_PINS);
        }
    }
}
