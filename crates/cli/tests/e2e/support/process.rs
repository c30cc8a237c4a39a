//! Starting programs that never outlive their test, and waiting for events with a deadline.

use super::observe::family;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A started program; it and all its descendants are killed when this is dropped.
pub struct Running {
    pub child: Child,
}

impl Running {
    /// Starts `command` without standard input.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command.stdin(Stdio::null()))
    }

    /// Starts `command` with the standard input it was given.
    pub fn start_with_input(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
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

/// Copies a file that will be executed. Another process does it: a descriptor open for writing in this one could be
/// inherited by a program that another test starts, and executing the copy then fails with ETXTBSY.
pub fn install(from: &Path, to: &Path, mode: u32) {
    let status = Command::new("install").arg("-m").arg(format!("{mode:o}")).arg(from).arg(to).status();
    assert!(status.expect("install starts").success());
}

/// Asks again and again until `probe` gives a value, and fails with `what` after `limit`.
pub fn eventually<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Asks again and again until `probe` gives a value, for at most `limit`.
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
