//! `keepalive nri --status`: whether the plugin of this container is ready, and why it is not.

use super::stub::Stub;
use super::{Plugin, Pod, Runtime, policies, status, wait_until_ready, wait_until_unready};
use crate::support::PYTHON;
use crate::support::line_peer::LinePeer;
use crate::support::process::text;
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::lock::try_exclusive;
use rustix::process::Signal;
use std::path::Path;

const NONE: &str = "no keepalive nri runs in this container\n\
                    hint: its log tells why it has ended; ask in its mount and network namespaces, with the same --socket\n";

#[test]
fn plugin_without_a_runtime_is_not_ready_and_says_what_is_missing() {
    let test_cgroup = test_cgroup!();
    let socket = Path::new("/nowhere/nri.sock");
    assert_eq!(
        status(&test_cgroup, socket),
        Err(format!("keepalive: not ready: {NONE}"))
    );
    let mut plugin = Plugin::start(&test_cgroup, socket, &[]);
    plugin.wait_for("waiting for the runtime");
    let error = status(&test_cgroup, socket).expect_err("there is no runtime");
    let (reason, hint) = error.split_once('\n').expect("a hint");
    let (reason, since) = reason.split_once(", since ").expect("a time");
    assert_eq!(
        reason,
        "keepalive: not ready: waiting for the runtime at /nowhere/nri.sock: No such file or directory"
    );
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    assert_eq!(
        hint,
        "hint: the Node Resource Interface of the runtime must be on; containerd 1.7 has it off (man keepalive-nri)\n"
    );
    // It still waits for the same reason.
    assert_eq!(status(&test_cgroup, socket), Err(error));
    assert_eq!(plugin.end(Signal::TERM), Some(0));
    assert_eq!(
        status(&test_cgroup, socket),
        Err(format!("keepalive: not ready: {NONE}"))
    );
}

#[test]
fn connection_alone_is_not_ready() {
    let test_cgroup = test_cgroup!();
    python!();
    for (style, reason) in [
        ("silent", "the runtime has not registered the plugin yet, since 20"),
        ("configured", "stub 1 has not reported its pods yet, since 20"),
    ] {
        let runtime = Stub::start(&test_cgroup, &[style]);
        let _plugin = Plugin::start(&test_cgroup, &runtime.socket(), &[]);
        wait_until_unready(&test_cgroup, &runtime.socket(), reason);
    }
}

#[test]
fn readiness_follows_plugin_and_runtime() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let socket = runtime.socket();
    let plugin = runtime.start_plugin(&[]);
    let ready = wait_until_ready(&test_cgroup, &socket);
    assert!(
        ready.starts_with("ready: registered with stub 1 and synchronized, since 20"),
        "{ready}"
    );
    plugin.end(Signal::KILL);
    assert_eq!(
        status(&test_cgroup, &socket),
        Err(format!("keepalive: not ready: {NONE}"))
    );
    runtime.wait_for_plugins(0);
    // Pods that started without a plugin have their policies when it is ready.
    let pods: Vec<Pod> = (0..8)
        .map(|number| Pod::new(&test_cgroup, &number.to_string(), Some("idle=61s")))
        .collect();
    for pod in &pods {
        runtime.run(pod);
    }
    let _plugin = Plugin::start(&test_cgroup, &socket, &[]);
    runtime.wait_for_plugins(1);
    wait_until_ready(&test_cgroup, &socket);
    assert_eq!(policies(&test_cgroup).len(), pods.len());
    drop(runtime);
    wait_until_unready(
        &test_cgroup,
        &socket,
        &format!("waiting for the runtime at {}: ", socket.display()),
    );
}

/// The plugin waits for the lock of another command when the runtime gives it up.
#[test]
fn connection_that_the_runtime_has_closed_is_not_ready_while_the_plugin_is_busy() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let socket = runtime.socket();
    let _plugin = runtime.start_plugin(&[]);
    wait_until_ready(&test_cgroup, &socket);
    test_cgroup.enable(&["--idle=41"]);
    let lock = try_exclusive(&test_cgroup.file_system().join("keepalive"));
    let lock = lock.expect("a policy is active").expect("the lock is free");
    runtime.run(&Pod::new(&test_cgroup, "web", Some("idle=61s")));
    wait_until_unready(&test_cgroup, &socket, "the runtime has closed the connection\n");
    drop(lock);
    runtime.wait_for_plugins(1);
    wait_until_ready(&test_cgroup, &socket);
}

/// The pods of a node can share its network; the containers of one pod do.
#[test]
fn only_the_plugin_of_this_container_answers() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let socket = runtime.socket();
    let _plugin = runtime.start_plugin(&[]);
    wait_until_ready(&test_cgroup, &socket);
    let other = TestCgroup::new().expect("it was possible");
    assert_eq!(status(&other, &socket), Err(format!("keepalive: not ready: {NONE}")));
    assert_eq!(
        status(&test_cgroup, Path::new("/other/nri.sock")),
        Err(format!("keepalive: not ready: {NONE}"))
    );
    let mut second = Plugin::start(&test_cgroup, &socket, &[]);
    second.wait_for(
        "keepalive: keepalive nri --status will not show this command: the name of its socket is taken, as by another \
         keepalive nri in this container",
    );
}

/// Takes the name of the socket for a program of another user.
const SQUAT: &str = "
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(f'\\0keepalive-nri {os.readlink(\"/proc/self/ns/mnt\")} {sys.argv[1]}')
listener.listen()
print('ready', flush=True)
while True:
    connection, _ = listener.accept()
    try:
        connection.sendall(b'ready\\nregistered with a liar')
    except OSError:
        pass
";

#[test]
fn program_of_another_user_is_not_believed() {
    let test_cgroup = test_cgroup!();
    python!();
    let socket = Path::new("/run/nri.sock");
    let mut command = test_cgroup.inside("setpriv");
    command.args(["--reuid=12345", "--clear-groups", PYTHON, "-c", SQUAT]);
    let mut other = LinePeer::start(command.arg(socket));
    assert_eq!(other.answer(), "ready");
    assert_eq!(
        status(&test_cgroup, socket),
        Err("keepalive: not ready: keepalive nri does not answer: the socket is that of another user\n".to_owned())
    );
}

#[test]
fn stopped_plugin_is_not_ready() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let socket = runtime.socket();
    let plugin = runtime.start_plugin(&[]);
    wait_until_ready(&test_cgroup, &socket);
    plugin.signal(Signal::STOP);
    assert_eq!(
        status(&test_cgroup, &socket),
        Err("keepalive: not ready: keepalive nri has not answered for 5 s\n".to_owned())
    );
    plugin.signal(Signal::CONT);
    wait_until_ready(&test_cgroup, &socket);
}

#[test]
fn status_takes_no_policy() {
    let test_cgroup = test_cgroup!();
    let output = test_cgroup.output(&["nri", "--status", "--idle=60"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "keepalive: --status takes no policy\nhint: it asks the command that runs; that one has the options\n"
    );
}
