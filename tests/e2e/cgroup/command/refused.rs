//! What cannot be started, and who may start what.

use super::{below, run, wait_until_tidy};
use crate::cgroup::POLICY;
use crate::support::arena::Arena;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, output_within, text};
use std::fs;
use std::process::Command;

#[test]
fn io_uring_cannot_be_denied() {
    let arena = arena!();
    let output = output_within(LIMIT, run(&arena, &["--io-uring", "deny"]).arg("true"));
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "keepalive: --io-uring deny: the cgroup engine reaches io_uring, and denies nothing\n\
         hint: leave --io-uring out, or take the supervisor: --engine seccomp\n"
    );
    assert!(below(arena.directory()).is_empty());
}

#[test]
fn what_cannot_be_started_leaves_no_cgroup() {
    let arena = arena!();
    for (program, status) in [("/nowhere/at-all", 127), ("/etc", 126)] {
        let output = output_within(LIMIT, run(&arena, &POLICY).arg(program));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    // It can only be told by trying: an interpreter that is not there.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("script");
    fs::write(&path, "#!/nowhere/at-all\n").expect("a file of ours");
    let mut chmod = Command::new("chmod");
    assert!(chmod.arg("755").arg(&path).status().expect("chmod starts").success());
    let output = output_within(LIMIT, run(&arena, &POLICY).arg(&path));
    assert!(matches!(output.status.code(), Some(126 | 127)), "{output:?}");
    wait_until_tidy(arena.directory());
}

#[test]
fn who_may_not_is_told_what_it_takes() {
    let arena = arena!();
    let installed = Installed::new();
    let lacks = "keepalive: cannot run '/bin/true' with engine cgroup: it takes root; this process lacks CAP_BPF and \
                 CAP_NET_ADMIN\n\
                 hint: run it by root, or with these capabilities; without root: keepalive run, --engine seccomp\n";
    let mut command = arena.enter("env");
    command.args(NOBODY).arg(installed.keepalive());
    command.env("KEEPALIVE_CONFIG", installed.no_config());
    let output = output_within(LIMIT, command.args(["run", "--engine", "cgroup", "/bin/true"]));
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(text(&output.stderr), lacks);
    // With the capabilities, but not in a cgroup of its own.
    let output = output_within(LIMIT, &mut delegated(&arena, &installed, &["/bin/true"]));
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let error = text(&output.stderr);
    let begin = format!(
        "keepalive: cannot run '/bin/true' with engine cgroup: {}",
        arena.directory().display()
    );
    assert!(error.starts_with(&begin), "{error}");
    assert!(error.contains(": Permission denied"), "{error}");
    assert!(
        error.contains("\nhint: it takes a cgroup in which this user may make others"),
        "{error}"
    );
    wait_until_tidy(arena.directory());
}

/// nobody's, with two capabilities.
fn delegated(arena: &Arena, installed: &Installed, command: &[&str]) -> Command {
    let [setpriv, words @ ..] = NOBODY;
    let mut program = arena.enter(setpriv);
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
fn a_user_with_two_capabilities_and_a_delegated_cgroup_needs_no_root() {
    let arena = arena!();
    python!();
    let installed = Installed::new();
    let mut chown = Command::new("chown");
    chown.arg("65534").arg(arena.directory());
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown.arg(arena.directory().join(file));
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
        &mut delegated(&arena, &installed, &[crate::support::PYTHON, "-c", script]),
    );
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "65534 1 61 13 4\n99\n");
    assert!(output.status.success(), "{output:?}");
    wait_until_tidy(arena.directory());
}
