//! Process file descriptors (`pidfd_open(2)`, `pidfd_getfd(2)`). A descriptor keeps naming the same process,
//! even when its number is reused.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::AsRawFd as _;

/// A descriptor of a process, or of one of its threads.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// `PIDFD_THREAD` (Linux 6.9) is `O_EXCL`.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

impl PidFd {
    /// Opens the process `pid` (Linux 5.3).
    ///
    /// # Errors
    /// `ESRCH` if it does not exist, `EINVAL` if `pid` is a thread and not a process.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(pidfd_open(raw(pid)?, PidfdFlags::empty())?))
    }

    /// Opens the thread `tid` (Linux 6.9), whose table of descriptors may differ from that of its process
    /// (`unshare(2)`).
    ///
    /// # Errors
    /// `ESRCH` if it does not exist, `EINVAL` before Linux 6.9.
    pub fn open_thread(tid: u32) -> io::Result<Self> {
        Ok(Self(pidfd_open(raw(tid)?, THREAD)?))
    }

    /// Tests [`duplicate`](Self::duplicate) on this process.
    ///
    /// # Errors
    /// `ENOSYS` before Linux 5.6; the error of a sandbox.
    pub fn try_duplicating() -> io::Result<()> {
        match Self::open(std::process::id())?.duplicate(0) {
            // Descriptor 0 may be closed.
            Err(error) if error.raw_os_error() != Some(Errno::BADF.raw_os_error()) => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns a duplicate, in this process, of the file descriptor `fd` (Linux 5.6). The other process is
    /// neither stopped nor notified.
    ///
    /// # Errors
    /// `ESRCH` if the process has ended, `EBADF` if it has no such descriptor, `EPERM` without ptrace access,
    /// `ENOSYS` on older kernels.
    pub fn duplicate(&self, fd: i32) -> io::Result<OwnedFd> {
        // A program may pass any number; rustix asserts in debug builds that it is not negative.
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        Ok(pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty())?)
    }
}

impl PidFd {
    /// Returns whether the process, or the thread, has ended.
    pub fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        // If poll(2) fails, the process is not known to have ended.
        poll(&mut fds, Some(&now)).is_ok() && fds.iter().any(|fd| !fd.revents().is_empty())
    }

    /// Sends the signal with this number.
    ///
    /// # Errors
    /// `ESRCH` if the process has ended, `EPERM`.
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
