//! `keepalive run` with the seccomp supervisor: programs that no library can be loaded into, the options of their
//! sockets, and that the supervisor is unnoticed, alive or killed.

/// Skips a test that needs namespaces and other users if these are impossible.
macro_rules! root {
    () => {
        if !rustix::process::geteuid().is_root() {
            skip!("only root has namespaces and other users");
        }
        for needed in ["unshare", "setpriv", "ip", "mount"] {
            if $crate::support::find_program(needed).is_none() {
                skip!("{needed} is not installed");
            }
        }
    };
}

mod answers;
mod auto;
mod evidence;
mod hung;
mod identity;
mod job_control;
mod limits;
mod modes;
mod privilege;
mod process_tree;
mod proxy;
mod reach;
mod ring;
mod state;
mod survival;

use crate::support::process::{Running, install, output_within, within};
use crate::support::target::{BUILDS, Libc, POLICY, no_config, static_target};
use crate::support::{find_program, keepalive, library, packaged_library};
use keepalive_sys::proc;
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A deadline that is longer than any run.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns `targets/sockets.c`, built for the machine's own architecture.
fn sockets() -> PathBuf {
    static_target(Libc::Host, "sockets.c")
}

/// The command under a path of the test's own, which distinguishes its supervisors from those of other tests. When it
/// is dropped, no supervisor may be left.
struct Keepalive {
    directory: TempDir,
    library: PathBuf,
}

impl Keepalive {
    fn new() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory in the build directory");
        fs::hard_link(keepalive(), directory.path().join("keepalive")).expect("the same file system");
        Self {
            directory,
            library: packaged_library(),
        }
    }

    /// Installs the command where every user can execute it; the build directory may be closed to them.
    fn for_all_users() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("a directory of the test");
        let copy = Self {
            library: directory.path().join("libkeepalive.so"),
            directory,
        };
        install(&keepalive(), &copy.path(), 0o755);
        install(&library(), &copy.library, 0o644);
        copy
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keepalive")
    }

    /// Copies a program to where every user can execute it.
    fn bring(&self, program: &Path, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        install(program, &copy, 0o755);
        copy
    }

    /// Returns the command of `program` with the environment for `keepalive run`: only the policy.
    fn environment(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("KEEPALIVE_CONFIG", no_config())
            .env("KEEPALIVE_LIBRARY", &self.library)
            .envs(POLICY)
            .stdin(Stdio::null());
        command
    }

    /// Returns `keepalive run` without an engine option.
    fn run(&self) -> Command {
        let mut command = self.environment(&self.path());
        command.arg("run");
        command
    }

    /// Returns `keepalive run` with only the supervisor.
    fn seccomp(&self) -> Command {
        let mut command = self.run();
        command.args(["--engine", "seccomp"]);
        command
    }

    /// Returns what `targets/sockets.c`, linked statically, prints for these words under these options.
    #[track_caller]
    fn words(&self, options: &[&str], words: &str) -> String {
        printed(
            self.seccomp()
                .args(options)
                .arg(sockets())
                .args(words.split_whitespace()),
        )
    }

    /// Returns the processes that run this command: its supervisors, and the process that has not yet executed the
    /// program.
    fn processes(&self) -> Vec<Process> {
        let path = self.path();
        let all = proc::processes().expect("/proc");
        // An ordinary user cannot read the supervisors' /proc/PID/exe.
        let own = |pid: &u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).next() == Some(path.as_os_str().as_bytes())
        };
        all.into_iter().filter(own).filter_map(Process::read).collect()
    }

    /// Returns the supervisors when both have started: the standby, and its child, the serving process.
    fn supervisors(&self) -> Option<(Process, Process)> {
        let [one, other] = self.processes().try_into().ok()?;
        let (standby, serving) = if other.parent == one.pid {
            (one, other)
        } else {
            (other, one)
        };
        // Before the command executes the program, it and a child look like a pair, but have the session of the test.
        let test_session = Process::read(std::process::id())?.session;
        let is_pair =
            serving.parent == standby.pid && serving.session == standby.session && serving.session != test_session;
        is_pair.then_some((standby, serving))
    }

    fn is_over(&self) -> bool {
        self.processes().is_empty()
    }
}

impl Drop for Keepalive {
    fn drop(&mut self) {
        let is_over = within(LIMIT, || self.is_over().then_some(())).is_some();
        for process in self.processes() {
            process.send(Signal::KILL);
        }
        assert!(
            is_over || thread::panicking(),
            "supervisors have outlived their program"
        );
    }
}

/// A process, from `/proc/PID/stat` (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    session: u32,
    is_zombie: bool,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let is_zombie = words.next()? == "Z";
        let mut number = || words.next()?.parse().ok();
        let parent = number()?;
        number()?;
        Some(Self {
            pid,
            parent,
            session: number()?,
            is_zombie,
        })
    }

    fn send(self, signal: Signal) {
        let pid = Pid::from_raw(self.pid.cast_signed()).expect("the number of a process");
        let _ = kill_process(pid, signal);
    }

    fn is_dead(self) -> bool {
        Self::read(self.pid).is_none_or(|now| now.is_zombie || now.parent != self.parent)
    }
}

/// Returns what the command prints. It must succeed within the limit.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = output_within(LIMIT, command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    text(&output.stdout)
}

/// Returns standard output, standard error and the exit status; `None` after a signal.
fn outcome(command: &mut Command) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = output_within(LIMIT, command);
    (text(&stdout), text(&stderr), status.code())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a program whose input and output are pipes.
fn start(command: &mut Command) -> (Running, BufReader<ChildStdout>) {
    let mut program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let output = program.child.stdout.take().expect("a pipe");
    (program, BufReader::new(output))
}

/// Returns the next line of the output, with its line feed.
fn line_of(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("text");
    line
}

/// Reads the output until the program prints that it holds its sockets.
fn until_it_holds(output: &mut impl BufRead) {
    loop {
        let line = line_of(output);
        assert_ne!(line, "", "it has ended");
        if line == "holding\n" {
            return;
        }
    }
}

/// A command prefix that creates a network with only loopback.
const OWN_NETWORK: [&str; 6] = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];

/// Returns the path of a program, or why the test cannot run.
fn needed(name: &str) -> Result<PathBuf, String> {
    find_program(name).ok_or_else(|| format!("{name} is not installed"))
}
