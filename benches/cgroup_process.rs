//! Runs `cgroup.c` in the cgroup of the bench.

use crate::cgroup_fixture::Fixture;
use crate::{Effort, Error};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program in the cgroup.
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(fixture: &Fixture, case: &str, effort: Effort) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]);
        command
            .arg(fixture.cgroup.join("cgroup.procs"))
            .arg(fixture.path("program"));
        command.args([case, &effort.slice_ms.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("no pipe from a contestant")?),
            child,
        })
    }

    /// Measures one slice. Returns the nanoseconds of one iteration.
    pub(crate) fn slice(&mut self) -> Result<f64, Error> {
        self.orders.as_mut().ok_or("no pipe to a contestant")?.write_all(b"s")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse().map_err(|_| "a contestant has ended early")?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}
