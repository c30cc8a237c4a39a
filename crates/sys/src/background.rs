//! Prepares a copy of this process to run in the background while a command runs. The copy must stay
//! unnoticed by the command, must survive signals that are meant for the command, and must not be
//! usable by other processes.

use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Resource, Rlimit, chdir, getrlimit, set_dumpable_behavior, setrlimit, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use std::fs;
use std::io;

/// Detaches this process: it gets its own session, only SIGKILL ends it, and it keeps no file open and no
/// directory in use except `keep`. Raises the limits inherited from the command as far as this process may.
///
/// # Errors
/// Any failure of one of these steps; then the process must not continue.
pub fn detach(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    setsid()?;
    chdir("/")?;
    ignore_signals();
    let null = open("/dev/null", OFlags::RDWR, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    close_all_but(keep);
    raise_limits();
    avoid_oom_killer();
    Ok(())
}

/// Ignores every signal that can be ignored. A fault of this process itself still ends it: the kernel forces
/// that signal.
fn ignore_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // Ignoring SIGCHLD would make the kernel discard the children's statuses. It may have been ignored before.
        let action = if signal == libc::SIGCHLD {
            libc::SIG_DFL
        } else {
            libc::SIG_IGN
        };
        // SAFETY: neither action runs code (signal(2)). It fails for signals that cannot be ignored.
        unsafe { libc::signal(signal, action) };
    }
}

fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for last in keep.into_iter().chain([u32::MAX]) {
        if first < last {
            let end = if last == u32::MAX { last } else { last - 1 };
            // SAFETY: close_range(2) takes numbers. This process no longer uses other owners of these
            // descriptors: it continues only with `keep`, and ends without running destructors.
            unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
        }
        first = last.saturating_add(1);
    }
}

/// The limits that can end or starve a process that computes, waits, and duplicates descriptors (`getrlimit(2)`).
const LIMITS: [Resource; 9] = [
    Resource::As,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Memlock,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rttime,
    Resource::Stack,
];

/// A sufficient number of descriptors. The kernel does not accept an infinite limit for them (`fs.nr_open`).
const DESCRIPTORS: u64 = 65536;

/// Raises the limits of this process: removes them with `CAP_SYS_RESOURCE`, otherwise raises them to their
/// hard limits.
fn raise_limits() {
    for resource in LIMITS {
        let hard = getrlimit(resource).maximum;
        let most = match resource {
            Resource::Nofile => hard.map(|hard| hard.max(DESCRIPTORS)),
            _ => None,
        };
        // A process that may not set the first value may set the second.
        for limit in [most, hard] {
            let limit = Rlimit {
                current: limit,
                maximum: limit,
            };
            if setrlimit(resource, limit).is_ok() {
                break;
            }
        }
    }
}

/// Protects this process from the OOM killer when the command is configured to be killed first. Killing this
/// process would gain nothing: it is small and ends with the command.
fn avoid_oom_killer() {
    const FILE: &str = "/proc/self/oom_score_adj";
    // The first value requires CAP_SYS_RESOURCE. The second undoes an increase by an ordinary user.
    if fs::write(FILE, "-1000").is_err()
        && fs::read_to_string(FILE).is_ok_and(|text| text.trim().parse::<i32>().is_ok_and(|number| number > 0))
    {
        let _ = fs::write(FILE, "0");
    }
}

/// Drops what this process does not need: all capabilities except `needed`, the right to gain others by
/// execve(2), and access to its memory by other processes of its user (`PR_SET_DUMPABLE`).
///
/// # Errors
/// Any failure of one of these steps.
pub fn harden(needed: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let permitted = capabilities(None)?.permitted & needed;
    let sets = CapabilitySets {
        effective: permitted,
        permitted,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
