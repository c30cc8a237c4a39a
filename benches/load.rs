//! The program that commands are measured on, `load.c`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::Error;
use crate::fixture::Fixture;

impl Fixture {
    /// Returns the proportional memory (PSS), in KiB, of the processes that run the command under test: the supervisors.
    pub(crate) fn commands_memory(&self) -> Result<f64, Error> {
        let mut sum = 0.0;
        for process in self.processes()? {
            let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0");
            sum += line.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
        }
        Ok(sum)
    }
}

/// A process of `load.c`.
pub(crate) struct Load {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Load {
    /// Starts the program and waits until it is ready.
    pub(crate) fn start(fixture: &Fixture, environment: &[(&str, &str)], words: &[&str]) -> Result<Self, Error> {
        Self::start_under(fixture, environment, &[], words)
    }

    /// As [`start`](Self::start), with the words of another command before the program.
    pub(crate) fn start_under(
        fixture: &Fixture,
        environment: &[(&str, &str)],
        before: &[&str],
        words: &[&str],
    ) -> Result<Self, Error> {
        let mut command = fixture.command(environment, &[before, &["PROGRAM"], words].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut load = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("no pipe from a program")?),
            child,
        };
        load.line()?;
        Ok(load)
    }

    /// Orders the program to do its work again. Returns the line that it prints then.
    pub(crate) fn again(&mut self) -> Result<String, Error> {
        self.orders.as_mut().ok_or("no pipe to a program")?.write_all(b"a")?;
        self.line()
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("a program ended early: {}", self.child.wait()?).into());
        }
        Ok(line)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}
