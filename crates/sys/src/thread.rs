//! Threads of other processes, held by handles, so that a reused number does not lead to another thread.

use crate::pidfd::PidFd;
use crate::proc;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A thread of another process.
#[derive(Debug)]
pub struct Thread(Handle);

#[derive(Debug)]
enum Handle {
    /// The thread itself (Linux 6.9).
    Thread(PidFd),
    /// A descriptor of the thread's process, and a file below `/proc/TID` that is readable while the thread lives.
    Process { process: PidFd, comm: File },
}

impl Thread {
    /// Opens the thread that has the number `tid` now. The caller must confirm afterwards that the intended
    /// thread still has this number ([`Listener::is_waiting`](crate::seccomp::Listener::is_waiting)).
    ///
    /// # Errors
    /// `ESRCH` or `ENOENT` if there is no such thread, `EMFILE`, `ENFILE`.
    pub fn open(tid: u32) -> io::Result<Self> {
        match PidFd::open_thread(tid) {
            Ok(thread) => Ok(Self(Handle::Thread(thread))),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Self::open_by_process(tid),
            Err(error) => Err(error),
        }
    }

    /// As [`Thread::open`], before Linux 6.9. Descriptors are then duplicated from its process; nearly all
    /// threads share the table of their process.
    fn open_by_process(tid: u32) -> io::Result<Self> {
        let comm = File::open(format!("/proc/{tid}/comm"))?;
        let process = PidFd::open(proc::status(tid)?.tgid)?;
        Ok(Self(Handle::Process { process, comm }))
    }

    /// Returns whether the thread has not ended.
    pub fn is_alive(&self) -> bool {
        match &self.0 {
            Handle::Thread(thread) => !thread.has_ended(),
            Handle::Process { comm, .. } => comm.read_at(&mut [0], 0).is_ok(),
        }
    }

    /// Returns a duplicate, in this process, of the thread's file descriptor `fd`.
    ///
    /// # Errors
    /// `ESRCH` if the thread has ended; otherwise as [`PidFd::duplicate`].
    pub fn duplicate(&self, fd: i32) -> io::Result<OwnedFd> {
        match &self.0 {
            Handle::Thread(thread) => thread.duplicate(fd),
            Handle::Process { process, .. } if self.is_alive() => process.duplicate(fd),
            Handle::Process { .. } => Err(Errno::SRCH.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc::channel;
    use std::thread;

    /// The handle of a thread that has ended must not name its process, whose other threads may get its number.
    #[test]
    fn an_ended_thread_is_not_its_process() {
        for open in [Thread::open, Thread::open_by_process] {
            let (told, number) = channel();
            let (end, ends) = channel::<()>();
            let other = thread::spawn(move || {
                told.send(rustix::thread::gettid()).expect("the test waits for it");
                let _ = ends.recv();
            });
            let tid = number.recv().expect("the thread tells it");
            let held = open(tid.as_raw_nonzero().get().cast_unsigned()).expect("a thread of ours");
            let file = File::open("/dev/null").expect("it is there");
            assert!(held.is_alive());
            assert!(held.duplicate(file.as_raw_fd()).is_ok());
            drop(end);
            other.join().expect("it does not panic");
            // The kernel removes the thread slightly after the join.
            while held.is_alive() {
                thread::yield_now();
            }
            let error = held.duplicate(file.as_raw_fd()).expect_err("the thread has ended");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::SRCH));
        }
    }
}
