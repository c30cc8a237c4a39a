//! Runs contestants: processes that exist at the same time and take turns. Each one repeats its work for a slice of
//! time on request.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Effort;
use crate::library::{Environment, Error};
use crate::statistics::Series;

/// The maximum lifetime of a process, in rounds. The pages and addresses of a process can make it a percent faster or
/// slower as long as it lives.
const ROUNDS_PER_PROCESS: usize = 5;

/// The command of a contestant.
pub(crate) struct Contestant {
    /// The name for error messages.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Environment,
}

/// A contestant's process.
pub(crate) struct Process {
    name: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Contestant {
    pub(crate) fn start(&self) -> Result<Process, Error> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", self.program.display()))?;
        Ok(Process {
            name: self.name.clone(),
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("no pipe from a contestant")?),
            child,
        })
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line that the process prints.
    pub(crate) fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{}: ended early: {}", self.name, self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Measures one slice. Returns the nanoseconds of an iteration for each way in which the process does its work.
    fn slice(&mut self) -> Result<Vec<f64>, Error> {
        if let Some(orders) = &mut self.orders {
            orders.write_all(b"s")?;
        }
        self.line()?
            .split_whitespace()
            .map(|number| Ok(number.parse()?))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}

/// Lets the contestants take turns. Returns a series of nanoseconds for each contestant and each way in which it does
/// its work.
pub(crate) fn race(contestants: &[Contestant], effort: Effort) -> Result<Vec<Vec<Series>>, Error> {
    let mut times = vec![Vec::new(); contestants.len()];
    let mut processes = Vec::new();
    for round in 0..effort.rounds {
        if round % ROUNDS_PER_PROCESS == 0 {
            processes.clear();
            for contestant in contestants {
                processes.push(contestant.start()?);
            }
        }
        let mut slices = vec![Vec::new(); contestants.len()];
        for turn in round..round + effort.slices {
            for step in 0..contestants.len() {
                // The order alternates in direction and begins with another contestant each time, so no contestant
                // always follows the same one.
                let step = if turn % 2 == 0 {
                    step
                } else {
                    contestants.len() - 1 - step
                };
                let which = (step + turn / 2) % contestants.len();
                append(&mut slices[which], &processes[which].slice()?);
            }
        }
        for (times, slices) in times.iter_mut().zip(&slices) {
            append(times, &slices.iter().map(Series::median).collect::<Vec<f64>>());
        }
    }
    Ok(times)
}

/// Appends one figure to each series.
fn append(series: &mut Vec<Series>, figures: &[f64]) {
    series.resize_with(figures.len(), Series::default);
    for (series, figure) in series.iter_mut().zip(figures) {
        series.0.push(*figure);
    }
}
