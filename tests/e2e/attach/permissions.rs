//! Who may: a user on his own processes, root on all; and what is said to others.

use super::{POLICY, attach_under};
use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, TREATED, UNTOUCHED, compile};
use std::fs::{self, File};
use std::process::{Command, Output};

const AS_WE_ARE: [&str; 0] = [];

impl Installed {
    /// `keepalive attach` with the policy.
    fn attach_command(&self, wrapper: &[&str]) -> Command {
        let mut command = attach_under(wrapper, &self.keepalive());
        command.env("KEEPALIVE_CONFIG", self.no_config()).args(POLICY);
        command
    }

    fn attach(&self, wrapper: &[&str], words: &[&str]) -> Output {
        output_within(LIMIT, self.attach_command(wrapper).args(words))
    }

    /// Asserts that the policy is not set, and that standard error tells why and what helps.
    #[track_caller]
    fn assert_denied(&self, wrapper: &[&str], program: &mut PyPeer, hint: &str) {
        let pid = program.pid().to_string();
        let output = self.attach(wrapper, &[&pid]);
        let errors = text(&output.stderr).replace("\n      ", " ");
        assert_eq!(program.has("client"), UNTOUCHED);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            errors.contains(&format!("keepalive: cannot attach to process {pid}: ")),
            "{errors}"
        );
        assert!(errors.contains(&format!("hint: {hint}")), "{errors}");
    }
}

/// A program with a connection, under `wrapper`.
fn program(wrapper: &[&str]) -> PyPeer {
    let mut program = PyPeer::under(wrapper);
    program.does("listener = listen(); client, accepted = pair(listener)");
    program
}

#[test]
fn a_user_may_on_his_own_processes() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    let output = Installed::new().attach(&NOBODY, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    for name in ["client", "accepted", "listener"] {
        assert_eq!(program.has(name), TREATED, "{name}");
    }
    program.assert_talks("client", "accepted");
}

#[test]
fn root_may_on_everyones() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    let output = Installed::new().attach(&AS_WE_ARE, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), TREATED);
}

#[test]
fn a_user_may_not_on_those_of_others() {
    root!();
    python!();
    let hint = "it belongs to user 0: run keepalive as that user or as root";
    Installed::new().assert_denied(&NOBODY, &mut program(&AS_WE_ARE), hint);
}

/// Of two, the own one is set nevertheless.
#[test]
fn what_a_user_may_is_done_even_where_he_may_not_do_all() {
    root!();
    python!();
    let (mut own, mut other) = (program(&NOBODY), program(&AS_WE_ARE));
    let output = Installed::new().attach(&NOBODY, &[&other.pid().to_string(), &own.pid().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(own.has("client"), TREATED);
    assert_eq!(other.has("client"), UNTOUCHED);
}

/// Else it would wait for nothing, without a word.
#[test]
fn what_cannot_be_watched_is_told_at_once() {
    root!();
    python!();
    let installed = Installed::new();
    let (mut own, mut other) = (program(&NOBODY), program(&AS_WE_ARE));
    let log = installed.directory().join("log");
    let watch = |pids: &[u32]| {
        let mut command = installed.attach_command(&NOBODY);
        command.arg("--watch").args(pids.iter().map(ToString::to_string));
        LinePeer::start(command.stderr(File::create(&log).expect("a file of ours")))
    };
    let hint = "hint: it belongs to user 0";
    let told = || fs::read_to_string(&log).unwrap_or_default().matches(hint).count();
    let status = |mut watch: LinePeer| watch.wait_for_end().code();

    let alone = watch(&[other.pid()]);
    eventually("an error", LIMIT, || (told() == 1).then_some(()));
    assert_eq!(status(alone), Some(1));

    let both = watch(&[own.pid(), other.pid()]);
    eventually("an error", LIMIT, || (told() == 1).then_some(()));
    assert_eq!([own.has("client"), other.has("client")], [TREATED, UNTOUCHED]);
    drop((own, other));
    assert_eq!(status(both), Some(1));
    assert_eq!(told(), 1);
}

#[test]
fn a_process_that_hides_from_its_user_is_told_of() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    assert_eq!(program.ask("ctypes.CDLL(None).prctl(4, 0)"), "0", "PR_SET_DUMPABLE");
    let installed = Installed::new();
    installed.assert_denied(&NOBODY, &mut program, "it has made itself undumpable");
    let output = installed.attach(&AS_WE_ARE, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), TREATED);
}

