//! Processes of our own beside the one that becomes the command.

use crate::proc;
use crate::signal::{IgnoredChildren, is_child_pending};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, child_subreaper, getpid, set_child_subreaper, waitpid};
use std::io;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

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
    check_threads()?;
    // SAFETY: with one thread the copy is a whole process: no lock is held by a thread that it lacks (fork(2)).
    side(unsafe { libc::fork() })
}

/// Fails if this process has several threads. A thread that was joined is counted until the kernel has removed it, which is
/// after join returns: hence a second look, and more, for [`JOINED`].
fn check_threads() -> io::Result<()> {
    let deadline = Instant::now() + JOINED;
    while proc::own_threads()? != 1 {
        if Instant::now() >= deadline {
            return Err(io::Error::other("this process has several threads"));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The longest time for the kernel to remove a thread that was joined.
const JOINED: Duration = Duration::from_secs(1);

/// The number has 32 bits as fork(2) returns it, and as a system call does on some architectures.
fn side(pid: impl Into<i64>) -> io::Result<Side> {
    match pid.into() {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.map(Side::Parent).ok_or_else(|| io::Error::other("fork"))
        }
    }
}

/// As [`fork`], into new namespaces (`CLONE_NEW*`, clone(2)).
///
/// # Errors
/// As [`fork`]; `EPERM`, `ENOSPC`, `EINVAL` where there may be no such namespaces.
pub fn clone_into(namespaces: i32) -> io::Result<Side> {
    check_threads()?;
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack this is fork(2) with flags, in whatever order the architecture has the others,
    // which are 0; with one thread the copy is a whole process.
    side(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// Ends this process at once, without what the copied process would have done at its end (`_exit(2)`).
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) does not return, and runs nothing of ours.
    unsafe { libc::_exit(status.into()) }
}

/// Runs `work` in a new process that neither this process nor the program that it becomes can wait for: wait(2) does not
/// return it, no `SIGCHLD` arrives, and `RUSAGE_CHILDREN` does not include it. The new process ends when `work` returns.
///
/// Usually the new process is an orphan, and the child of init or of the next subreaper (`PR_SET_CHILD_SUBREAPER`). It is
/// a child of this process without a signal at its end (`clone(2)`, `__WCLONE` in wait(2)) where orphans would come back to
/// this process because it is init, and where this process has children already, whose end must not be missed.
///
/// # Errors
/// As [`fork`], `EMFILE`, and `EAGAIN` where a second new process is not possible.
pub fn spawn_unwaitable(work: impl FnOnce()) -> io::Result<()> {
    let is_init = std::process::id() == 1;
    // To ignore SIGCHLD discards a pending one.
    if is_init || has_children() || is_child_pending() {
        spawn_silent_child(work)
    } else {
        spawn_orphan(work)
    }
}

fn has_children() -> bool {
    // SAFETY: an all-zero `siginfo_t` is a valid one, to be overwritten.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: waitid(2) writes to `info` alone, and with WNOWAIT changes nothing.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    result == 0
}

fn spawn_silent_child(work: impl FnOnce()) -> io::Result<()> {
    check_threads()?;
    // No flags and no signal. libc::fork cannot leave the signal out.
    let none: libc::c_ulong = 0;
    // SAFETY: without flags clone(2) is fork(2): memory is copied, and the copy goes on with the same stack. With one thread
    // no lock is held by another. What the C library does at a fork is left out: it still takes the copy's one thread for
    // the caller's, by its number, which it uses in the new process to signal this thread, in raise(3) of musl.
    let pid = unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) };
    if side(pid)? == Side::Child {
        work();
        exit_now(0);
    }
    Ok(())
}

fn spawn_orphan(work: impl FnOnce()) -> io::Result<()> {
    let (failure, to_failure) = pipe_with(PipeFlags::CLOEXEC)?;
    // Else the orphan would come back to this process.
    let was_subreaper = child_subreaper()?.is_some();
    if was_subreaper {
        set_child_subreaper(None)?;
    }
    // The kernel then takes leave of the process between, and adds nothing to the times of this one's children (wait(2)).
    let ignored = IgnoredChildren::new();
    let between = fork();
    if let Ok(Side::Child) = between {
        drop(failure);
        be_between(work, to_failure, &ignored);
    }
    drop(to_failure);
    if let Ok(Side::Parent(between)) = between {
        // It fails with ECHILD when that process has ended.
        while let Ok(_) | Err(Errno::INTR) = waitpid(Some(between), WaitOptions::empty()) {}
    }
    ignored.restore();
    if was_subreaper {
        set_child_subreaper(Some(getpid()))?;
    }
    between?;
    let mut errno = [0; 4];
    match read(&failure, &mut errno) {
        Ok(4) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        _ => Ok(()),
    }
}

/// The process between this one and the orphan: its end makes the other one an orphan.
fn be_between(work: impl FnOnce(), to_failure: OwnedFd, ignored: &IgnoredChildren) -> ! {
    match fork() {
        Ok(Side::Child) => {
            drop(to_failure);
            ignored.restore();
            work();
        }
        Ok(Side::Parent(_)) => {}
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
            let _ = write(&to_failure, &errno.to_ne_bytes());
        }
    }
    exit_now(0)
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
