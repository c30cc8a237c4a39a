//! Enabling, looking and disabling, where all is well.

use super::stage::{BACKUP, COPY, FILE, Stage, succeeded};
use crate::support::process::text;
use crate::support::target::{Libc, TREATED, UNTOUCHED, compile};
use crate::support::{find_program, library};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn every_program_has_keepalive_until_it_is_disabled() {
    let stage = system!();
    assert_eq!(stage.socket(), UNTOUCHED);
    let told = stage.does(&["enable"]);
    assert!(told.contains("a program starts silently with it"), "{told}");
    assert!(told.contains("keepalive system disable"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    stage.assert_quiet("enabled");
    assert_eq!(stage.socket(), TREATED);
    assert_eq!(stage.read(FILE), format!("{}\n", stage.copy()));
    assert_eq!(stage.bytes(&stage.copy()), fs::read(library()).expect("it was built"));
    assert_eq!((stage.mode(FILE), stage.mode(&stage.copy())), (0o644, 0o644));

    stage.does(&["disable"]);
    stage.assert_quiet("disabled");
    assert_eq!(stage.socket(), UNTOUCHED);
    assert_eq!(stage.ours(), [""; 0], "nothing is left");
}

/// The umask is the administrator's, and every program must be able to read both files.
#[test]
fn the_umask_does_not_matter() {
    let stage = system!();
    let enable = "umask 077; exec /opt/keepalive/keepalive system enable";
    let mut command = stage.program("/bin/sh", &["-c", enable]);
    succeeded(command.env("KEEPALIVE_LIBRARY", "/opt/keepalive/libkeepalive.so"));
    assert_eq!((stage.mode(FILE), stage.mode(&stage.copy())), (0o644, 0o644));
}

#[test]
fn doing_it_twice_changes_nothing() {
    let stage = system!();
    stage.does(&["disable"]);
    stage.does(&["enable"]);
    let before = (stage.read(FILE), stage.ours());
    assert_eq!(stage.does(&["enable"]), "It is active already; nothing has changed.\n");
    assert_eq!((stage.read(FILE), stage.ours()), before);
    stage.does(&["disable"]);
    let told = stage.does(&["disable"]);
    assert!(told.starts_with("It was not enabled"), "{told}");
}

#[test]
fn another_system_is_changed_outside() {
    let stage = system!();
    // As in an image: absolute links are the image's.
    fs::create_dir(stage.root.path().join("data")).expect("a directory of ours");
    fs::rename(stage.root.path().join("etc"), stage.root.path().join("data/etc")).expect("a directory of ours");
    symlink("/data/etc", stage.root.path().join("etc")).expect("a link of ours");
    let told = succeeded(&mut stage.outside(&["enable"]));
    assert!(told.contains("a program starts silently with it"), "{told}");
    assert_eq!(stage.socket(), TREATED);
    let shown = succeeded(&mut stage.outside(&["status"]));
    assert!(shown.contains("served"), "{shown}");
    succeeded(&mut stage.outside(&["disable"]));
    assert_eq!(stage.socket(), UNTOUCHED);
    assert_eq!(stage.ours(), [""; 0]);
}

/// Here there is no user without privileges for its programs.
#[test]
fn where_programs_cannot_be_confined_none_is_tried_and_that_is_said() {
    let stage = system!();
    if find_program("unshare").is_none() {
        skip!("unshare is not installed");
    }
    let unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .output();
    if !unshare.expect("unshare starts").status.success() {
        skip!("no user namespaces here, as in a chroot");
    }
    let mut command = crate::support::process::wrapped(
        &["unshare", "--user", "--map-root-user", "--"],
        crate::support::released_keepalive(),
    );
    command.args(["system", "enable", "--root"]).arg(stage.root.path());
    let told = succeeded(command.env_clear().env("KEEPALIVE_LIBRARY", library()));
    assert!(told.contains("NOT tried: they could not be confined here"), "{told}");
    stage.assert_quiet("enabled by reading files");
    assert_eq!(stage.socket(), TREATED);
}

#[test]
fn status_says_what_is_active() {
    let stage = system!();
    let off = stage.does(&["status"]);
    assert!(off.starts_with("Not enabled"), "{off}");
    stage.does(&["enable"]);
    let on = stage.does(&["status"]);
    for expected in [
        "Enabled in /etc/ld.so.preload",
        "served",
        env!("CARGO_PKG_VERSION"),
        "   1  keepalive  /",
    ] {
        assert!(on.contains(expected), "{expected}: {on}");
    }
    assert!(on.lines().all(|line| line.chars().count() <= 80), "{on}");
    let json: serde_json::Value = serde_json::from_str(&stage.does(&["status", "--json"])).expect("JSON");
    assert_eq!(json["enabled"], true);
    assert_eq!(json["setuid"], false);
    assert_eq!(json["programs"][0]["served"], true);
    assert_eq!(json["programs"][0]["up_to_date"], true);
    assert_eq!(json["entries"][0]["ours"], true);
    assert_eq!(json["problems"], serde_json::json!([]));
}

#[test]
fn status_finds_what_is_wrong() {
    let stage = system!();
    stage.root.install(
        &find_program("true").expect("a program"),
        Path::new("/usr/lib/libkeepalive.so"),
        0o644,
    );
    stage.does(&["enable"]);
    let copy = stage.root.outside(Path::new(&stage.copy()));
    let problem = |stage: &Stage| {
        let output = stage.outside(&["status"]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let line = format!("{}\n", stage.copy());
    for (line, expected) in [
        (
            format!("{line}/usr/lib/none.so\n"),
            "line 2: '/usr/lib/none.so': it is missing",
        ),
        (
            format!("/etc/ld.so.preload\n{line}"),
            "line 1: '/etc/ld.so.preload': it is no library",
        ),
        (
            format!("/usr/lib/libkeepalive.so {line}"),
            "libkeepalive 0.3, or a library of the same name",
        ),
        (
            format!("/opt/keepalive/libkeepalive.so\n{line}"),
            "not put there by 'system enable'",
        ),
        (
            format!("# one\n# two\n{line}# three is misread\n"),
            "line 4: glibc takes",
        ),
        (format!("{line}{line}"), "named more than once"),
        (String::new(), "no line names it"),
    ] {
        stage.root.write(FILE, &line);
        let found = problem(&stage);
        assert!(found.contains(expected), "{line}: {found}");
    }
    stage.root.write(FILE, &line);

    fs::set_permissions(&copy, fs::Permissions::from_mode(0o666)).expect("a file of ours");
    assert!(problem(&stage).contains("can be changed by others"));
    fs::set_permissions(stage.root.outside(Path::new(FILE)), fs::Permissions::from_mode(0o600))
        .expect("a file of ours");
    assert!(problem(&stage).contains("has mode 600"));
    fs::copy(compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]), &copy).expect("a file of ours");
    assert!(problem(&stage).contains("no libkeepalive.so of this project"));
    fs::remove_file(&copy).expect("a file of ours");
    let found = problem(&stage);
    assert!(found.contains("names a library that is missing"), "{found}");

    succeeded(&mut stage.outside(&["enable"]));
    stage.assert_quiet("put right");
    assert_eq!(stage.ours().iter().filter(|name| *name == COPY).count(), 1);
    assert!(!stage.exists(BACKUP), "there was nothing else in the file");
}

/// A package's library and hand-made lines are not ours to remove.
#[test]
fn what_enable_did_not_put_there_stays() {
    let stage = system!();
    let packaged = format!("{}/libkeepalive.so", stage.directory.display());
    stage.root.install(&library(), Path::new(&packaged), 0o644);
    stage.does(&["enable"]);
    stage.does(&["disable"]);
    assert_eq!(stage.ours(), ["libkeepalive.so"]);

    let line = format!("{packaged}\n");
    stage.root.write(FILE, &line);
    let refusal = stage.refuses(&["enable"]);
    assert!(
        refusal.contains("line 1") && refusal.contains("hint: take it out"),
        "{refusal}"
    );
    stage.does(&["disable"]);
    assert_eq!(stage.read(FILE), line);
}
