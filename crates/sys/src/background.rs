//! What makes a copy of this process fit to run in the background of a command, for as long as that runs: it must not be
//! seen, not be ended by what was meant for the command, and not be of use to anybody else.

use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Resource, Rlimit, chdir, getrlimit, set_dumpable_behavior, setrlimit, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use std::fs;
use std::io;

/// Takes this process out of sight: a session of its own, no signal ends it but SIGKILL, no file is kept open or directory
/// in use but `keep`. The limits that the command has do not hold for it, as far as it may raise them.
///
/// # Errors
/// Whatever keeps one of these from being done; the process is not fit to go on then.
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

/// Ignores every signal that can be ignored. A fault of this process itself ends it all the same: the kernel sends its
/// signal by force.
fn ignore_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // Ignored, it would make the kernel forget how children end. It may have been ignored before.
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
            // SAFETY: close_range(2) takes numbers. What else in this process has these descriptors is not used any more:
            // it goes on with `keep` alone, and ends without running destructors.
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

/// So many descriptors are enough; without a limit the kernel takes none for them (`fs.nr_open`).
const DESCRIPTORS: u64 = 65536;

/// Raises the limits of this process: away with `CAP_SYS_RESOURCE`, else as far as their hard limits.
fn raise_limits() {
    for resource in LIMITS {
        let hard = getrlimit(resource).maximum;
        let most = match resource {
            Resource::Nofile => hard.map(|hard| hard.max(DESCRIPTORS)),
            _ => None,
        };
        // A process that may not do the first may do the second.
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

/// Keeps the kernel, when it is out of memory, from choosing this process because the command is to be chosen first: nothing
/// would be gained, since it is small and ends with the command.
fn avoid_oom_killer() {
    const FILE: &str = "/proc/self/oom_score_adj";
    // The first takes CAP_SYS_RESOURCE. The second undoes what an ordinary user has added.
    if fs::write(FILE, "-1000").is_err()
        && fs::read_to_string(FILE).is_ok_and(|text| text.trim().parse::<i32>().is_ok_and(|number| number > 0))
    {
        let _ = fs::write(FILE, "0");
    }
}

/// Gives up what this process does not need: all capabilities but `needed`, the right to gain others by execve(2), and being
/// looked into by other processes of its user (`PR_SET_DUMPABLE`).
///
/// # Errors
/// Whatever keeps one of these from being done.
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
