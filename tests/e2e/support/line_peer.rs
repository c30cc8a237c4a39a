//! Programs that are told on their standard input what to do, and answer on their standard output.

use super::process::{LIMIT, Running};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// A running program, line by line.
pub struct LinePeer {
    running: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl LinePeer {
    pub fn start(command: &mut Command) -> Self {
        let mut running = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        Self {
            input: running.child.stdin.take(),
            output: BufReader::new(running.child.stdout.take().expect("a pipe")),
            running,
        }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is open until the end");
        writeln!(input, "{line}").expect("it reads");
    }

    /// The next line that it prints; empty where there is none any more.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        if self.output.buffer().is_empty() {
            let mut fds = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
            let limit = Timespec::try_from(LIMIT).expect("a short time");
            assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "no answer within {LIMIT:?}");
        }
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Closes its standard input.
    pub fn finish(&mut self) {
        self.input = None;
    }

    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    pub fn wait_for_end(&mut self) -> ExitStatus {
        self.running.wait_for_end()
    }
}
