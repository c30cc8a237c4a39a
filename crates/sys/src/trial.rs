//! Running a program to see how it ends: with nothing in its environment but what it is given, for a limited time; of
//! another system confined, so that it can do no harm. Nothing is opened for it, so that no device need be there.

mod confined;
mod filter;
mod privileges;

pub use confined::Failure;

use crate::rooted::Root;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The program, as its system names it.
    pub program: PathBuf,
    /// What follows its name.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// What it printed, up to 64 KiB.
    pub output: Vec<u8>,
    /// What it, or its loader, complained of, up to 64 KiB.
    pub errors: Vec<u8>,
}

impl Trial {
    /// Runs it, for `limit` at most; `None` when it had to be killed.
    ///
    /// # Errors
    /// It could not be started: what execve(2) gives.
    pub fn run(&self, limit: Duration) -> io::Result<Option<Ended>> {
        let deadline = Instant::now() + limit;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // A pipe that is closed at once: there may be no /dev/null.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        drop(child.stdin.take());
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        let read = read_all([output.into(), errors.into()], deadline);
        let status = wait(&mut child, deadline);
        Ok(match (read?, status?) {
            (Some([output, errors]), Some(status)) => Some(Ended { status, output, errors }),
            _ => None,
        })
    }

    /// Runs it in the system below `root`, for `limit` at most, confined; `None` when it had to be killed. `needs` are files
    /// that it must be able to read.
    ///
    /// # Errors
    /// [`Failure`]; whatever keeps it from being confined keeps it from being run.
    pub fn run_confined(&self, root: &Root, needs: &[&OsStr], limit: Duration) -> Result<Option<Ended>, Failure> {
        confined::run(self, root, needs, limit)
    }
}

/// As much as is kept of what comes through a pipe; the rest is read and dropped.
const KEPT: usize = 64 * 1024;

/// All that comes through these; `None` where the end does not come in time.
fn read_all<const N: usize>(pipes: [OwnedFd; N], deadline: Instant) -> io::Result<Option<[Vec<u8>; N]>> {
    let mut texts = [const { Vec::new() }; N];
    let mut pipes = pipes.map(|pipe| Some(File::from(pipe)));
    loop {
        let open: Vec<usize> = (0..N).filter(|index| pipes[*index].is_some()).collect();
        if open.is_empty() {
            return Ok(Some(texts));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Whatever is always ready would keep poll(2) from coming to the end.
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = open
                .iter()
                .filter_map(|index| pipes[*index].as_ref())
                .map(|pipe| PollFd::new(pipe, PollFlags::IN))
                .collect();
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Ok(None),
                Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        };
        for (index, _) in open.into_iter().zip(ready).filter(|(_, is_ready)| *is_ready) {
            let mut bytes = [0; 4096];
            let read = match &mut pipes[index] {
                Some(pipe) => pipe.read(&mut bytes)?,
                None => 0,
            };
            let room = KEPT - texts[index].len();
            texts[index].extend_from_slice(&bytes[..read.min(room)]);
            if read == 0 {
                pipes[index] = None;
            }
        }
    }
}

/// Waits for its end, and brings it about at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        // It has closed its output already: its end is near.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether execve(2) gave this because nothing here runs such machine code, of a program and a loader that are there: the
/// kernel does not, and an emulator that is registered for it (binfmt_misc) is not in that root directory.
pub fn is_foreign(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOEXEC | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Trial {
        Trial {
            program: PathBuf::from("/bin/sh"),
            arguments: ["-c", script].map(OsString::from).to_vec(),
            environment: vec![("A".into(), "1".into())],
        }
    }

    #[test]
    fn it_gives_what_was_printed_and_how_it_ended() {
        let ended = shell("echo $A$HOME; echo no >&2; exit 3")
            .run(Duration::from_mins(1))
            .unwrap()
            .unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((&ended.output[..], &ended.errors[..]), (&b"1\n"[..], &b"no\n"[..]));
    }

    #[test]
    fn it_ends_what_does_not_end() {
        for script in ["while :; do :; done", "exec >&- 2>&-; while :; do :; done"] {
            assert_eq!(shell(script).run(Duration::from_millis(50)).unwrap(), None, "{script}");
        }
    }

    #[test]
    fn output_without_end_is_neither_kept_nor_waited_for() {
        let script = "head -c 1000000 /dev/zero";
        let ended = shell(script).run(Duration::from_mins(1)).unwrap().unwrap();
        assert_eq!(ended.output.len(), KEPT);
        assert_eq!(shell("exec yes").run(Duration::from_millis(50)).unwrap(), None);
    }

    #[test]
    fn what_is_not_there_cannot_be_started() {
        let mut trial = shell("");
        trial.program = PathBuf::from("/nowhere/at/all");
        assert_eq!(
            trial.run(Duration::from_mins(1)).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
