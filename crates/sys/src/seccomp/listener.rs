//! The listener: installs a filter, receives the calls that wait, and lets them continue.

use super::filter::IO_URING_SETUP;
use crate::arch::call;
use libc::c_long;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// The number of the call; numbers are consecutive in the order of the calls.
    pub id: u64,
    /// The thread, in this process's pid namespace; 0 if it has no number here.
    pub tid: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The number of the call on this architecture.
    pub number: u32,
    /// The arguments of the call.
    pub arguments: [u64; 6],
}

impl Notification {
    /// Returns whether the call is `io_uring_setup(2)`.
    pub fn is_io_uring_setup(&self) -> bool {
        self.number == IO_URING_SETUP
    }
}

/// The result of a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call continues as if it had not been caught.
    Continue,
    /// The call returns 0 and has no effect.
    Succeed,
    /// The call fails with this error number.
    Fail(i32),
}

/// A descriptor that receives the caught calls of all processes under a filter.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Whether a program has already been allowed to report lost privileges.
    has_allowed_report: AtomicBool,
}

const FLAGS: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

/// Tests whether the kernel supports the flags that [`install`] uses, without any change.
///
/// # Errors
/// `EINVAL` before Linux 5.19, or the error of a sandbox.
pub fn probe() -> io::Result<()> {
    // SAFETY: without a program the kernel checks the flags, and fails.
    let result = unsafe {
        let none = std::ptr::null::<libc::sock_fprog>();
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, FLAGS, none)
    };
    match io::Error::last_os_error() {
        refusal if result < 0 && refusal.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        refusal => Err(refusal),
    }
}

/// Puts this process, which must have one thread, and all its future children under `program`, and returns
/// the listener. Unless it `keeps_privileges`, which requires `CAP_SYS_ADMIN`, set-user-ID programs run
/// without their privileges from now on (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// `EBUSY` under a filter that has a listener already, `EINVAL` before Linux 5.19 (`WAIT_KILLABLE_RECV`,
/// without which a signal to the program can repeat a call forever), `EACCES` without the privilege, or the
/// error of a sandbox. Except after `EBUSY`, nothing has been changed.
pub fn install(program: &[libc::sock_filter], keeps_privileges: bool) -> io::Result<Listener> {
    probe()?;
    if !keeps_privileges {
        // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only (prctl(2)).
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` and what it points to live through the call, and the kernel copies them (seccomp(2)).
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            FLAGS,
            &raw const program,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created this descriptor, and no other code knows it.
    Ok(Listener::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (`linux/seccomp.h`), whose field has 32 bits.
const CONTINUE: u32 = 1;

impl Listener {
    /// Creates the listener from a descriptor that was passed here.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self {
            fd,
            has_allowed_report: AtomicBool::new(false),
        }
    }

    /// Sets whether a call wakes the supervisor on its own processor, and an answer its caller (Linux 6.6), which avoids a switch
    /// between two processors. Failure has no other effect.
    pub fn wake_here(&self, is_wanted: bool) {
        /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`linux/seccomp.h`).
        const SYNC_WAKE_UP: libc::c_ulong = 1;
        let flags = if is_wanted { SYNC_WAKE_UP } else { 0 };
        // SAFETY: this ioctl(2) takes its flags as a number.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags) };
    }

    /// Returns the next call, and waits for it. Use poll(2) first to avoid waiting.
    ///
    /// # Errors
    /// `ENOENT` if the caller has ended meanwhile, or all have (Linux 6.11); `EINTR`.
    pub fn receive(&self) -> io::Result<Notification> {
        // SAFETY: an all-zero `struct seccomp_notif` is valid, and the kernel requires it.
        let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one `struct seccomp_notif` to it; this crate's has the size of this kernel's, which
        // only a new kind of notification would change (`SECCOMP_GET_NOTIF_SIZES`, seccomp(2)).
        let result = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut notification,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Notification {
            id: notification.id,
            tid: notification.pid,
            arch: notification.data.arch,
            number: notification.data.nr.cast_unsigned(),
            arguments: notification.data.args,
        })
    }

    /// Returns whether the thread of the call `id` still waits for an answer
    /// (`SECCOMP_IOCTL_NOTIF_ID_VALID`). While it waits, no other thread can have its number. So everything
    /// that was opened or read by that number before this function returned true belongs to the caller
    /// (`seccomp_unotify(2)`).
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one number, which lives through the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        result == 0
    }

    /// Answers the call `id`, which another process may have received.
    ///
    /// # Errors
    /// `ENOENT` if the caller no longer waits, `EINPROGRESS` if the call has not been received or has been answered.
    pub fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: match answer {
                Answer::Fail(errno) => -errno,
                Answer::Continue | Answer::Succeed => 0,
            },
            flags: match answer {
                Answer::Continue => CONTINUE,
                Answer::Succeed | Answer::Fail(_) => 0,
            },
        };
        // SAFETY: the kernel reads one `struct seccomp_notif_resp`, which lives through the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The call by which [`is_supervised`] asks: a connect(2) with an address that never exists, which can only fail.
const QUESTION: u64 = 0x6b65_6570_0001;
/// The error that only keepalive's supervisor returns for this call.
const YES: i32 = libc::EALREADY;

/// Returns whether this process runs under keepalive's supervisor, which answers a call without a meaning to
/// the kernel.
pub fn is_supervised() -> bool {
    ask(QUESTION)
}

/// Returns whether this process is the first under its supervisor to report that a program runs without its
/// privileges; true once.
pub fn is_first_to_report() -> bool {
    ask(FIRST_QUESTION)
}

/// The call by which the preload library asks whether it is the first to report that a program runs without
/// its privileges.
const FIRST_QUESTION: u64 = 0x6b65_0002;

fn ask(question: u64) -> bool {
    let Ok(question) = c_long::try_from(question) else {
        return false;
    };
    // SAFETY: descriptor -1 is never open, so that the kernel fails before it reads the address.
    let result = unsafe { call(libc::SYS_connect, [-1, question, 16, 0, 0, 0]) };
    result.is_err_and(|error| error.raw_os_error() == Some(YES))
}

impl Listener {
    /// Returns the answer to `call` if it is a question to the supervisor itself: that of [`is_supervised`],
    /// or whether no process has reported yet that a program runs without its privileges, which is true once.
    pub fn answer_to_question(&self, call: &Notification) -> Option<Answer> {
        let [fd, pointer, ..] = call.arguments;
        let is_closed = fd & u64::from(u32::MAX) == u64::from(u32::MAX);
        let is_yes = match pointer {
            _ if !is_closed => false,
            QUESTION => true,
            FIRST_QUESTION => !self.has_allowed_report.swap(true, Ordering::Relaxed),
            _ => false,
        };
        is_yes.then_some(Answer::Fail(YES))
    }
}
