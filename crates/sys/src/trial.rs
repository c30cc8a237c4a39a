//! Runs a program to observe how it ends, with only the given environment and for a limited time. A program
//! of another system runs confined, so that it can do no harm. No files are opened for the program, so no
//! device is required.

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

/// The program to run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The path of the program inside its system.
    pub program: PathBuf,
    /// The arguments after the program's name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// How the program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit status, or the signal that ended the program.
    pub status: ExitStatus,
    /// The output of the program, up to 64 KiB.
    pub output: Vec<u8>,
    /// The messages of the program, or of its loader, on standard error, up to 64 KiB.
    pub errors: Vec<u8>,
}

impl Trial {
    /// Runs the program, for `limit` at most; `None` if it had to be killed.
    ///
    /// # Errors
    /// The program could not be started: the error of execve(2).
    pub fn run(&self, limit: Duration) -> io::Result<Option<Ended>> {
        let deadline = Instant::now() + limit;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // A pipe that is closed immediately: /dev/null may not exist.
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

    /// Runs the program in the system below `root`, confined, for `limit` at most; `None` if it had to be
    /// killed. The program must be able to read the files `needs`.
    ///
    /// # Errors
    /// [`Failure`]; a program that cannot be confined is not run.
    pub fn run_confined(&self, root: &Root, needs: &[&OsStr], limit: Duration) -> Result<Option<Ended>, Failure> {
        confined::run(self, root, needs, limit)
    }
}

/// The limit of what is kept from a pipe; the rest is read and dropped.
const KEPT: usize = 64 * 1024;

/// Reads these pipes to their ends; `None` if an end does not come before the deadline.
fn read_all<const N: usize>(pipes: [OwnedFd; N], deadline: Instant) -> io::Result<Option<[Vec<u8>; N]>> {
    let mut texts = [const { Vec::new() }; N];
    let mut pipes = pipes.map(|pipe| Some(File::from(pipe)));
    loop {
        let open: Vec<usize> = (0..N).filter(|index| pipes[*index].is_some()).collect();
        if open.is_empty() {
            return Ok(Some(texts));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // A pipe that is always ready would keep poll(2) from reporting a timeout.
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

/// Waits for the end of the child, and kills it at the deadline.
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
        // The child has already closed its output and ends soon.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether execve(2) failed because this machine cannot run such machine code, for an existing
/// program and loader. Either the kernel cannot run it, or the emulator that is registered for it
/// (binfmt_misc) does not exist in that root directory.
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
    fn output_and_status_are_returned() {
        let ended = shell("echo $A$HOME; echo no >&2; exit 3")
            .run(Duration::from_mins(1))
            .unwrap()
            .unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((&ended.output[..], &ended.errors[..]), (&b"1\n"[..], &b"no\n"[..]));
    }

    #[test]
    fn hung_processes_are_killed() {
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
    fn missing_programs_cannot_be_started() {
        let mut trial = shell("");
        trial.program = PathBuf::from("/nowhere/at/all");
        assert_eq!(
            trial.run(Duration::from_mins(1)).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
