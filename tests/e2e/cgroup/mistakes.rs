//! Policies that are invalid, or that only partly apply.

use super::{POLICY, both_ends};
use crate::support::keepalive;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::POLICY_VALUES;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

#[test]
fn mistakes_in_a_file_are_reported_by_line_and_column_and_change_nothing() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let path = path.to_str().expect("a UTF-8 path");
    fs::write(path, "default idle=60s\nconnect 10.0.0.0/33 idle=5s\naccept * idel=5\n").expect("a file of the test");
    let output = test_cgroup.output(&["cgroup", "enable", &test_cgroup.name(), "--config", path]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = text(&output.stderr);
    for begin in [format!("{path}:2:9: "), format!("{path}:3:10: ")] {
        assert!(error.lines().any(|line| line.starts_with(&begin)), "{begin}: {error}");
    }
    assert_eq!(text(&output.stdout), "");
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}

#[test]
fn mistakes_on_the_command_line_are_reported() {
    let test_cgroup = test_cgroup!();
    for (words, expected) in [
        (&["--rule=connect foo"][..], "--rule:1:9: not an address"),
        (&["--idle=0"], "--idle"),
        (&["--mode=sometimes"], "--mode"),
        (&["--preset=nothing"], "--preset"),
        (&["--config=/nowhere.conf"], "cannot read '/nowhere.conf'"),
    ] {
        let output = test_cgroup.output(&[&["cgroup", "enable", &test_cgroup.name()], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(text(&output.stderr).contains(expected), "{words:?}: {output:?}");
    }
    let output = test_cgroup.output(&["cgroup", "enable"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = test_cgroup.output(&["cgroup"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn options_that_cannot_be_set_after_the_handshake_are_reported() {
    let test_cgroup = test_cgroup!();
    python!();
    let rules = [
        "--rule=connect * idle=61s interval=13 count=4 syn-count=3",
        "--rule=accept * idle=61s interval=13 count=4",
    ];
    let output = test_cgroup.output(&[&["cgroup", "enable", &test_cgroup.name()], &rules[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let error = text(&output.stderr).replace("\n  ", " ");
    assert_eq!(
        error,
        "keepalive: not set by the cgroup engine, which comes after the handshake: syn-count\n"
    );
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}

#[test]
fn too_many_rules_for_a_program_are_refused_with_a_hint() {
    let test_cgroup = test_cgroup!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("some.conf");
    let networks = (0..250).map(|number| format!("connect 10.{number}.0.0/16 idle=9"));
    fs::write(&path, networks.collect::<Vec<_>>().join("\n")).expect("a file of the test");
    let path = path.to_str().expect("a UTF-8 path");
    // Each rule of one source is combined with each rule of the other.
    let ports = (1..=250).map(|port| format!("connect :{port} count=9"));
    let ports = ports.collect::<Vec<_>>().join(";");
    let output = test_cgroup.output(&[
        "cgroup",
        "enable",
        &test_cgroup.name(),
        "--config",
        path,
        "--rule",
        &ports,
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    assert!(
        error.contains("too many rules for one program of the kernel"),
        "{error}"
    );
    assert!(error.contains("\nhint: "), "{error}");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// The kernel resolves `..` from the target of a link, so `a/../b` could be another cgroup than `b`.
#[test]
fn path_with_two_dots_is_refused() {
    let test_cgroup = test_cgroup!();
    test_cgroup.child("a");
    test_cgroup.child("b");
    test_cgroup.enable(&POLICY);
    for path in [
        format!("{}/a/..", test_cgroup.name()),
        format!("{}/a/../b", test_cgroup.name()),
        "/..".to_owned(),
    ] {
        for verb in ["enable", "disable", "status"] {
            let output = test_cgroup.output(&["cgroup", verb, &path]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let expected = format!("keepalive: there is no cgroup '{path}'\nhint: write the path without '..'; ");
            assert!(text(&output.stderr).starts_with(&expected), "{output:?}");
        }
    }
    assert_eq!(test_cgroup.status()["state"], "in-force");
    assert_eq!(test_cgroup.report()["cgroups"].as_array().map(Vec::len), Some(1));
}

#[test]
fn directory_of_another_file_system_is_not_a_cgroup() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("child");
    let path = child.to_str().expect("a UTF-8 path");
    let mount = output_within(LIMIT, test_cgroup.inside("mount").args(["-t", "tmpfs", "none", path]));
    assert!(mount.status.success(), "{mount:?}");
    let name = test_cgroup.name_of(&child);
    let output = test_cgroup.output(&["cgroup", "enable", &name]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: the directory is not one of cgroup v2: another file system is \
             mounted there\n"
        )
    );
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// A name may contain any byte but a line feed; control characters must not reach the terminal.
#[test]
fn cgroup_with_any_name_can_be_enabled_and_disabled() {
    let test_cgroup = test_cgroup!();
    python!();
    for bytes in [
        &b"a b$(x)'\"\\"[..],
        b"\xff\xfe",
        b"\x1b[31m",
        "ü\t".as_bytes(),
        b"--watch",
        b"%n",
    ] {
        let directory = test_cgroup.directory().join(OsStr::from_bytes(bytes));
        fs::create_dir(&directory).expect("a cgroup");
        let run = |verb: &str| {
            let mut command = test_cgroup.command(&["cgroup", verb]);
            let output = output_within(
                LIMIT,
                command.args(POLICY.iter().filter(|_| verb == "enable")).arg(&directory),
            );
            assert!(output.status.success(), "{bytes:?}: {output:?}");
            assert!(!output.stdout.contains(&0x1b), "{output:?}");
            text(&output.stdout)
        };
        assert!(run("enable").ends_with(": active\n"));
        assert!(run("enable").ends_with(": replaced\n"));
        assert!(run("status").contains(": active\n"));
        assert!(run("disable").ends_with(": disabled\n"));
        // The policy of a removed cgroup is found by its name.
        assert!(run("enable").ends_with(": active\n"));
        fs::remove_dir(&directory).expect("an empty cgroup");
        // The kernel detaches asynchronously.
        let is_found = || run("disable").ends_with(": disabled\n").then_some(());
        eventually(&format!("{bytes:?} is disabled"), LIMIT, is_found);
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}

#[test]
fn few_descriptors_suffice_and_a_command_inherits_its_limits() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    for soft in ["24", "8"] {
        let wrapper = ["prlimit", &format!("--nofile={soft}:64")];
        let rule = "--rule=program python3 idle=62 mode=enforce";
        let output = output_within(
            LIMIT,
            &mut test_cgroup.command_under(&wrapper, &["cgroup", "enable", &name, rule]),
        );
        assert!(output.status.success(), "{soft}: {output:?}");
        test_cgroup.disable();
    }
    let limits = ["--memlock=65536:131072", "--nofile=100:200"];
    let script = "ulimit -Sl; ulimit -Hl; ulimit -Sn; ulimit -Hn";
    let mut command = test_cgroup.enter("prlimit");
    command.args(limits).arg(keepalive());
    command.args(["run", "--engine", "cgroup", "sh", "-c", script]);
    let output = output_within(LIMIT, &mut command);
    assert_eq!(text(&output.stdout), "64\n128\n100\n200\n", "{output:?}");
}
