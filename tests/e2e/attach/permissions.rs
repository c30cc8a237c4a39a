//! Permissions: users can attach to their own processes, root to all. Without permission, the message names the reason.

use super::{POLICY, attach_under};
use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use std::fs::{self, File};
use std::process::{Command, Output};

const NO_WRAPPER: [&str; 0] = [];

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

    /// Asserts that the policy is not set, and that standard error contains the reason and the hint.
    #[track_caller]
    fn assert_denied(&self, wrapper: &[&str], program: &mut PyPeer, hint: &str) {
        let pid = program.pid().to_string();
        let output = self.attach(wrapper, &[&pid]);
        let errors = text(&output.stderr).replace("\n      ", " ");
        assert_eq!(program.has("client"), KERNEL_DEFAULTS);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            errors.contains(&format!("keepalive: cannot attach to process {pid}: ")),
            "{errors}"
        );
        assert!(errors.contains(&format!("hint: {hint}")), "{errors}");
    }
}

/// Starts a program with a connection, under `wrapper`.
fn program(wrapper: &[&str]) -> PyPeer {
    let mut program = PyPeer::under(wrapper);
    program.execute("listener = listen(); client, accepted = pair(listener)");
    program
}

#[test]
fn user_can_attach_to_own_processes() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    let output = Installed::new().attach(&NOBODY, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    for name in ["client", "accepted", "listener"] {
        assert_eq!(program.has(name), POLICY_VALUES, "{name}");
    }
    program.assert_talks("client", "accepted");
}

#[test]
fn root_can_attach_to_processes_of_users() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    let output = Installed::new().attach(&NO_WRAPPER, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), POLICY_VALUES);
}

#[test]
fn user_cannot_attach_to_processes_of_others() {
    root!();
    python!();
    let hint = "it belongs to user 0: run keepalive as that user or as root";
    Installed::new().assert_denied(&NOBODY, &mut program(&NO_WRAPPER), hint);
}

/// The user's own process is set, although the other one is denied.
#[test]
fn permitted_processes_are_set_although_others_are_denied() {
    root!();
    python!();
    let (mut own, mut other) = (program(&NOBODY), program(&NO_WRAPPER));
    let output = Installed::new().attach(&NOBODY, &[&other.pid().to_string(), &own.pid().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(own.has("client"), POLICY_VALUES);
    assert_eq!(other.has("client"), KERNEL_DEFAULTS);
}

/// Otherwise the command would wait without a message.
#[test]
fn watch_reports_denied_processes_immediately() {
    root!();
    python!();
    let installed = Installed::new();
    let (mut own, mut other) = (program(&NOBODY), program(&NO_WRAPPER));
    let log = installed.directory().join("log");
    let watch = |pids: &[u32]| {
        let mut command = installed.attach_command(&NOBODY);
        command.arg("--watch").args(pids.iter().map(ToString::to_string));
        LinePeer::start(command.stderr(File::create(&log).expect("a file of the test")))
    };
    let hint = "hint: it belongs to user 0";
    let hints = || fs::read_to_string(&log).unwrap_or_default().matches(hint).count();
    let status = |mut watch: LinePeer| watch.wait_for_end().code();

    let alone = watch(&[other.pid()]);
    eventually("an error", LIMIT, || (hints() == 1).then_some(()));
    assert_eq!(status(alone), Some(1));

    let both = watch(&[own.pid(), other.pid()]);
    eventually("an error", LIMIT, || (hints() == 1).then_some(()));
    assert_eq!(
        [own.has("client"), other.has("client")],
        [POLICY_VALUES, KERNEL_DEFAULTS]
    );
    drop((own, other));
    assert_eq!(status(both), Some(1));
    assert_eq!(hints(), 1);
}

#[test]
fn undumpable_process_is_reported() {
    root!();
    python!();
    let mut program = program(&NOBODY);
    assert_eq!(program.ask("ctypes.CDLL(None).prctl(4, 0)"), "0", "PR_SET_DUMPABLE");
    let installed = Installed::new();
    installed.assert_denied(&NOBODY, &mut program, "it has made itself undumpable");
    let output = installed.attach(&NO_WRAPPER, &[&program.pid().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), POLICY_VALUES);
}

#[test]
fn root_without_the_capability_gets_a_message() {
    root!();
    python!();
    let wrapper = ["setpriv", "--bounding-set=-sys_ptrace"];
    Installed::new().assert_denied(&wrapper, &mut program(&NOBODY), "root lacks CAP_SYS_PTRACE here");
}

/// The command cannot read the directory of descriptors then, but it can duplicate the descriptors.
#[test]
fn capability_alone_suffices() {
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
        assert_eq!(program.has(name), POLICY_VALUES, "{name}");
    }
}

/// As in a rootless container. The kernel lists the sockets of the network namespace only to its owner.
#[test]
fn accepted_connections_are_recognized_in_a_network_that_cannot_be_entered() {
    root!();
    python!();
    let network = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        "ip link set lo up; exec \"$@\"",
        "sh",
    ];
    let mut program = PyPeer::under(&[&NOBODY[..], &network].concat());
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let port = program.number("listener.getsockname()[1]");
    let off = format!("--rule=accept :{port} off");
    let output = Installed::new().attach(&NOBODY, &[&program.pid().to_string(), &off]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.has("client"), POLICY_VALUES);
    assert_eq!(program.has("accepted"), KERNEL_DEFAULTS);
}

