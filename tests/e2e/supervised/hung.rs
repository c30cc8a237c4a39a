//! A process determines how long reading its memory, locking its socket, or closing its file takes. No other process
//! waits for that.

use super::{Keepalive, LIMIT, Process, start, static_target};
use crate::support::process::{Running, eventually};
use crate::support::target::Libc;
use keepalive_sys::proc;
use rustix::process::Signal;
use std::io::{BufRead as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{panicking, spawn};

/// `targets/hung.c` under supervisors. The hanging calls end only with the program.
struct Hung {
    program: Running,
    keepalive: Keepalive,
    lines: Receiver<String>,
}

impl Hung {
    /// Starts the program, and waits until another process has connected at the same time, twice.
    fn start(how: &str, options: &[&str]) -> Self {
        let keepalive = Keepalive::new();
        let mut command = keepalive.seccomp();
        command.args(options).arg(static_target(Libc::Host, "hung.c")).arg(how);
        command.arg(keepalive.directory.path());
        let (program, output) = start(&mut command);
        let (sender, lines) = channel();
        spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let hung = Self {
            program,
            keepalive,
            lines,
        };
        for expected in [OTHER, OTHER, "holding"] {
            assert_eq!(hung.line(), expected, "{how}");
        }
        hung
    }

    fn line(&self) -> String {
        self.lines
            .recv_timeout(LIMIT)
            .expect("no connect of another process hangs")
    }

    fn supervisors(&self) -> (Process, Process) {
        eventually("two supervisors", LIMIT, || self.keepalive.supervisors())
    }

    /// Waits until this number of threads of the serving process hang.
    fn until_threads_hang(&self, hanging: usize) {
        let (_, serving) = self.supervisors();
        let has_as_many = || {
            proc::threads(serving.pid)
                .ok()
                .filter(|threads| threads.len() == 2 + hanging)
        };
        eventually("threads that hang", LIMIT, has_as_many);
    }

    /// Makes another process connect.
    fn connect(&mut self) {
        let input = self.program.child.stdin.as_mut().expect("a pipe");
        input.write_all(b"c").expect("it reads");
        assert_eq!(self.line(), OTHER);
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.program.child.stdin.take());
        if !panicking() {
            self.program.wait_for_end();
        }
    }
}

const OTHER: &str = "other: 1 61 13 4 0";

/// Because of this rule the supervisor reads the address.
const RULE: [&str; 2] = ["--rule", "connect 192.0.2.0/24 off"];
const PROGRAM_RULE: [&str; 2] = ["--rule", "program nosuch off"];

/// Skips a test where the kernel lacks a required feature.
macro_rules! delays {
    () => {
        root!();
        for needed in ["/dev/fuse", "/proc/sys/vm/unprivileged_userfaultfd"] {
            if !std::path::Path::new(needed).exists() {
                skip!("this kernel has no {needed}");
            }
        }
    };
}

#[test]
fn hanging_process_delays_no_other_process() {
    delays!();
    for (how, options, hanging) in [
        // The process makes the same call twice, but does not block a second thread.
        ("page", &RULE, 1),
        ("lock", &RULE, 1),
        ("fuse-page", &RULE, 1),
        ("fuse-name", &PROGRAM_RULE, 1),
        // Files are closed by separate threads.
        ("fuse-file", &RULE, 2),
    ] {
        let mut hung = Hung::start(how, options);
        hung.until_threads_hang(hanging);
        hung.connect();
    }
}

/// The serving process cannot be killed while one of its threads waits for the file server; the standby still takes
/// over.
#[test]
fn hanging_supervisor_can_be_killed() {
    delays!();
    for (how, options) in [("fuse-page", &RULE), ("lock", &RULE), ("page", &RULE)] {
        let mut hung = Hung::start(how, options);
        hung.until_threads_hang(1);
        let (standby, serving) = hung.supervisors();
        serving.send(Signal::KILL);
        let new = eventually("another process that serves", LIMIT, || {
            hung.keepalive.supervisors().filter(|(_, new)| new.pid != serving.pid)
        });
        assert_eq!(new.0, standby, "{how}");
        hung.connect();
    }
}

/// The serving process continues alone.
#[test]
fn hanging_supervisor_continues_without_its_standby() {
    delays!();
    let mut hung = Hung::start("fuse-page", &RULE);
    hung.until_threads_hang(1);
    let (standby, _) = hung.supervisors();
    standby.send(Signal::KILL);
    eventually("its end", LIMIT, || standby.is_dead().then_some(()));
    hung.connect();
}
