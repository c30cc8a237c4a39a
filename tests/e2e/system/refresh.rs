//! `keepalive system refresh`, which the packages' scripts run after new files were installed.

use super::stage::{COMMAND, FILE, Stage, failed, succeeded};
use crate::support::library;
use crate::support::target::{Libc, TREATED, compile};
use std::fs;
use std::path::Path;

/// Installs a newer library beside the command: the same with more bytes behind it.
fn upgrade(stage: &Stage) -> Vec<u8> {
    let path = format!("{COMMAND}/libkeepalive.so");
    let newer = [stage.bytes(&path), b"newer".to_vec()].concat();
    fs::write(stage.root.outside(Path::new(&path)), &newer).expect("a file of ours");
    newer
}

#[test]
fn refresh_changes_nothing_unless_enabled() {
    let stage = system!();
    assert_eq!(stage.does(&["refresh"]), "Not enabled; nothing has changed.\n");
    assert_eq!(stage.ours(), [""; 0]);

    // The line of another library does not enable ours.
    let line = "# keepalive-system.so\n";
    stage.root.write(FILE, line);
    stage.does(&["refresh"]);
    assert_eq!(stage.read(FILE), line);
    assert!(!stage.exists(&stage.copy()));
}

#[test]
fn refresh_updates_the_copy_and_keeps_its_mode() {
    let stage = system!();
    for (words, mode) in [(&["enable"][..], 0o644), (&["enable", "--setuid"], 0o4644)] {
        stage.does(words);
        let newer = upgrade(&stage);
        stage.does(&["refresh"]);
        assert_eq!(stage.bytes(&stage.copy()), newer, "{words:?}");
        assert_eq!(stage.mode(&stage.copy()), mode, "{words:?}");
        assert_eq!(stage.read(FILE), format!("{}\n", stage.copy()));
        assert_eq!(stage.socket(), TREATED);
        stage.assert_quiet("refreshed");
        let again = stage.does(&["refresh"]);
        assert!(again.contains("nothing has changed"), "{again}");
    }
}

#[test]
fn refresh_updates_the_line() {
    let stage = system!();
    stage.does(&["enable"]);
    let copy = stage.copy();
    stage.root.write(FILE, format!("# first\n{copy}:{copy}\n"));
    stage.does(&["refresh"]);
    assert_eq!(stage.read(FILE), format!("# first\n{copy}\n"));
}

#[test]
fn refresh_works_on_another_root() {
    let stage = system!();
    succeeded(&mut stage.outside(&["refresh"]));
    assert!(!stage.exists(FILE));
    succeeded(&mut stage.outside(&["enable", "--setuid"]));
    fs::write(stage.root.outside(Path::new(&stage.copy())), upgrade(&stage)).expect("a file of ours");
    succeeded(&mut stage.outside(&["refresh"]));
    assert_eq!(stage.bytes(&stage.copy()), fs::read(library()).expect("it was built"));
    assert_eq!(stage.mode(&stage.copy()), 0o4644);
}

/// The new library prints something.
#[test]
fn refresh_keeps_the_previous_copy_when_it_fails() {
    let stage = system!();
    stage.does(&["enable"]);
    let before = stage.bytes(&stage.copy());
    let flags = ["-shared", "-fPIC", "-nostdlib", "-DOURS", "-DSPEAK"];
    let noisy = compile(Libc::Host, "harmful.c", &flags);
    stage
        .root
        .install(&noisy, &Path::new(COMMAND).join("libkeepalive.so"), 0o644);
    let error = stage.refuses(&["refresh"]);
    assert!(error.contains("do not start silently"), "{error}");
    assert_eq!(stage.bytes(&stage.copy()), before);
    assert_eq!(stage.socket(), TREATED);
}

#[test]
fn refresh_fails_when_the_file_cannot_be_read() {
    let stage = system!();
    fs::create_dir(stage.root.outside(Path::new(FILE))).expect("a directory of ours");
    let error = failed(&mut stage.system(&["refresh"]));
    assert!(error.contains(&format!("cannot use '{FILE}'")), "{error}");
}
