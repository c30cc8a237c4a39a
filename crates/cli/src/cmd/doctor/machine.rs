//! Examines the machine and this shell.

use super::finding::Findings;
use crate::error::{REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::policy;
use crate::requirements::REQUIREMENTS;
use keepalive_engine::cgroup::{self, Programs};
use keepalive_engine::sockets::{Obstacle, YAMA_1, YAMA_2, YAMA_3, hidden, may_trace, yama_scope};
use keepalive_engine::sysctl::Sysctls;
use keepalive_engine::timeline::{Times, spell};
use keepalive_engine::{preload, seccomp};
use keepalive_policy::Settings;
use keepalive_policy::protocol::CONFIG;
use keepalive_sys::cgroup::{NoTree, Tree};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::proc_mount::ProcMount;
use rustix::process::getuid;
use rustix::system::uname;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Examines everything except the program.
pub(super) fn examine(findings: &mut Findings) {
    kernel(findings);
    engines(findings);
    requirements(findings);
    environment(findings);
    for (text, hint) in crate::cmd::system::problems() {
        findings.add(super::finding::Level::Wrong, "ld.so.preload", text, hint);
    }
    if crate::cmd::system::is_enabled() && preload::has_asan_programs() {
        findings.note(
            "ld.so.preload",
            "programs that load AddressSanitizer's runtime (-fsanitize=address) do not start with the library in every program",
            super::program::ADDRESS_SANITIZER,
        );
    }
    policy(findings);
    confinement(findings);
    sysctls(findings, Sysctls::read(), "this network namespace");
}

fn kernel(findings: &mut Findings) {
    let name = uname();
    findings.fine(
        "kernel",
        format!(
            "{} {} on {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        ),
    );
    match Tree::find() {
        Ok(tree) if tree.mount() == Path::new("/sys/fs/cgroup") => findings.fine("cgroups", "version 2"),
        Ok(tree) => findings.fine(
            "cgroups",
            format!("version 2 beside version 1, on {}", tree.mount().display()),
        ),
        Err(NoTree::OnlyVersion1) => findings.note("cgroups", "version 1 only: the cgroup engine is not there", ""),
        Err(NoTree::NotMounted) => findings.note("cgroups", "none are mounted: the cgroup engine is not there", ""),
    }
    match sysctl("kernel/io_uring_disabled").as_deref() {
        Some("2") => findings.fine("io_uring", "is switched off for all"),
        Some("1") => findings.fine("io_uring", "is switched off but for a group of users"),
        Some(_) => findings.fine(
            "io_uring",
            "programs may use it; engine preload does not see its connections, engine seccomp sets them within a second",
        ),
        // Before Linux 6.6, or without /proc/sys.
        None => findings.fine(
            "io_uring",
            "is not limited by a sysctl here; engine preload does not see its connections, engine seccomp sets them within a second",
        ),
    }
}

fn engines(findings: &mut Findings) {
    // Finds the library for a program of the same kind as this command.
    let own = super::own_program();
    match own.and_then(|own| Ok(preload::library(&own)?)) {
        Ok(library) => {
            let path = library.path();
            findings.fine("engine preload", format!("the library is {}", path.display()));
            if let Some(missing) = library.missing() {
                findings.note(
                    "engine preload",
                    format!("{missing}: for scripts and shells keepalive run uses the supervisor alone"),
                    "the packages for x86-64 contain that for 32-bit x86, and scripts/cross builds it",
                );
            }
            if is_confined_by_apparmor() && !path.starts_with("/usr/lib") && !path.starts_with("/lib") {
                findings.note(
                    "apparmor",
                    format!("is active; profiles may keep programs from reading {}", path.display()),
                    "install the library into the distribution's library directory, below /usr/lib",
                );
            }
        }
        Err(error) => findings.wrong(
            "engine preload",
            error.message(),
            "name the library in KEEPALIVE_LIBRARY, or install it",
        ),
    }
    match seccomp::trial() {
        Ok(seccomp::Place::InPlace) => findings.fine("engine seccomp", "works here"),
        Ok(seccomp::Place::Front) => findings.note(
            "engine seccomp",
            format!(
                "works here, but the command gets another process id, with a process that stands in for it ({})",
                match yama_scope() {
                    Some(1) => "kernel.yama.ptrace_scope is 1: the supervisor must be above the command",
                    _ => "the supervisor must be above the command here",
                }
            ),
            "",
        ),
        Err(obstacle) => findings.note("engine seccomp", obstacle.reason, &obstacle.hint),
    }
    attach(findings);
    let cgroup = match Tree::find() {
        Ok(_) => Programs::trial(),
        Err(reason) => Err(cgroup::Obstacle::NoTree(reason)),
    };
    match cgroup {
        Ok(()) => findings.fine("engine cgroup", "works here, and reaches every program"),
        Err(obstacle) => findings.note("engine cgroup", obstacle.reason(), obstacle.hint().unwrap_or_default()),
    }
}

/// Examines which of the kernel's features that keepalive can use exist.
fn requirements(findings: &mut Findings) {
    const SUBJECT: &str = "kernel feature";
    for row in &REQUIREMENTS {
        let (what, since) = (row.what, row.since());
        match (row.probe)() {
            Some(true) => findings.fine(SUBJECT, format!("{what}: available ({since})")),
            Some(false) => findings.note(
                SUBJECT,
                format!(
                    "{what}: missing ({}; {since}); without it: {}",
                    row.feature, row.without
                ),
                "",
            ),
            None => findings.fine(
                SUBJECT,
                format!("{what}: this user cannot find it out ({}; {since})", row.feature),
            ),
        }
    }
}

/// Examines whether this process may access others, and which of them it sees.
fn attach(findings: &mut Findings) {
    let subject = "engine attach";
    match PidFd::try_duplicating() {
        Err(error) if crate::requirements::has_pidfd_getfd() == Some(false) => findings.note(
            subject,
            format!("pidfd_getfd: {}", describe(&error)),
            "it requires Linux 5.6",
        ),
        Err(error) => findings.note(
            subject,
            format!("a seccomp filter denies it: pidfd_getfd: {}", describe(&error)),
            "run keepalive on the host, or give the container CAP_SYS_PTRACE (--cap-add SYS_PTRACE)",
        ),
        Ok(()) => match (yama_scope().unwrap_or(0), may_trace()) {
            (3, _) => findings.note(subject, YAMA_3, ""),
            (_, true) if !proc::is_in_first_user_namespace() => {
                findings.fine(
                    subject,
                    "reaches the processes of this user namespace, by CAP_SYS_PTRACE",
                );
            }
            (0, true) => findings.fine(subject, "reaches all processes"),
            (scope, true) => findings.fine(
                subject,
                format!("reaches all processes, by CAP_SYS_PTRACE (kernel.yama.ptrace_scope is {scope})"),
            ),
            (2, false) => findings.note(subject, YAMA_2, ""),
            (1, false) => findings.note(subject, YAMA_1, ""),
            (_, false) if getuid().is_root() => findings.note(
                subject,
                "root lacks CAP_SYS_PTRACE here: it reaches processes of root that have no more capabilities",
                "run keepalive on the host, or give the container that capability",
            ),
            (_, false) => findings.fine(subject, "reaches your processes, root's all"),
        },
    }
    if let Some(Obstacle { reason, hint, .. }) = hidden() {
        findings.note("processes", reason, hint);
    }
    if ProcMount::read().is_some_and(|mount| mount.is_pid_subset) {
        findings.note(
            "/proc",
            "is mounted with subset=pid, without /proc/sys: what Yama and other sysctls say is not known here",
            "",
        );
    }
}

fn is_confined_by_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Examines LD_PRELOAD of this shell.
fn environment(findings: &mut Findings) {
    let Some(preload) = std::env::var_os("LD_PRELOAD") else {
        return;
    };
    preloads(findings, &preload.to_string_lossy());
}

/// Examines the libraries that an LD_PRELOAD names.
pub(super) fn preloads(findings: &mut Findings, value: &str) {
    for name in value.split([':', ' ']).filter(|name| name.contains('/')) {
        if name.contains('$') || Path::new(name).exists() {
            findings.fine("LD_PRELOAD", format!("names {name}"));
        } else {
            findings.wrong(
                "LD_PRELOAD",
                format!("names {name}, which is not there: every dynamic program complains of that"),
                "take it out of LD_PRELOAD",
            );
        }
    }
    if value.contains("libasan") || value.contains("libtsan") {
        findings.note(
            "LD_PRELOAD",
            "names a sanitizer's library, which must be the first",
            "keepalive run appends the library, and leaves it first",
        );
    }
}

/// Examines the policy in variables and the rules file.
fn policy(findings: &mut Findings) {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    match policy::read(&PolicyFlags::default(), &environment, Settings::NONE, REFUSED) {
        Ok(policy) => {
            for note in &policy.notes {
                findings.note("variable", note, "");
            }
            match &policy.config {
                Some(file) => findings.fine("policy", format!("{} has no mistakes", file.name)),
                None => findings.fine("policy", format!("there is no {CONFIG}")),
            }
        }
        Err(error) => findings.wrong(
            "policy",
            error.message(),
            "the library ignores what it cannot use; keepalive check shows each mistake",
        ),
    }
}

/// Examines the confinement of this shell.
fn confinement(findings: &mut Findings) {
    let status = proc::own_status().unwrap_or_default();
    if status.no_new_privs {
        findings.note(
            "no_new_privs",
            "is set for this shell: set-user-ID programs run without their privilege",
            "",
        );
    }
    if status.is_filtered {
        findings.note(
            "seccomp filter",
            "this shell is under one, as in containers: what it forbids, no engine gets",
            "",
        );
    }
    if !proc::is_in_first_user_namespace() {
        findings.note(
            "user namespace",
            "this shell is in one: its capabilities count for the processes of that namespace alone",
            "engine cgroup works on the host, outside of this namespace",
        );
    }
    if !is_confined_by_apparmor() {
        findings.fine("apparmor", "is not active");
    }
    super::container::examine(findings);
}

/// Examines the kernel's defaults for connections.
pub(super) fn sysctls(findings: &mut Findings, sysctls: Sysctls, place: &str) {
    let times = Times {
        idle: sysctls.idle,
        interval: sysctls.interval,
        count: sysctls.count,
        user_timeout: 0,
    };
    findings.fine(
        "sysctls",
        format!(
            "keepalive is off in {place} unless a program switches it on; the times that the program does not set are then {} s, \
             {} s, {} probes: a dead peer is detected after {}",
            sysctls.idle,
            sysctls.interval,
            sysctls.count,
            spell(1000 * times.dead_after())
        ),
    );
}

fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.trim().to_owned())
}
