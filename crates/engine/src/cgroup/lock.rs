//! The lock on keepalive's directory in the BPF file system. Only commands that change the directory hold it,
//! and only during the change. This module also waits for the lock, for the kernel's verifier and for
//! signals.

use super::Obstacle;
use crate::text::sanitize;
use keepalive_sys::lock::{holder, try_exclusive};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a command waits for the lock. Others hold it for milliseconds.
const LIMIT: Duration = Duration::from_secs(10);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// The blocked signals that end a wait. Without them, signals have their default effect.
#[derive(Clone, Copy, Debug)]
pub struct Interrupts<'a>(pub Option<&'a SignalFd>);

impl Interrupts<'_> {
    /// Signals have their default effect.
    pub const DEFAULT: Self = Self(None);

    /// Waits for `period`.
    ///
    /// # Errors
    /// A signal has arrived.
    fn pause(self, period: Duration) -> Result<(), Obstacle> {
        if self.0.is_none() {
            thread::sleep(period);
            return Ok(());
        }
        let limit = Timespec::try_from(period).map_err(io::Error::other)?;
        self.poll(None, Some(&limit))
    }

    /// Returns the result of `work`, which runs in a separate thread. A signal makes this function abandon
    /// the thread: the kernel does not interrupt its verifier for a blocked signal, only when the process
    /// ends.
    ///
    /// # Errors
    /// A signal has arrived; or the thread cannot be started, or has panicked.
    pub fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Obstacle> {
        if self.0.is_none() {
            return Ok(work());
        }
        let (end, open_until_end) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let worker = thread::Builder::new().spawn(move || {
            let result = work();
            drop(open_until_end);
            result
        })?;
        self.poll(Some(&end), None)?;
        let panicked = |_| io::Error::other("a thread has panicked");
        Ok(worker.join().map_err(panicked)?)
    }

    /// Waits until the other end of `end` is closed, or for `limit`.
    fn poll(self, end: Option<&OwnedFd>, limit: Option<&Timespec>) -> Result<(), Obstacle> {
        let signals = self.0.map(|signals| PollFd::new(signals, PollFlags::IN));
        let end = end.map(|end| PollFd::new(end, PollFlags::IN));
        let has_signals = signals.is_some();
        let mut awaited: Vec<_> = signals.into_iter().chain(end).collect();
        loop {
            match poll(&mut awaited, limit) {
                // A wait that a handler interrupts may start again: its limit is short.
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) if has_signals && !awaited[0].revents().is_empty() => return Err(Obstacle::Interrupted),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Returns the exclusive lock of `directory`, held until the descriptor is closed; `None` if the directory
/// does not exist, or if another directory has replaced it.
///
/// # Errors
/// Another process holds the lock for longer than [`LIMIT`]; a signal has arrived.
pub(super) fn lock(directory: &Path, interrupts: Interrupts<'_>) -> Result<Option<OwnedFd>, Obstacle> {
    let start = Instant::now();
    loop {
        match try_exclusive(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(Some(lock)) => {
                let is_same = |about: fs::Metadata| fstat(&lock).is_ok_and(|locked| locked.st_ino == about.ino());
                let is_there = fs::symlink_metadata(directory).is_ok_and(is_same);
                return Ok(is_there.then_some(lock));
            }
            Ok(None) if start.elapsed() >= LIMIT => return Err(Obstacle::Locked(describe_holder(directory))),
            Ok(None) => interrupts.pause(PAUSE)?,
        }
    }
}

/// Describes the process that has held the lock of `directory` for too long, as a clause.
fn describe_holder(directory: &Path) -> String {
    let who = match holder(directory).ok().flatten() {
        Some(pid) => match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => format!("process {pid} ({})", sanitize(name.trim_end())),
            Err(_) => format!("process {pid}, which has ended, or one that it has started,"),
        },
        None => String::from("a process that this pid namespace does not show"),
    };
    format!(
        "{who} has held the lock of {} for {} s",
        sanitize(&directory.to_string_lossy()),
        LIMIT.as_secs()
    )
}
