//! Processes of other namespaces, and a `/proc` of another pid namespace.

use super::{doctor, unfolded};
use crate::support::keepalive;
use crate::support::ordinary::{Installed, NOBODY};
use crate::support::process::{LIMIT, eventually, output_within, text, wrapped};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A process in new user, network, mount and pid namespaces, where keepalive's idle time is 4321 s.
struct Inner {
    child: Child,
    input: Option<ChildStdin>,
    pid: u32,
}

impl Inner {
    fn start(wrapper: &[&str]) -> Self {
        const SCRIPT: &str = "echo 4321 >/proc/sys/net/ipv4/tcp_keepalive_time && echo ready && read line";
        let mut command = wrapped(wrapper, "unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
            "sh",
            "-c",
            SCRIPT,
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("it prints");
        assert_eq!(line, "ready\n");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = eventually("unshare has a child", LIMIT, || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        Self { child, input, pid }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Why user namespaces are missing here.
pub(super) fn no_user_namespaces() -> Option<String> {
    let mut command = wrapped(&NOBODY, "unshare");
    let output = output_within(LIMIT, command.args(["--user", "--map-root-user", "--net", "true"]));
    (!output.status.success()).then(|| format!("there are no user namespaces: {}", text(&output.stderr).trim()))
}

/// Root enters the network namespace with its capabilities; the user who made the user namespace, without any.
#[test]
fn the_sysctls_are_those_of_the_network_namespace_of_the_process() {
    root!();
    if let Some(why) = no_user_namespaces() {
        skip!("{why}");
    }
    let installed = Installed::new();
    let inner = Inner::start(&NOBODY);
    let pid = inner.pid.to_string();
    for wrapper in [&[][..], &NOBODY] {
        let mut command = if wrapper.is_empty() {
            doctor()
        } else {
            wrapped(wrapper, installed.keepalive())
        };
        if !wrapper.is_empty() {
            command.arg("doctor").current_dir("/");
        }
        let output = output_within(LIMIT, command.args(["--pid", &pid]));
        let shown = text(&output.stdout);
        let findings = unfolded(&shown);
        let of_process = findings
            .iter()
            .find(|finding| finding.contains("the network namespace of the process"));
        let of_process = of_process.unwrap_or_else(|| panic!("{wrapper:?}: {shown}{}", text(&output.stderr)));
        assert!(of_process.contains("4321 s, 75 s, 9 probes"), "{of_process}");
        let history = "in the network namespace of the process, since it exists: no keepalive probe was sent";
        assert!(findings.iter().any(|finding| finding.contains(history)), "{shown}");
        let own = findings
            .iter()
            .find(|finding| finding.contains("in this network namespace"));
        assert!(own.is_some_and(|own| !own.contains("4321")), "{shown}");
        assert!(
            findings
                .iter()
                .any(|finding| finding.contains("connections: none to other machines")),
            "{shown}"
        );
    }
    let mut input = inner.input.as_ref().expect("it is open");
    input.write_all(b"\n").expect("it still runs");
}

/// A process with several threads, whose number the command gets in a pid namespace with the outer one's `/proc`.
#[test]
fn a_proc_of_another_pid_namespace_is_named() {
    const THREADS: &str = "import threading, sys
threading.Thread(target=sys.stdin.read).start()
print('ready', flush=True)";
    const SCRIPT: &str = "number=$1; shift; echo $((number - 1)) >/proc/sys/kernel/ns_last_pid && \"$@\"";
    root!();
    python!();
    let mut threads = Command::new(crate::support::PYTHON)
        .args(["-c", THREADS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut line = String::new();
    BufReader::new(threads.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("it prints");
    let in_pid_namespace = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            SCRIPT,
            "sh",
            &threads.id().to_string(),
        ]);
        output_within(LIMIT, command.arg(keepalive()).args(words))
    };
    let named = "/proc is of another pid namespace than this process";
    for words in [&["doctor", "--pid", "1"][..], &["list", "1"], &["attach", "1"]] {
        let output = in_pid_namespace(words);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
        assert!(
            errors.contains(named) && errors.contains("hint: mount one"),
            "{words:?}: {errors}"
        );
    }
    // Of the process itself, all is known.
    let output = in_pid_namespace(&["run", "--engine", "seccomp", "--", "true"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    drop(threads.stdin.take());
    threads.wait().expect("it ends");
}
