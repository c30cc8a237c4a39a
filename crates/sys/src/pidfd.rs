//! Process file descriptors (`pidfd_open(2)`, `pidfd_getfd(2)`): what was looked at stays the same process, even when its
//! number is given to another.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::AsRawFd as _;

/// A process, or one of its threads.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// `PIDFD_THREAD` (Linux 6.9) is `O_EXCL`.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

impl PidFd {
    /// The process `pid` (Linux 5.3).
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` when it is a thread and not its process.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(pidfd_open(raw(pid)?, PidfdFlags::empty())?))
    }

    /// The thread `tid` (Linux 6.9), whose descriptors may be others than those of its process (`unshare(2)`).
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` before Linux 6.9.
    pub fn open_thread(tid: u32) -> io::Result<Self> {
        Ok(Self(pidfd_open(raw(tid)?, THREAD)?))
    }

    /// Tries [`duplicate`](Self::duplicate) with this process.
    ///
    /// # Errors
    /// `ENOSYS` before Linux 5.6; what a sandbox answers.
    pub fn try_duplicating() -> io::Result<()> {
        match Self::open(std::process::id())?.duplicate(0) {
            // Descriptor 0 may be closed.
            Err(error) if error.raw_os_error() != Some(Errno::BADF.raw_os_error()) => Err(error),
            _ => Ok(()),
        }
    }

    /// A duplicate, in this process, of its file descriptor `fd` (Linux 5.6). The process is neither stopped nor told.
    ///
    /// # Errors
    /// `ESRCH` when it is gone, `EBADF` when it has no such descriptor, `EPERM` without ptrace access to it, `ENOSYS` on
    /// older kernels.
    pub fn duplicate(&self, fd: i32) -> io::Result<OwnedFd> {
        // A program may give any number; rustix asserts in debug builds that it is not negative.
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        Ok(pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty())?)
    }
}

impl PidFd {
    /// Whether the process, or the thread, has ended.
    pub fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        // Where poll(2) fails it is not known to have ended.
        poll(&mut fds, Some(&now)).is_ok() && fds.iter().any(|fd| !fd.revents().is_empty())
    }

    /// Sends it the signal of this number.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM`.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: pidfd_send_signal(2) takes numbers and, as here, no information.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), number, no_info, 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn raw(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Errno::SRCH.into())
}
