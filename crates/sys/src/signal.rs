//! Blocks, receives and forwards signals, for a process that acts as another's proxy (signal(7), signalfd(2)).

use crate::fork::exit_now;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

/// A set of blocked signals.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The number of the signal.
    pub number: i32,
    /// Whether the kernel sent the signal, on its own or for a terminal, and not a process.
    pub is_from_kernel: bool,
}

/// Blocks every signal that can be blocked, and returns the previously blocked signals.
pub fn block_all() -> Mask {
    set_mask(&full())
}

/// Sets the blocked signals to `mask`.
pub fn restore(mask: &Mask) {
    set_mask(&mask.0);
}

/// Blocks the signals by which users end a program, so that a [`SignalFd`] receives them.
pub fn block_interrupts() -> Mask {
    set_mask(&interrupts())
}

fn interrupts() -> libc::sigset_t {
    // SAFETY: a `sigset_t` is an array of numbers, and all zero an empty one.
    let mut set = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: sigaddset(3) writes to `set` alone.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

fn full() -> libc::sigset_t {
    // SAFETY: a `sigset_t` is an array of numbers.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: sigfillset(3) writes to `set` alone.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn set_mask(set: &libc::sigset_t) -> Mask {
    // SAFETY: as in `full`.
    let mut old = unsafe { std::mem::zeroed() };
    // SAFETY: sigprocmask(2) reads `set` and writes `old`; it cannot fail with this operation.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, &raw mut old) };
    Mask(old)
}

/// While SIGCHLD is ignored, the kernel reaps children itself, and does not add to the times of this
/// process's children (`wait(2)`, `getrusage(2)`).
pub(crate) struct IgnoredChildren(libc::sigaction);

impl IgnoredChildren {
    /// Ignores SIGCHLD, and discards a pending one.
    pub(crate) fn new() -> Self {
        // SAFETY: an all-zero `struct sigaction` is a valid one.
        let mut ignore: libc::sigaction = unsafe { std::mem::zeroed() };
        ignore.sa_sigaction = libc::SIG_IGN;
        // SAFETY: as above; it is overwritten.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: sigaction(2) reads `ignore`, which runs no code, and writes `before`.
        unsafe { libc::sigaction(libc::SIGCHLD, &raw const ignore, &raw mut before) };
        Self(before)
    }

    /// Restores the previous action.
    pub(crate) fn restore(&self) {
        // SAFETY: sigaction(2) reads an action that this process had before.
        unsafe { libc::sigaction(libc::SIGCHLD, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Returns whether a blocked SIGCHLD is pending.
pub(crate) fn is_child_pending() -> bool {
    // SAFETY: as in `interrupts`.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: sigpending(2) writes to `set` alone.
    unsafe { libc::sigpending(&raw mut set) };
    // SAFETY: sigismember(3) reads `set`.
    unsafe { libc::sigismember(&raw const set, libc::SIGCHLD) == 1 }
}

/// A descriptor that receives blocked signals.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Creates a descriptor for every signal.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Self::of(&full())
    }

    /// Creates a descriptor for the signals of [`block_interrupts`].
    ///
    /// # Errors
    /// As [`SignalFd::new`].
    pub fn interrupts() -> io::Result<Self> {
        Self::of(&interrupts())
    }

    /// Creates a descriptor for `SIGCHLD`, and blocks this signal.
    ///
    /// # Errors
    /// As [`SignalFd::new`].
    pub fn children() -> io::Result<Self> {
        // SAFETY: a `sigset_t` is an array of numbers.
        let mut set = unsafe { std::mem::zeroed() };
        // SAFETY: sigaddset(3) writes to `set` alone.
        unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
        // SAFETY: sigprocmask(2) reads `set`, and is asked for no old mask.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        Self::of(&set)
    }

    fn of(set: &libc::sigset_t) -> io::Result<Self> {
        // SAFETY: signalfd(2) reads `set`.
        let fd = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created this descriptor, and no other code knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the next signal, if one has arrived.
    pub fn next(&self) -> Option<Arrived> {
        // SAFETY: an all-zero `struct signalfd_siginfo` is a valid one.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let length = size_of::<libc::signalfd_siginfo>();
        // SAFETY: read(2) writes at most `length` bytes, the size of `info`, of which any bytes are a valid one.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), length) };
        (usize::try_from(read) == Ok(length)).then(|| Arrived {
            number: info.ssi_signo.cast_signed(),
            is_from_kernel: info.ssi_code > 0,
        })
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends this process by `signal`, as another process has ended, without a second core file.
pub fn end_by(signal: i32) -> ! {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: setrlimit(2) reads `none`.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // SAFETY: SIG_DFL runs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: raise(3) takes a number.
    unsafe { libc::raise(signal) };
    // SAFETY: as in `full`.
    let nothing = unsafe { std::mem::zeroed() };
    set_mask(&nothing);
    exit_now(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// Stops this process by `signal`, a job-control signal, as another process has stopped, until it is continued.
pub fn stop_by(signal: i32) {
    // SAFETY: SIG_DFL runs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let mut all_but_it = full();
    // SAFETY: sigdelset(3) writes to the set alone.
    unsafe { libc::sigdelset(&raw mut all_but_it, signal) };
    // SAFETY: raise(3) takes a number.
    unsafe { libc::raise(signal) };
    let before = set_mask(&all_but_it);
    restore(&before);
}
