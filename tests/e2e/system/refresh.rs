//! `keepalive system refresh`, which the packages' scripts run after an upgrade.

use super::test_system::{COMMAND, FILE, TestSystem, failed, succeeded};
use crate::support::library;
use crate::support::target::{Libc, POLICY_VALUES, compile};
use std::fs;
use std::path::Path;

/// Installs a newer library next to the command: the same with appended bytes.
fn upgrade(system: &TestSystem) -> Vec<u8> {
    let path = format!("{COMMAND}/libkeepalive.so");
    let newer = [system.bytes(&path), b"newer".to_vec()].concat();
    fs::write(system.root.outside(Path::new(&path)), &newer).expect("a file of the test");
    newer
}

#[test]
fn refresh_changes_nothing_unless_enabled() {
    let system = system!();
    assert_eq!(system.succeeds(&["refresh"]), "Not enabled; nothing has changed.\n");
    assert_eq!(system.keepalive_files(), [""; 0]);

    // The line of another library does not count as enabled.
    let line = "# keepalive-system.so\n";
    system.root.write(FILE, line);
    system.succeeds(&["refresh"]);
    assert_eq!(system.read(FILE), line);
    assert!(!system.exists(&system.copy()));
}

#[test]
fn refresh_updates_the_copy_and_keeps_its_mode() {
    let system = system!();
    for (words, mode) in [(&["enable"][..], 0o644), (&["enable", "--setuid"], 0o4644)] {
        system.succeeds(words);
        let newer = upgrade(&system);
        system.succeeds(&["refresh"]);
        assert_eq!(system.bytes(&system.copy()), newer, "{words:?}");
        assert_eq!(system.mode(&system.copy()), mode, "{words:?}");
        assert_eq!(system.read(FILE), format!("{}\n", system.copy()));
        assert_eq!(system.socket(), POLICY_VALUES);
        system.assert_quiet("refreshed");
        let again = system.succeeds(&["refresh"]);
        assert!(again.contains("nothing has changed"), "{again}");
    }
}

#[test]
fn refresh_updates_the_line() {
    let system = system!();
    system.succeeds(&["enable"]);
    let copy = system.copy();
    system.root.write(FILE, format!("# first\n{copy}:{copy}\n"));
    system.succeeds(&["refresh"]);
    assert_eq!(system.read(FILE), format!("# first\n{copy}\n"));
}

#[test]
fn refresh_works_on_another_root() {
    let system = system!();
    succeeded(&mut system.host_command(&["refresh"]));
    assert!(!system.exists(FILE));
    succeeded(&mut system.host_command(&["enable", "--setuid"]));
    fs::write(system.root.outside(Path::new(&system.copy())), upgrade(&system)).expect("a file of the test");
    succeeded(&mut system.host_command(&["refresh"]));
    assert_eq!(system.bytes(&system.copy()), fs::read(library()).expect("it was built"));
    assert_eq!(system.mode(&system.copy()), 0o4644);
}

/// The new library prints something at the start of programs.
#[test]
fn refresh_keeps_the_previous_copy_when_it_fails() {
    let system = system!();
    system.succeeds(&["enable"]);
    let before = system.bytes(&system.copy());
    let flags = ["-shared", "-fPIC", "-nostdlib", "-DOURS", "-DSPEAK"];
    let noisy = compile(Libc::Host, "harmful.c", &flags);
    system
        .root
        .install(&noisy, &Path::new(COMMAND).join("libkeepalive.so"), 0o644);
    let error = system.fails(&["refresh"]);
    assert!(error.contains("do not start silently"), "{error}");
    assert_eq!(system.bytes(&system.copy()), before);
    assert_eq!(system.socket(), POLICY_VALUES);
}

#[test]
fn refresh_fails_when_the_file_cannot_be_read() {
    let system = system!();
    fs::create_dir(system.root.outside(Path::new(FILE))).expect("a directory of the test");
    let error = failed(&mut system.command(&["refresh"]));
    assert!(error.contains(&format!("cannot use '{FILE}'")), "{error}");
}
