//! Commands that cannot be started, and users without permission.

use super::{below, run, wait_until_empty};
use crate::cgroup::POLICY;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, install, output_within, text};
use crate::support::test_cgroup::TestCgroup;
use std::fs;
use std::process::Command;

#[test]
fn denying_io_uring_is_refused() {
    let test_cgroup = test_cgroup!();
    let output = output_within(LIMIT, run(&test_cgroup, &["--io-uring", "deny"]).arg("true"));
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "keepalive: --io-uring deny: the cgroup engine reaches io_uring, and denies nothing\n\
         hint: leave --io-uring out, or take the supervisor: --engine seccomp\n"
    );
    assert!(below(test_cgroup.directory()).is_empty());
}

/// podman puts the container into a cgroup of its own, unless it is told otherwise.
#[test]
fn a_note_says_that_podman_leaves_the_cgroup() {
    let test_cgroup = test_cgroup!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("source");
    fs::write(&source, "#!/bin/sh\nexit 7\n").expect("a file of ours");
    let podman = directory.path().join("podman");
    install(&source, &podman, 0o755);
    for (arguments, is_noted) in [
        (&["run", "image"][..], true),
        (&["run", "--cgroups=split", "image"], false),
    ] {
        let output = output_within(LIMIT, run(&test_cgroup, &POLICY).arg(&podman).args(arguments));
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let begin = "keepalive: note: podman moves the program into another cgroup";
        assert_eq!(text(&output.stderr).starts_with(begin), is_noted, "{output:?}");
    }
}

#[test]
fn failed_start_leaves_no_cgroup() {
    let test_cgroup = test_cgroup!();
    for (program, status) in [("/nowhere/at-all", 127), ("/etc", 126)] {
        let output = output_within(LIMIT, run(&test_cgroup, &POLICY).arg(program));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    // Only execve(2) finds that the interpreter is missing.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("script");
    fs::write(&path, "#!/nowhere/at-all\n").expect("a file of the test");
    let mut chmod = Command::new("chmod");
    assert!(chmod.arg("755").arg(&path).status().expect("chmod starts").success());
    let output = output_within(LIMIT, run(&test_cgroup, &POLICY).arg(&path));
    assert!(matches!(output.status.code(), Some(126 | 127)), "{output:?}");
    wait_until_empty(test_cgroup.directory());
}

#[test]
fn missing_permissions_are_named() {
    let test_cgroup = test_cgroup!();
    let installed = Installed::new();
    let lacks = "keepalive: cannot run '/bin/true' with engine cgroup: it requires root; this process lacks CAP_BPF and \
                 CAP_NET_ADMIN\n\
                 hint: run it as root, or with these capabilities; without root: keepalive run, --engine seccomp\n";
    let mut command = test_cgroup.enter("env");
    command.args(NOBODY).arg(installed.keepalive());
    command.env("KEEPALIVE_CONFIG", installed.no_config());
    let output = output_within(LIMIT, command.args(["run", "--engine", "cgroup", "/bin/true"]));
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(text(&output.stderr), lacks);
    // With the capabilities, but without a delegated cgroup.
    let output = output_within(LIMIT, &mut delegated(&test_cgroup, &installed, &["/bin/true"]));
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let error = text(&output.stderr);
    let begin = format!(
        "keepalive: cannot run '/bin/true' with engine cgroup: {}",
        test_cgroup.directory().display()
    );
    assert!(error.starts_with(&begin), "{error}");
    assert!(error.contains(": Permission denied"), "{error}");
    assert!(
        error.contains("\nhint: it requires a cgroup in which this user may make others"),
        "{error}"
    );
    wait_until_empty(test_cgroup.directory());
}

/// Returns the command run as nobody, with two capabilities.
fn delegated(test_cgroup: &TestCgroup, installed: &Installed, command: &[&str]) -> Command {
    let [setpriv, words @ ..] = NOBODY;
    let mut program = test_cgroup.enter(setpriv);
    program
        .args(["--inh-caps=+bpf,+net_admin", "--ambient-caps=+bpf,+net_admin"])
        .args(words)
        .arg(installed.keepalive())
        .args(["run", "--engine", "cgroup"])
        .args(POLICY)
        .arg("--")
        .args(command)
        .env("KEEPALIVE_CONFIG", installed.no_config());
    program
}

#[test]
fn two_capabilities_and_a_delegated_cgroup_suffice() {
    let test_cgroup = test_cgroup!();
    python!();
    let installed = Installed::new();
    let mut chown = Command::new("chown");
    chown.arg("65534").arg(test_cgroup.directory());
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown.arg(test_cgroup.directory().join(file));
    }
    assert!(chown.status().expect("chown starts").success());
    let script = "import socket, os
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
c = socket.create_connection(l.getsockname())
print(os.getuid(), *[c.getsockopt(*o) for o in ((1, 9), (6, 4), (6, 5), (6, 6))])
c.setsockopt(6, 4, 99)
print(c.getsockopt(6, 4))";
    let output = output_within(
        LIMIT,
        &mut delegated(&test_cgroup, &installed, &[crate::support::PYTHON, "-c", script]),
    );
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "65534 1 61 13 4\n99\n");
    assert!(output.status.success(), "{output:?}");
    wait_until_empty(test_cgroup.directory());
}
