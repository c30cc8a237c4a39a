//! Starts programs that never outlive their test, and waits for events with a deadline.

use super::find_program;
use super::observe::family;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// A deadline that is longer than any awaited event, also if `--watch` waits for long because the machine is busy.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A started program; it and all its descendants are killed when this is dropped.
pub struct Running {
    pub child: Child,
}

impl Running {
    /// Starts `command` without standard input.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command.stdin(Stdio::null()))
    }

    /// Starts `command` with its own standard input.
    pub fn start_with_input(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of the test").is_some()
    }

    /// Waits until the program ends by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        eventually("its end", LIMIT, || self.child.try_wait().expect("a child of the test"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopped first, so that no parent starts another child while we kill those we have seen.
        let mut stopped = Vec::new();
        loop {
            let family = family(self.pid());
            let new: Vec<u32> = family.into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            send(&new, Signal::STOP);
            stopped.extend(new);
        }
        send(&stopped, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn send(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        let _ = kill_process(pid, signal);
    }
}

/// Returns the command of `program` under `wrapper`, a command that executes its arguments.
pub fn wrapped(wrapper: &[&str], program: impl AsRef<OsStr>) -> Command {
    let [first, words @ ..] = wrapper else {
        return Command::new(program);
    };
    let mut command = Command::new(find_program(first).unwrap_or_else(|| panic!("{first} is not installed")));
    command.args(words).arg(program);
    command
}

/// Returns the id of a process that has ended and was waited for.
pub fn ended() -> u32 {
    let mut program = Running::start(&mut Command::new("true"));
    program.wait_for_end();
    program.pid()
}

/// Returns the output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command as [`Command::output`], without standard input. After `limit`, kills the command and fails the test.
pub fn output_within(limit: Duration, command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let pid = child.id();
    let (over, wait) = channel::<()>();
    let watchdog = spawn(move || {
        let is_late = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if is_late {
            send(&family(pid), Signal::KILL);
        }
        is_late
    });
    let output = child.wait_with_output().expect("a child of the test");
    drop(over);
    let is_late = watchdog.join().expect("it does not panic");
    assert!(!is_late, "{command:?} was not over in {limit:?}: {output:?}");
    output
}

/// Copies a file that will be executed. Another process does it: a descriptor open for writing in this one could be
/// inherited by a program that another test starts, and executing the copy then fails with ETXTBSY.
pub fn install(from: &Path, to: &Path, mode: u32) {
    let status = Command::new("install")
        .arg("-m")
        .arg(format!("{mode:o}"))
        .arg(from)
        .arg(to)
        .status();
    assert!(status.expect("install starts").success());
}

/// Calls `probe` repeatedly until it returns a value. Fails with `what` after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Calls `probe` repeatedly until it returns a value, for at most `limit`.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        sleep(Duration::from_millis(10));
    }
}
