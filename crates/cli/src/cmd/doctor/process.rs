//! Examines a running process; sockets.rs examines its connections.

use super::finding::{Finding, Findings};
use super::{apparmor, container, history, machine, program, selinux};
use crate::error::describe;
use keepalive_engine::cgroup::pins::Target;
use keepalive_engine::cgroup::{child, entry};
use keepalive_engine::sockets::{Obstacle, Process, Send, WorkerPool};
use keepalive_engine::sysctl::Sysctls;
use keepalive_engine::verify::{is_supervised, mapped_library};
use keepalive_sys::cgroup::Tree;
use keepalive_sys::{netns, proc, program as executable};
use rustix::fd::OwnedFd;
use rustix::io::write;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// One examination. Each runs in a separate worker if the previous one blocks.
type Look = fn(&mut Findings, &Process);
const LOOKS: [(&str, Look); 9] = [
    ("program", file),
    ("library", library),
    ("no_new_privs", confinement),
    ("apparmor", apparmor::process),
    ("selinux", selinux::process),
    ("io_uring", io_uring),
    ("container", container::of_process),
    ("network", namespaces),
    ("cgroup", policies),
];

pub(super) fn examine(findings: &mut Findings, process: &Process) -> io::Result<()> {
    let keys = [process.pid; LOOKS.len()];
    let mut answer = |question: usize, send: &mut Send<'_, Finding>| {
        let mut found = Findings::default();
        LOOKS[question].1(&mut found, process);
        found.ranked().into_iter().for_each(send);
    };
    let mut found = Vec::new();
    let unanswered = WorkerPool::default().ask(&keys, &process.handles(), &mut answer, &mut |question, finding| {
        found.push((question, finding));
    })?;
    found.sort_by_key(|(question, _)| *question);
    for (_, finding) in found {
        findings.take(finding);
    }
    for question in unanswered {
        findings.note(
            LOOKS[question].0,
            "is not known: the process, or a file that it uses, does not answer",
            &Obstacle::unanswered().hint,
        );
    }
    Ok(())
}

/// Examines the file that the process executes.
fn file(findings: &mut Findings, process: &Process) {
    let path = format!("/proc/{}/exe", process.pid);
    if let Ok(found) = executable::inspect(Path::new(&path), OsStr::new("")) {
        let mut text = program::describe(&found);
        if let Ok(target) = fs::read_link(&path) {
            text = text.replace(&path, &target.to_string_lossy());
        }
        findings.fine("program", text);
    }
}

/// Examines whether the process has loaded the library.
fn library(findings: &mut Findings, process: &Process) {
    let pid = process.pid;
    let Ok(mapped) = mapped_library(pid) else { return };
    match &mapped {
        Some(path) => findings.fine("library", format!("{path} is in the process")),
        None => findings.fine("library", "is not in the process"),
    }
    let environment = proc::environment(pid).unwrap_or_default();
    let preload = environment.iter().find_map(|entry| entry.strip_prefix(b"LD_PRELOAD="));
    if let Some(preload) = preload {
        let preload = String::from_utf8_lossy(preload);
        machine::preloads(findings, &preload);
        if mapped.is_none() && preload.contains("libkeepalive.so") {
            findings.wrong(
                "library",
                "LD_PRELOAD of the process names it, and yet it is not loaded",
                "a static or set-user-ID program, another machine's, or a loader that is not glibc's or musl's: see the \
                 engines seccomp, attach and cgroup",
            );
        }
    }
}

fn confinement(findings: &mut Findings, process: &Process) {
    let status = proc::status(process.pid).unwrap_or_default();
    if status.no_new_privs {
        findings.note("no_new_privs", "is set for the process", "");
    }
    if status.is_filtered && !is_supervised(process.pid) {
        findings.note(
            "seccomp filter",
            "the process is under one; the library makes no call after a program has put itself under it",
            "",
        );
    }
    if status.capabilities != 0 && status.uid != 0 {
        findings.note(
            "capabilities",
            "the process has some without being root's: programs with file capabilities do not load the library",
            "",
        );
    }
}

fn io_uring(findings: &mut Findings, process: &Process) {
    let pid = process.pid;
    let fds = proc::fds(pid).unwrap_or_default();
    let is_ring = |fd: &i32| {
        fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|target| target == Path::new("anon_inode:[io_uring]"))
    };
    if fds.iter().any(is_ring) {
        findings.note(
            "io_uring",
            "the process uses it: engine preload does not see the connections that it makes so, engine seccomp sets them within a second",
            "keepalive cgroup enable, or keepalive attach --watch",
        );
    }
}

/// Examines the network namespace of the process.
fn namespaces(findings: &mut Findings, process: &Process) {
    let pid = process.pid;
    // Reads the link of this process, whatever its number is in /proc.
    let own = fs::read_link("/proc/self/ns/net").ok();
    let theirs = match fs::read_link(format!("/proc/{pid}/ns/net")) {
        Ok(theirs) => theirs,
        Err(error) => {
            let obstacle = process.obstacle_at(&format!("/proc/{pid}/ns/net"), &error);
            return findings.note(
                "network",
                format!(
                    "it is not known in which network namespace the process is: {}",
                    obstacle.reason
                ),
                &obstacle.hint,
            );
        }
    };
    if Some(theirs) == own {
        return;
    }
    match sysctls_of(pid) {
        Ok(sysctls) => machine::sysctls(findings, sysctls, "the network namespace of the process"),
        Err(error) => findings.note(
            "network",
            format!(
                "the process is in another network namespace, which cannot be looked into: {}",
                describe(&error)
            ),
            "run keepalive as root of the machine (CAP_SYS_ADMIN)",
        ),
    }
    history::of_process(findings, pid);
}

/// Returns the sysctls of the network namespace of a process.
fn sysctls_of(pid: u32) -> io::Result<Sysctls> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?.into();
    let denied = match netns::within(&network, Sysctls::read) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        result => return result,
    };
    // A user may enter the namespaces that belong to its own user namespace.
    let Ok(user) = File::open(format!("/proc/{pid}/ns/user")) else {
        return Err(denied);
    };
    let read = |output: &OwnedFd| {
        let text = serde_json::to_vec(&Sysctls::read()).unwrap_or_default();
        let _ = write(output, &text);
    };
    let found = netns::within_owned(&user.into(), &network, read).map_err(|_| denied)?;
    serde_json::from_slice(&found).map_err(io::Error::other)
}

/// Examines the policies of the process's cgroup and of those above.
fn policies(findings: &mut Findings, process: &Process) {
    let pid = process.pid;
    let Ok(tree) = Tree::find() else { return };
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
        return;
    };
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else {
        return;
    };
    let Ok(entries) = entry::entries() else { return };
    let directory = tree.directory(Path::new(path));
    let nearest = directory
        .ancestors()
        .take_while(|ancestor| ancestor.starts_with(tree.mount()))
        .find_map(|ancestor| {
            let target = Target::new(&tree, ancestor);
            entries
                .iter()
                .find(|entry| entry.state == entry::State::Active && entry.is_of(&target))
        });
    match nearest {
        Some(entry) => findings.fine(
            "cgroup",
            format!("{path}, where the policy of {} is active", entry.name()),
        ),
        None if child::is_active(&directory) => {
            findings.fine("cgroup", format!("{path}, which keepalive run has made for its policy"));
        }
        None => findings.fine("cgroup", format!("{path}, without a policy")),
    }
}
