//! Runs programs that read commands from standard input and answer on standard output.

use super::process::{LIMIT, Running};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// A running program with which a test exchanges lines.
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

    pub fn send_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is open until the end");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Returns the next line that the program prints; empty at the end of its output.
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

    /// Closes the program's standard input.
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
