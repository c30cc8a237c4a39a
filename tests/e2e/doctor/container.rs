//! In a container, and under a filter as containers have one.

use super::{doctor, shown, unfolded};
use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::target::{Libc, compile};
use std::fs;
use std::process::Command;

/// The number of pidfd_getfd(2), the same on every architecture.
const GETFD: &str = "438";
const HINT: &str = "-> on the host, 'keepalive cgroup enable' reaches its connections";

#[test]
fn environment_of_a_pod_is_evidence_of_a_container() {
    let (_, text) = shown(doctor().env("KUBERNETES_SERVICE_HOST", "10.0.0.1"));
    assert_is_container(&text, "kubernetes");
}

/// The kubelet mounts `/etc/hosts`, also for a program whose environment was wiped.
#[test]
fn mounts_of_a_pod_are_evidence_of_a_container() {
    root!();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pod = directory.path().join("pods/0a1b");
    fs::create_dir_all(&pod).expect("our own directory");
    fs::write(pod.join("etc-hosts"), "127.0.0.1 localhost\n").expect("our own file");
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$0" /etc/hosts && exec "$1" doctor"#,
        ])
        .arg(pod.join("etc-hosts"))
        .arg(keepalive())
        .env_remove("KUBERNETES_SERVICE_HOST");
    assert_is_container(&text(&output_within(LIMIT, &mut command).stdout), "kubernetes");
}

/// LXC without systemd leaves nothing else.
#[test]
fn environment_of_the_first_process_is_evidence_of_a_container() {
    root!();
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "env",
            "container=lxc",
        ])
        .args(["sh", "-c", r#"env -u container "$0" doctor; true"#])
        .arg(keepalive())
        .env_remove("KUBERNETES_SERVICE_HOST");
    assert_is_container(&text(&output_within(LIMIT, &mut command).stdout), "lxc");
}

#[track_caller]
fn assert_is_container(text: &str, kind: &str) {
    let findings = unfolded(text);
    let expected = format!("container: this process is in one ({kind})");
    let found = findings.iter().find(|finding| finding.contains(&expected));
    assert!(found.is_some_and(|found| found.contains(HINT)), "{text}");
}

/// The filter answers instead of the kernel, with EPERM or with ENOSYS.
#[test]
fn denied_pidfd_getfd_is_not_taken_for_an_old_kernel() {
    let functions = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if !functions.contains("_sys_pidfd_getfd") {
        skip!("/proc/kallsyms shows no functions");
    }
    let sandbox = compile(Libc::Host, "denied.c", &[]);
    for errno in ["1", "38"] {
        let mut command = Command::new(&sandbox);
        command.args([GETFD, errno]).arg(keepalive()).arg("doctor");
        let output = text(&output_within(LIMIT, &mut command).stdout);
        let findings = unfolded(&output);
        let of = |subject: &str| {
            let found = findings.iter().find(|finding| finding.contains(subject));
            found.unwrap_or_else(|| panic!("no '{subject}' in {output}"))
        };
        let attach = of("engine attach: a seccomp filter denies it: pidfd_getfd: ");
        assert!(attach.contains("-> run keepalive on the host"), "{attach}");
        assert!(!attach.contains("Linux 5.6"), "{attach}");
        let feature = of("kernel feature: engine attach; list: exact values: ");
        assert!(feature.ends_with("available (Linux 5.6)"), "{feature}");
    }
}