#[test]
fn sandbox_that_denies_pidfd_getfd_is_named() {
    const PIDFD_OPEN: &str = "434";
    const PIDFD_GETFD: &str = "438";
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    python!();
    let denied = compile(Libc::Host, "denied.c", &[]);
    let denied = denied.to_str().expect("a UTF-8 path");
    let installed = Installed::new();
    let mut program = program(&NO_WRAPPER);
    for call in [PIDFD_GETFD, PIDFD_OPEN] {
        let hint = "a seccomp filter here denies pidfd_getfd(2), as those of container engines do";
        installed.assert_denied(&[denied, call, EPERM], &mut program, hint);
        let hint = "pidfd_getfd(2) needs Linux 5.6, and a sandbox that allows it";
        installed.assert_denied(&[denied, call, ENOSYS], &mut program, hint);
    }
}

/// The test has its own process and network namespaces, so that few sockets exist.
#[test]
fn all_means_the_processes_that_the_user_can_attach_to() {
    root!();
    python!();
    let installed = Installed::new();
    let mut own = PyPeer::in_pid_namespace(&NOBODY);
    own.execute("listener = listen(); client, accepted = pair(listener)");
    let world = own.enter_namespaces();
    let enter: Vec<&str> = world.iter().map(String::as_str).collect();
    let mut other = program(&enter);
    let seen = |py_peer: &mut PyPeer| {
        let pid = *family(py_peer.pid()).last().expect("itself at least");
        let fds = py_peer.fds(["client", "accepted", "listener"]);
        fds.map(|fd| super::has(pid, fd))
    };

    let output = installed.attach(&[&enter[..], &NOBODY].concat(), &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&mut own), [POLICY_VALUES; 3]);
    assert_eq!(seen(&mut other), [KERNEL_DEFAULTS; 3]);
    let errors = text(&output.stderr);
    assert!(
        errors.starts_with("keepalive: 3 TCP sockets of ") && errors.contains(": 3 set\n"),
        "{errors}"
    );
    assert!(
        errors.contains("keepalive: 3 TCP sockets of other processes are out of reach\nhint: they belong"),
        "{errors}"
    );

    let output = installed.attach(&enter, &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&mut other), [POLICY_VALUES; 3]);
    assert!(!text(&output.stderr).contains("out of reach"), "{output:?}");
}

/// As in a container without the capability.
#[test]
fn all_reports_unreachable_sockets_to_root_without_the_capability() {
    root!();
    python!();
    let mut own = PyPeer::in_pid_namespace(&NOBODY);
    own.execute("listener = listen(); client, accepted = pair(listener)");
    let world = own.enter_namespaces();
    let enter: Vec<&str> = world.iter().map(String::as_str).collect();
    let without = ["setpriv", "--bounding-set=-sys_ptrace"];
    let output = Installed::new().attach(&[&enter[..], &without].concat(), &["--all"]);
    assert!(output.status.success(), "{output:?}");
    let errors = text(&output.stderr);
    assert!(
        errors.contains("keepalive: 3 TCP sockets of other processes are out of reach\nhint: "),
        "{errors}"
    );
    assert!(errors.contains("CAP_SYS_PTRACE"), "{errors}");
    let pid = family(own.pid())[1];
    let fds = own.fds(["client", "accepted", "listener"]);
    assert_eq!(fds.map(|fd| super::has(pid, fd)), [KERNEL_DEFAULTS; 3]);
}
