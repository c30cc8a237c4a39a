//! Which engine `run` chooses for which program, and what it prints about that.

use super::{executable, run, text};
use crate::support::process::install;
use crate::support::{find_program, keepalive, library};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_static_program_and_a_script_for_one_are_run_under_a_supervisor() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("static");
    let source = directory.path().join("static.c");
    fs::write(&source, "int main(void) { return 7; }").expect("a file");
    let compiled = Command::new("cc")
        .arg("-static")
        .arg(&source)
        .arg("-o")
        .arg(&path)
        .status()
        .expect("cc starts");
    assert!(compiled.success());
    let script = executable(directory.path(), "script", &format!("#!{}\n", path.display()));
    for command in [&path, &script] {
        let output = run().arg("-v").arg(command).output().expect("keepalive starts");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{message}");
        assert!(
            message.starts_with("keepalive: engine preload and seccomp: ") && message.contains("is statically linked"),
            "{message}"
        );
        let insisted = run().args(["--engine", "preload", "-v"]).arg(command).output();
        let insisted = insisted.expect("keepalive starts");
        let message = text(&insisted.stderr);
        assert_eq!(insisted.status.code(), Some(7), "{message}");
        assert!(
            message.starts_with("keepalive: engine preload: because --engine preload insists; "),
            "{message}"
        );
    }
}

#[test]
fn a_go_program_is_run_under_a_supervisor() {
    let Some(go) = find_program("go") else {
        skip!("go is not installed")
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("main.go");
    fs::write(&source, "package main\n\nimport \"C\"\n\nfunc main() {}\n").expect("a file");
    for cgo in ["0", "1"] {
        if cgo == "0" {
            fs::write(&source, "package main\n\nfunc main() {}\n").expect("a file");
        }
        let path = directory.path().join(format!("go{cgo}"));
        let built = Command::new(&go)
            .args(["build", "-ldflags=-s -w", "-o"])
            .arg(&path)
            .arg(&source)
            .env("CGO_ENABLED", cgo)
            .env("HOME", directory.path())
            .env("GOFLAGS", "-modcacherw")
            .status()
            .expect("go starts");
        assert!(built.success());
        let output = run().arg("-v").arg(&path).output().expect("keepalive starts");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "CGO_ENABLED={cgo}: {message}");
        assert!(
            message.starts_with("keepalive: engine preload and seccomp: ") && message.contains("is a Go program"),
            "{message}"
        );
    }
}

#[test]
fn a_set_user_id_program_is_refused_to_others() {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can make a program set-user-ID to another user");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = directory.path().join("id");
    let command = directory.path().join("keepalive");
    install(&keepalive(), &command, 0o755);
    install(&library(), &directory.path().join("libkeepalive.so"), 0o644);
    let as_nobody = |path: &Path| {
        let output = Command::new(&command)
            .arg("run")
            .arg(path)
            .uid(65534)
            .gid(65534)
            .env_remove("LD_PRELOAD")
            .output();
        let output = output.expect("keepalive starts");
        (output.status.code(), text(&output.stderr))
    };
    for (mode, why) in [(0o4755, "is set-user-ID"), (0o2755, "is set-group-ID")] {
        install(Path::new("/usr/bin/id"), &path, mode);
        let (status, message) = as_nobody(&path);
        assert_eq!(status, Some(125), "{message}");
        assert!(message.contains(why), "{message}");
    }
    install(Path::new("/usr/bin/id"), &path, 0o755);
    assert_eq!(as_nobody(&path).0, Some(0));
}

#[test]
fn verbose_prints_engine_reason_and_settings() {
    let told = |command: &[&str]| {
        let output = run().args(["-v", "--idle", "30", "--"]).args(command).output();
        text(&output.expect("keepalive starts").stderr)
    };
    let settings = "keepalive: settings: idle=30s\n";
    let is_root = rustix::process::geteuid().is_root();
    let reason = if is_root {
        "engine preload and seccomp: /bin/true is a dynamic program; the supervisor takes no privilege here"
    } else {
        "engine preload: /bin/true is a dynamic program that starts no other and loads no modules"
    };
    assert_eq!(told(&["/bin/true"]), format!("keepalive: {reason}\n{settings}"));
    let shell = told(&["/bin/sh", "-c", ":"]);
    let both =
        format!("keepalive: engine preload and seccomp: /bin/sh calls execve and may start any program\n{settings}");
    if is_root {
        assert_eq!(shell, both);
    } else {
        assert!(shell.starts_with(&both) && shell.contains("(no_new_privs)"), "{shell}");
    }
}
