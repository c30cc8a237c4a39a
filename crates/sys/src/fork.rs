//! Processes of keepalive alongside the process that becomes the command.

mod orphan;

use crate::proc;
use crate::signal::is_child_pending;
use rustix::process::Pid;
use std::io;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The side of a [`fork`] on which this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller, with the number of the new process.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Copies this process (`fork(2)`).
///
/// # Errors
/// `EAGAIN` if the limit of processes is reached; any error if this process has several threads, since the
/// copy would have only one of them but the locks of all.
pub fn fork() -> io::Result<Side> {
    check_threads()?;
    // SAFETY: with one thread the copy is a whole process: no lock is held by a thread that it lacks (fork(2)).
    side(unsafe { libc::fork() })
}

/// Fails if this process has several threads. The kernel counts a joined thread until it has removed the
/// thread, after join returns. Therefore this function checks repeatedly, for up to [`JOINED`].
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

/// The longest time until the kernel has removed a joined thread.
const JOINED: Duration = Duration::from_secs(1);

/// fork(2) returns a 32-bit number; on some architectures a system call does, too.
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

/// As [`fork`], but creates new namespaces (`CLONE_NEW*`, clone(2)).
///
/// # Errors
/// As [`fork`]; `EPERM`, `ENOSPC` or `EINVAL` if the namespaces cannot be created.
pub fn clone_into(namespaces: i32) -> io::Result<Side> {
    check_threads()?;
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack this is fork(2) with flags, in whatever order the architecture has the others,
    // which are 0; with one thread the copy is a whole process.
    side(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// Ends this process immediately, without exit handlers of the copied process (`_exit(2)`).
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) does not return, and runs none of this program's code.
    unsafe { libc::_exit(status.into()) }
}

/// Runs `work` in a new process that neither this process nor the program that it becomes can wait for: wait(2) does not
/// return it, no `SIGCHLD` arrives, and `RUSAGE_CHILDREN` does not include it. The new process ends when `work` returns.
///
/// Usually the new process is an orphan, and becomes a child of init or of the next subreaper
/// (`PR_SET_CHILD_SUBREAPER`). It becomes a child of this process that sends no signal at its end
/// (`clone(2)`, `__WCLONE` in wait(2)) in two cases: if this process is init, to which orphans return, and if
/// this process already has children, whose end must not be missed.
///
/// # Errors
/// As [`fork`], `ENOMEM`, and `EAGAIN` if a second new process cannot be created.
pub fn spawn_unwaitable(work: impl FnOnce()) -> io::Result<()> {
    let is_init = std::process::id() == 1;
    // Ignoring SIGCHLD discards a pending SIGCHLD.
    if is_init || has_children() || is_child_pending() {
        spawn_silent_child(work)
    } else {
        orphan::spawn(work)
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
    // No flags and no signal. libc::fork cannot omit the signal.
    let none: libc::c_ulong = 0;
    // SAFETY: without flags clone(2) is fork(2): memory is copied, and the copy continues on the same stack.
    // With one thread no other thread holds a lock. The C library's own work at a fork is skipped. In the
    // copy, the C library therefore still identifies the only thread by the caller's number; raise(3) of musl
    // would signal the caller's thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) };
    if side(pid)? == Side::Child {
        work();
        exit_now(0);
    }
    Ok(())
}

/// Numbers in memory that a process and its copies share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<const N: usize>(&'static [AtomicU64; N]);

impl<const N: usize> Shared<N> {
    /// Creates numbers with the value 0. The memory exists until the last of the processes has ended.
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

    /// Returns the numbers.
    pub fn numbers(&self) -> &'static [AtomicU64; N] {
        self.0
    }
}