#[test]
fn root_without_the_capability_is_told_that() {
    root!();
    python!();
    let wrapper = ["setpriv", "--bounding-set=-sys_ptrace"];
    Installed::new().assert_denied(&wrapper, &mut program(&NOBODY), "root lacks CAP_SYS_PTRACE here");
}

/// The directory of descriptors is closed then, but not the descriptors.
#[test]
fn the_capability_alone_suffices() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    let wrapper = [
        "setpriv",
        "--reuid=65533",
        "--regid=65533",
        "--clear-groups",
        "--inh-caps=+sys_ptrace",
        "--ambient-caps=+sys_ptrace",
    ];
    let output = Installed::new().attach(&wrapper, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    for name in ["client", "accepted", "listener"] {
        assert_eq!(program.has(name), TREATED, "{name}");
    }
}

#[test]
fn a_sandbox_that_denies_descriptors_is_named() {
    const PIDFD_OPEN: &str = "434";
    const PIDFD_GETFD: &str = "438";
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    python!();
    let denied = compile(Libc::Host, "denied.c", &[]);
    let denied = denied.to_str().expect("a path of ours");
    let installed = Installed::new();
    let mut program = program(&AS_WE_ARE);
    for call in [PIDFD_GETFD, PIDFD_OPEN] {
        let hint = "a seccomp filter here denies pidfd_getfd(2), as those of container engines do";
        installed.assert_denied(&[denied, call, EPERM], &mut program, hint);
        let hint = "pidfd_getfd(2) needs Linux 5.6, and a sandbox that allows it";
        installed.assert_denied(&[denied, call, ENOSYS], &mut program, hint);
    }
}

/// In a world of their own, where all are few.
#[test]
fn all_are_those_that_a_user_may() {
    root!();
    python!();
    let installed = Installed::new();
    let mut own = PyPeer::in_a_world(&NOBODY);
    own.does("listener = listen(); client, accepted = pair(listener)");
    let world = own.world();
    let enter: Vec<&str> = world.iter().map(String::as_str).collect();
    let mut other = program(&enter);
    let seen = |py_peer: &mut PyPeer| {
        let pid = *family(py_peer.pid()).last().expect("itself at least");
        let fds = py_peer.fds(["client", "accepted", "listener"]);
        fds.map(|fd| super::has(pid, fd))
    };

    let output = installed.attach(&[&enter[..], &NOBODY].concat(), &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&mut own), [TREATED; 3]);
    assert_eq!(seen(&mut other), [UNTOUCHED; 3]);
    let told = text(&output.stderr);
    assert!(
        told.starts_with("keepalive: 3 TCP sockets of ") && told.contains(": 3 set\n"),
        "{told}"
    );
    assert!(
        told.contains("keepalive: 3 TCP sockets of other processes are out of reach\nhint: they belong"),
        "{told}"
    );

    let output = installed.attach(&enter, &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&mut other), [TREATED; 3]);
    assert!(!text(&output.stderr).contains("out of reach"), "{output:?}");
}

/// As in a container that was not given the capability.
#[test]
fn all_to_root_without_the_capability_are_told_to_be_out_of_reach() {
    root!();
    python!();
    let mut own = PyPeer::in_a_world(&NOBODY);
    own.does("listener = listen(); client, accepted = pair(listener)");
    let world = own.world();
    let enter: Vec<&str> = world.iter().map(String::as_str).collect();
    let without = ["setpriv", "--bounding-set=-sys_ptrace"];
    let output = Installed::new().attach(&[&enter[..], &without].concat(), &["--all"]);
    assert!(output.status.success(), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains("keepalive: 3 TCP sockets of other processes are out of reach\nhint: "),
        "{told}"
    );
    assert!(told.contains("CAP_SYS_PTRACE"), "{told}");
    let pid = family(own.pid())[1];
    let fds = own.fds(["client", "accepted", "listener"]);
    assert_eq!(fds.map(|fd| super::has(pid, fd)), [UNTOUCHED; 3]);
}
