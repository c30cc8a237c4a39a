//! Recovery if the active library makes every dynamic program crash.

use super::test_system::{COMMAND, FILE, TestSystem, succeeded};
use crate::support::line_peer::LinePeer;
use crate::support::process::text;
use crate::support::repository;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes every dynamic program of the system crash.
fn damage(system: &TestSystem) {
    let crashing = compile(Libc::Host, "harmful.c", &["-shared", "-fPIC", "-nostdlib", "-DDIE"]);
    system.root.install(&crashing, Path::new(&system.copy()), 0o644);
    for program in ["/bin/true", &format!("{COMMAND}/keepalive")] {
        let output = system.program(program, &[]).output().expect("chroot starts");
        assert_eq!(
            output.status.code(),
            None,
            "{program} still starts: {}",
            text(&output.stderr)
        );
    }
}

/// Returns the static command, or why there is none.
fn static_command() -> Result<PathBuf, String> {
    let output = Command::new(repository().join("scripts/static"))
        .arg("--quiet")
        .output();
    let output = output.expect("the script starts");
    let errors = text(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(text(&output.stdout).trim_end())),
        Some(77) => Err(errors.trim_end().replace('\n', "; ")),
        _ => panic!("scripts/static: {errors}"),
    }
}

/// The line that `enable` prints, in a shell that was already running: it starts no program.
#[test]
fn running_shell_can_repair_the_system() {
    let system = system!();
    let printed = system.succeeds(&["enable"]);
    let line = format!("echo >{FILE}");
    assert!(printed.lines().any(|printed| printed.trim() == line), "{printed}");
    let mut shell = LinePeer::start(&mut system.program("/bin/sh", &[]));
    shell.send_line("echo ready");
    assert_eq!(shell.answer(), "ready");
    damage(&system);
    shell.send_line(&format!("{line}; echo done"));
    assert_eq!(shell.answer(), "done");
    system.assert_quiet("after the line");
    system.succeeds(&["disable"]);
    system.succeeds(&["enable"]);
    assert_eq!(system.socket(), POLICY_VALUES);
}

#[test]
fn static_command_can_repair_the_system() {
    let system = system!();
    let command = match static_command() {
        Ok(command) => command,
        Err(why) => skip!("{why}"),
    };
    let place = format!("{COMMAND}/static");
    system.root.install(&command, Path::new(&place), 0o755);
    let keepalive_system = |action: &str| {
        let mut command = system.program(&place, &["system", action]);
        command.env("KEEPALIVE_LIBRARY", format!("{COMMAND}/libkeepalive.so"));
        command
    };
    let printed = succeeded(&mut keepalive_system("enable"));
    assert!(!printed.contains("echo"), "it needs no rescue: {printed}");
    damage(&system);

    let status = keepalive_system("status").output().expect("it starts");
    assert_eq!(status.status.code(), Some(1));
    let errors = text(&status.stderr);
    assert!(
        errors.contains("do not start") && errors.contains("system disable"),
        "{errors}"
    );
    let refused = keepalive_system("enable").output().expect("it starts");
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("do not start as it is"), "{errors}");

    succeeded(&mut keepalive_system("disable"));
    system.assert_quiet("repaired");
    assert_eq!(system.socket(), KERNEL_DEFAULTS);
    assert_eq!(system.keepalive_files(), [""; 0]);
}

/// As from a rescue system.
#[test]
fn another_system_can_repair_the_system() {
    let system = system!();
    system.succeeds(&["enable"]);
    damage(&system);
    succeeded(&mut system.host_command(&["disable"]));
    system.assert_quiet("repaired");
    assert_eq!(system.keepalive_files(), [""; 0]);
}
