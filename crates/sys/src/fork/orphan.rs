//! Starts an orphan: a process whose parent, between it and this process, has ended.

use super::{Side, check_threads, exit_now, side};
use crate::signal::IgnoredChildren;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, child_subreaper, getpid, set_child_subreaper, waitpid};
use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;

/// Runs `work` in an orphan. The process between shares the memory of this process, which waits meanwhile (`vfork(2)`): to
/// copy the memory for it, too, would take as long as for the orphan.
///
/// # Errors
/// `ENOMEM`; `EAGAIN` if the limit of processes is reached; any error if this process has several threads.
pub(super) fn spawn(work: impl FnOnce()) -> io::Result<()> {
    check_threads()?;
    let stack = Stack::new()?;
    // Otherwise the orphan would become a child of this process again.
    let was_subreaper = child_subreaper()?.is_some();
    if was_subreaper {
        set_child_subreaper(None)?;
    }
    // The kernel then reaps the process between, and does not add to the times of this process's children (wait(2)).
    let ignored = IgnoredChildren::new();
    let mut between = Between {
        work: Some(work),
        ignored: &ignored,
        result: Ok(()),
    };
    let started = start(&mut between, &stack);
    if let Ok(between) = started {
        // waitpid(2) fails with ECHILD when that process has ended.
        while let Ok(_) | Err(Errno::INTR) = waitpid(Some(between), WaitOptions::empty()) {}
    }
    ignored.restore();
    if was_subreaper {
        set_child_subreaper(Some(getpid()))?;
    }
    started?;
    between.result
}

/// What the process between does, and its result.
struct Between<'a, W> {
    work: Option<W>,
    ignored: &'a IgnoredChildren,
    result: io::Result<()>,
}

/// Starts the process between, which ends before this function returns.
fn start<W: FnOnce()>(between: &mut Between<'_, W>, stack: &Stack) -> io::Result<Pid> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the new process has a stack of its own. It uses this process's memory only while this process waits
    // (CLONE_VFORK, clone(2)), and `run` gets the pointer to the type that it expects.
    let pid = unsafe { libc::clone(run::<W>, stack.top(), flags, (&raw mut *between).cast()) };
    Pid::from_raw(pid.max(0)).ok_or_else(io::Error::last_os_error)
}

/// Runs the process between: its end orphans the other process.
extern "C" fn run<W: FnOnce()>(between: *mut c_void) -> i32 {
    // SAFETY: `start` passes a pointer to this type, and does not use it until this process has ended.
    let between = unsafe { &mut *between.cast::<Between<'_, W>>() };
    // SAFETY: this process has one thread, and so had the process that waits: no other thread holds a lock (fork(2)).
    match side(unsafe { libc::fork() }) {
        Ok(Side::Child) => {
            between.ignored.restore();
            if let Some(work) = between.work.take() {
                work();
            }
        }
        Ok(Side::Parent(_)) => {}
        Err(error) => between.result = Err(error),
    }
    exit_now(0)
}

/// The stack of the process between. The orphan continues on its copy.
struct Stack(*mut c_void);

impl Stack {
    /// As much as a thread of the C library and of Rust has: only used pages take memory.
    const SIZE: usize = 2 << 20;
    /// At least one page of every architecture. Below the stack, it cannot be accessed.
    const GUARD: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours (mmap(2)).
        let bottom = unsafe { libc::mmap(null_mut(), Self::SIZE, libc::PROT_NONE, flags, -1, 0) };
        if bottom == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self(bottom);
        let used = bottom.wrapping_byte_add(Self::GUARD);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: this part of the mapping is not used yet (mprotect(2)).
        if unsafe { libc::mprotect(used, Self::SIZE - Self::GUARD, access) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Returns the end, from which the stack grows downwards.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the process that ran on the stack has ended, and there is no reference to it (munmap(2)).
        unsafe { libc::munmap(self.0, Self::SIZE) };
    }
}
