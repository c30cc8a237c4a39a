//! Child processes for work that may never return. Reading a process can wait for something that the process
//! controls, such as a file server that hangs, and such a wait can be uninterruptible. A thread in this state
//! would keep the whole command from ending; a child does not.

use crate::background::detach;
use crate::fork::{Side, exit_now, fork};
use crate::pidfd::PidFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal, waitpid,
};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// How long to wait for a killed child. Only a child in an uninterruptible wait takes longer.
pub const REAPING: Duration = Duration::from_millis(100);

/// A child process that works for this process.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
    output: OwnedFd,
}

impl Worker {
    /// Starts a child that runs `work` and ends. `work` writes its results to the descriptor that it gets. Of
    /// this process's descriptors the child keeps only `keep`. The child ends with this process, unless it is
    /// in an uninterruptible wait.
    ///
    /// # Errors
    /// `EAGAIN` if the limit of processes is reached, `EMFILE`, and any error if this process has several threads.
    pub fn start(keep: &[BorrowedFd<'_>], work: impl FnOnce(&OwnedFd)) -> io::Result<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = getpid();
        match fork()? {
            Side::Parent(pid) => {
                fcntl_setfl(&output, fcntl_getfl(&output)? | OFlags::NONBLOCK)?;
                Ok(Self { pid, output })
            }
            Side::Child => {
                let keep = [keep, &[input.as_fd()]].concat();
                let is_fit = set_parent_process_death_signal(Some(Signal::KILL)).is_ok() && detach(&keep).is_ok();
                // The parent may have ended before the signal was set.
                if is_fit && getppid() == Some(parent) {
                    work(&input);
                }
                exit_now(0)
            }
        }
    }

    /// Returns the descriptor from which the output is read. Reads do not block.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Returns the whole output, once the child has ended.
    ///
    /// # Errors
    /// `ETIMEDOUT` if the child has not ended after `limit`; then it is killed.
    pub fn output_within(self, limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let (mut written, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match read(&self.output, &mut buffer) {
                Ok(0) => break,
                Ok(length) => written.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
                    let ready = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
                    if left.is_zero() || ready == Ok(0) {
                        self.kill();
                        self.reap_within(REAPING);
                        return Err(Errno::TIMEDOUT.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Only the end of the child closes its end of the pipe.
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
        Ok(written)
    }

    /// Returns the processor time that the child has used so far, in clock ticks (`proc_pid_stat(5)`, utime
    /// and stime). It does not change while the child waits.
    pub fn processor_time(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).unwrap_or_default();
        // The name in parentheses may contain anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        times.filter_map(|time| time.parse::<u64>().ok()).sum()
    }

    /// Waits at most `limit` until the child has ended, and reaps it. Otherwise it would stay as a zombie in a container
    /// whose first process reaps no orphans.
    pub fn reap_within(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        // The number is the child's own until it is reaped.
        let Ok(pidfd) = PidFd::open(self.pid.as_raw_nonzero().get().cast_unsigned()) else {
            return;
        };
        while !self.has_ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let _ = poll(
                &mut [PollFd::new(&pidfd, PollFlags::IN)],
                Timespec::try_from(left).ok().as_ref(),
            );
        }
    }

    /// Kills the child, without waiting for its end: a child in an uninterruptible wait ends later.
    pub fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Returns whether the child has ended, without waiting. A child that has ended is reaped, and the caller
    /// must not ask again.
    pub fn has_ended(&self) -> bool {
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(ended) => ended.is_some(),
            Err(error) => error == Errno::CHILD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_several_threads_starts_none() {
        // The test harness runs this test in a thread.
        assert!(Worker::start(&[], |_| {}).is_err());
    }
}
