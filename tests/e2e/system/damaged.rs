//! Where the active library makes every dynamic program die, there is a way back.

use super::stage::{COMMAND, FILE, Stage, succeeded};
use crate::support::line_peer::LinePeer;
use crate::support::process::text;
use crate::support::repository;
use crate::support::target::{Libc, TREATED, UNTOUCHED, compile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes every dynamic program there die.
fn damage(stage: &Stage) {
    let deadly = compile(Libc::Host, "harmful.c", &["-shared", "-fPIC", "-nostdlib", "-DDIE"]);
    stage.root.install(&deadly, Path::new(&stage.copy()), 0o644);
    for program in ["/bin/true", &format!("{COMMAND}/keepalive")] {
        let output = stage.program(program, &[]).output().expect("chroot starts");
        assert_eq!(
            output.status.code(),
            None,
            "{program} still starts: {}",
            text(&output.stderr)
        );
    }
}

/// The command that needs no loader, or why there is none.
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

/// The line that `enable` tells, in a shell that was there before: it starts no program.
#[test]
fn an_open_shell_is_enough() {
    let stage = system!();
    let told = stage.does(&["enable"]);
    let line = format!("echo >{FILE}");
    assert!(told.lines().any(|told| told.trim() == line), "{told}");
    let mut shell = LinePeer::start(&mut stage.program("/bin/sh", &[]));
    shell.tell("echo ready");
    assert_eq!(shell.answer(), "ready");
    damage(&stage);
    shell.tell(&format!("{line}; echo done"));
    assert_eq!(shell.answer(), "done");
    stage.assert_quiet("after the line");
    stage.does(&["disable"]);
    stage.does(&["enable"]);
    assert_eq!(stage.socket(), TREATED);
}

#[test]
fn a_command_without_a_loader_repairs_it() {
    let stage = system!();
    let command = match static_command() {
        Ok(command) => command,
        Err(why) => skip!("{why}"),
    };
    let place = format!("{COMMAND}/static");
    stage.root.install(&command, Path::new(&place), 0o755);
    let system = |action: &str| {
        let mut command = stage.program(&place, &["system", action]);
        command.env("KEEPALIVE_LIBRARY", format!("{COMMAND}/libkeepalive.so"));
        command
    };
    let told = succeeded(&mut system("enable"));
    assert!(!told.contains("echo"), "it needs no rescue: {told}");
    damage(&stage);

    let status = system("status").output().expect("it starts");
    assert_eq!(status.status.code(), Some(1));
    let errors = text(&status.stderr);
    assert!(
        errors.contains("do not start") && errors.contains("system disable"),
        "{errors}"
    );
    let refused = system("enable").output().expect("it starts");
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("do not start as it is"), "{errors}");

    succeeded(&mut system("disable"));
    stage.assert_quiet("repaired");
    assert_eq!(stage.socket(), UNTOUCHED);
    assert_eq!(stage.ours(), [""; 0]);
}

/// As from a rescue system.
#[test]
fn another_system_repairs_it() {
    let stage = system!();
    stage.does(&["enable"]);
    damage(&stage);
    succeeded(&mut stage.outside(&["disable"]));
    stage.assert_quiet("repaired");
    assert_eq!(stage.ours(), [""; 0]);
}
