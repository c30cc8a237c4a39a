//! Processes of our own beside the one that becomes the command.

use crate::proc;
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, chdir, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::io;
use std::sync::atomic::AtomicU64;

/// On which side of a [`fork`] this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller, with the number of the new process.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Makes a copy of this process (`fork(2)`).
///
/// # Errors
/// `EAGAIN` where there may be no more processes; any error where this process has more than one thread, of which the copy
/// would have one and the locks of all.
pub fn fork() -> io::Result<Side> {
    require_one_thread()?;
    // SAFETY: with one thread the copy is a whole process: no lock is held by a thread that it lacks (fork(2)).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Pid::from_raw(pid)
            .map(Side::Parent)
            .ok_or_else(|| io::Error::other("fork")),
    }
}

/// As [`fork`], into new namespaces (`CLONE_NEW*`, clone(2)).
///
/// # Errors
/// As [`fork`]; `EPERM`, `ENOSPC`, `EINVAL` where there may be no such namespaces.
pub fn clone_into(namespaces: i32) -> io::Result<Side> {
    require_one_thread()?;
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack this is fork(2) with flags, in whatever order the architecture has the others,
    // which are 0; with one thread the copy is a whole process.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .map(Side::Parent)
            .ok_or_else(|| io::Error::other("clone")),
    }
}

fn require_one_thread() -> io::Result<()> {
    if proc::threads(std::process::id())?.len() != 1 {
        return Err(io::Error::other("this process has several threads"));
    }
    Ok(())
}

/// Ends this process at once, without what the copied process would have done at its end (`_exit(2)`).
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) does not return, and runs nothing of ours.
    unsafe { libc::_exit(status.into()) }
}

/// Takes this process out of sight: a session of its own, no signal ends it but SIGKILL, no file is kept open or directory
/// in use but `keep`.
///
/// # Errors
/// Whatever keeps one of these from being done; the process is not fit to go on then.
pub fn detach(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    setsid()?;
    chdir("/")?;
    for signal in 1..32 {
        let is_default = [
            libc::SIGKILL,
            libc::SIGSTOP,
            // Faults of our own.
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
            // Ignored, it would make the kernel forget how children end.
            libc::SIGCHLD,
        ];
        if !is_default.contains(&signal) {
            // SAFETY: SIG_IGN runs no code (signal(2)).
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
    let null = open("/dev/null", OFlags::RDWR, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    close_all_but(keep);
    Ok(())
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

/// Numbers that a process and its copies share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<const N: usize>(&'static [AtomicU64; N]);

impl<const N: usize> Shared<N> {
    /// Zeroes, in memory that lasts as long as the last of the processes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        const { assert!(N * size_of::<AtomicU64>() <= 4096) };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours (mmap(2)).
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the page is aligned, large enough, zeroed, never unmapped, and reached through atomics only.
        Ok(Self(unsafe { &*page.cast::<[AtomicU64; N]>() }))
    }

    /// The numbers.
    pub fn numbers(&self) -> &'static [AtomicU64; N] {
        self.0
    }
}
