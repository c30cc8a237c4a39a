//! `enable`, `status` and `disable`, without obstacles.

use super::test_system::{BACKUP, COPY, FILE, TestSystem, succeeded};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use crate::support::{find_program, library};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn programs_have_keepalive_until_it_is_disabled() {
    let system = system!();
    assert_eq!(system.socket(), KERNEL_DEFAULTS);
    let printed = system.succeeds(&["enable"]);
    assert!(printed.contains("a program starts silently with it"), "{printed}");
    assert!(printed.contains("keepalive system disable"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    system.assert_quiet("enabled");
    assert_eq!(system.socket(), POLICY_VALUES);
    assert_eq!(system.read(FILE), format!("{}\n", system.copy()));
    assert_eq!(system.bytes(&system.copy()), fs::read(library()).expect("it was built"));
    assert_eq!((system.mode(FILE), system.mode(&system.copy())), (0o644, 0o644));

    system.succeeds(&["disable"]);
    system.assert_quiet("disabled");
    assert_eq!(system.socket(), KERNEL_DEFAULTS);
    assert_eq!(system.keepalive_files(), [""; 0], "nothing is left");
}

/// The umask is the administrator's, but every program must be able to read both files.
#[test]
fn umask_does_not_change_modes() {
    let system = system!();
    let enable = "umask 077; exec /opt/keepalive/keepalive system enable";
    let mut command = system.program("/bin/sh", &["-c", enable]);
    succeeded(command.env("KEEPALIVE_LIBRARY", "/opt/keepalive/libkeepalive.so"));
    assert_eq!((system.mode(FILE), system.mode(&system.copy())), (0o644, 0o644));
}

#[test]
fn second_enable_or_disable_changes_nothing() {
    let system = system!();
    system.succeeds(&["disable"]);
    system.succeeds(&["enable"]);
    let before = (system.read(FILE), system.keepalive_files());
    assert_eq!(
        system.succeeds(&["enable"]),
        "It is active already; nothing has changed.\n"
    );
    assert_eq!((system.read(FILE), system.keepalive_files()), before);
    system.succeeds(&["disable"]);
    let printed = system.succeeds(&["disable"]);
    assert!(printed.starts_with("It was not enabled"), "{printed}");
}

#[test]
fn another_root_can_be_enabled_and_disabled() {
    let system = system!();
    // As in an image: absolute links are relative to the image.
    fs::create_dir(system.root.path().join("data")).expect("a directory of the test");
    fs::rename(system.root.path().join("etc"), system.root.path().join("data/etc")).expect("a directory of the test");
    symlink("/data/etc", system.root.path().join("etc")).expect("a link of the test");
    let printed = succeeded(&mut system.host_command(&["enable"]));
    assert!(printed.contains("a program starts silently with it"), "{printed}");
    assert_eq!(system.socket(), POLICY_VALUES);
    let shown = succeeded(&mut system.host_command(&["status"]));
    assert!(shown.contains("served"), "{shown}");
    succeeded(&mut system.host_command(&["disable"]));
    assert_eq!(system.socket(), KERNEL_DEFAULTS);
    assert_eq!(system.keepalive_files(), [""; 0]);
}

/// In this user namespace there is no unprivileged user to run programs as.
#[test]
fn without_confinement_no_program_is_tried_and_this_is_reported() {
    let system = system!();
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
    command.args(["system", "enable", "--root"]).arg(system.root.path());
    let printed = succeeded(command.env_clear().env("KEEPALIVE_LIBRARY", library()));
    assert!(
        printed.contains("NOT tried: they could not be confined here"),
        "{printed}"
    );
    system.assert_quiet("enabled by reading files");
    assert_eq!(system.socket(), POLICY_VALUES);
}

#[test]
fn status_shows_the_active_library() {
    let system = system!();
    let off = system.succeeds(&["status"]);
    assert!(off.starts_with("Not enabled"), "{off}");
    system.succeeds(&["enable"]);
    let on = system.succeeds(&["status"]);
    for expected in [
        "Enabled in /etc/ld.so.preload",
        "served",
        env!("CARGO_PKG_VERSION"),
        "   1  keepalive  /",
    ] {
        assert!(on.contains(expected), "{expected}: {on}");
    }
    assert!(on.lines().all(|line| line.chars().count() <= 80), "{on}");
    let json: serde_json::Value = serde_json::from_str(&system.succeeds(&["status", "--json"])).expect("JSON");
    assert_eq!(json["enabled"], true);
    assert_eq!(json["setuid"], false);
    assert_eq!(json["programs"][0]["served"], true);
    assert_eq!(json["programs"][0]["up_to_date"], true);
    assert_eq!(json["entries"][0]["ours"], true);
    assert_eq!(json["problems"], serde_json::json!([]));
}

#[test]
fn status_reports_problems() {
    let system = system!();
    system.root.install(
        &find_program("true").expect("a program"),
        Path::new("/usr/lib/libkeepalive.so"),
        0o644,
    );
    system.succeeds(&["enable"]);
    let copy = system.root.outside(Path::new(&system.copy()));
    let problem = |system: &TestSystem| {
        let output = system.host_command(&["status"]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let line = format!("{}\n", system.copy());
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
        system.root.write(FILE, &line);
        let found = problem(&system);
        assert!(found.contains(expected), "{line}: {found}");
    }
    system.root.write(FILE, &line);

    fs::set_permissions(&copy, fs::Permissions::from_mode(0o666)).expect("a file of the test");
    assert!(problem(&system).contains("can be changed by others"));
    fs::set_permissions(system.root.outside(Path::new(FILE)), fs::Permissions::from_mode(0o600))
        .expect("a file of the test");
    assert!(problem(&system).contains("has mode 600"));
    fs::copy(compile(Libc::Host, "empty.c", &["-shared", "-fPIC"]), &copy).expect("a file of the test");
    assert!(problem(&system).contains("no libkeepalive.so of this project"));
    fs::remove_file(&copy).expect("a file of the test");
    let found = problem(&system);
    assert!(found.contains("names a library that is missing"), "{found}");

    succeeded(&mut system.host_command(&["enable"]));
    system.assert_quiet("put right");
    assert_eq!(system.keepalive_files().iter().filter(|name| *name == COPY).count(), 1);
    assert!(!system.exists(BACKUP), "there was nothing else in the file");
}

/// The library of a package, and lines that an administrator has written, must not be removed.
#[test]
fn files_and_lines_that_enable_did_not_write_stay() {
    let system = system!();
    let packaged = format!("{}/libkeepalive.so", system.directory.display());
    system.root.install(&library(), Path::new(&packaged), 0o644);
    system.succeeds(&["enable"]);
    system.succeeds(&["disable"]);
    assert_eq!(system.keepalive_files(), ["libkeepalive.so"]);

    let line = format!("{packaged}\n");
    system.root.write(FILE, &line);
    let refusal = system.fails(&["enable"]);
    assert!(
        refusal.contains("line 1") && refusal.contains("hint: take it out"),
        "{refusal}"
    );
    system.succeeds(&["disable"]);
    assert_eq!(system.read(FILE), line);
}
