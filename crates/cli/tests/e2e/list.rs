//! `keepalive list`: what it shows of running programs, against what they read themselves and what the kernel's own tables
//! say.

/// Skips a test of namespaces and other users where it cannot have them.
macro_rules! root {
    () => {
        if !rustix::process::geteuid().is_root() {
            skip!("only root has namespaces and other users");
        }
        for needed in ["unshare", "setpriv", "ip"] {
            if $crate::support::find_program(needed).is_none() {
                skip!("{needed} is not installed");
            }
        }
    };
}

mod ended;
mod filters;
mod holders;
mod kinds;
mod rights;
mod sandbox;
mod shown;
mod timers;
mod truth;
mod watch;

use crate::support::process::{Running, install, output_within};
use crate::support::{PYTHON, find_program, keepalive};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes; nobody waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(30);

/// What most programs here do: a listener, and a connection of which one end has keepalive on.
const CONNECTION: &str = "listener = listen(); client, accepted = pair(listener, keepalive=1, idle=61)";

/// A Python program that does what it is told (`targets/puppet.py`).
struct Puppet {
    running: Running,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Puppet {
    fn start() -> Self {
        Self::under(&[])
    }

    /// `wrapper` is a command that becomes the program.
    fn under(wrapper: &[&str]) -> Self {
        Self::called(PYTHON, wrapper)
    }

    /// The same with another path of the interpreter.
    fn called(python: &str, wrapper: &[&str]) -> Self {
        let words = [
            wrapper,
            &[python, "-I", "-S", "-c", include_str!("../targets/puppet.py")],
        ]
        .concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut running = Running::start_with_input(&mut command);
        let mut puppet = Self {
            orders: running.child.stdin.take().expect("a pipe"),
            answers: BufReader::new(running.child.stdout.take().expect("a pipe")),
            running,
        };
        // From now on the wrapper is the program.
        puppet.does("");
        puppet
    }

    fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// An expression whose value does not matter.
    fn tell(&mut self, expression: &str) {
        writeln!(self.orders, "{expression}").expect("it reads");
    }

    /// The value of an expression.
    #[track_caller]
    fn says(&mut self, expression: &str) -> String {
        self.tell(expression);
        let mut fds = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
        let limit = Timespec::try_from(LIMIT).expect("a short time");
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "{expression}: no answer");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("text");
        assert!(!line.starts_with("error: ") && !line.is_empty(), "{expression}: {line}");
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn number(&mut self, expression: &str) -> u64 {
        let said = self.says(expression);
        said.parse().unwrap_or_else(|_| panic!("{expression}: {said}"))
    }

    /// Lines of Python.
    #[track_caller]
    fn does(&mut self, lines: &str) {
        // An ASCII string reads the same in both languages.
        self.says(&format!("exec({lines:?})"));
    }

    /// What `keepalive list` shows of one of its sockets.
    #[track_caller]
    fn entry(&mut self, name: &str) -> Value {
        let fd = self.number(&format!("{name}.fileno()"));
        entry(&entries(&[&self.pid().to_string()]), fd)
    }

    /// What the program itself reads of it: all fields that it can know.
    #[track_caller]
    fn own_view(&mut self, name: &str) -> Value {
        let options = self.says(&format!(
            "[{name}.getsockopt(*OPTIONS[option]) for option in ('keepalive', 'idle', 'interval', 'count', 'user_timeout')]"
        ));
        let options: Vec<u32> = serde_json::from_str(&options).expect("numbers");
        json!({
            "pid": self.pid(),
            "fd": self.number(&format!("{name}.fileno()")),
            "inode": self.number(&format!("os.fstat({name}.fileno()).st_ino")),
            "keepalive": options[0] != 0,
            "idle_s": options[1],
            "interval_s": options[2],
            "count": options[3],
            "user_timeout_ms": options[4],
        })
    }
}

/// Those fields of `entry` that `expected` has are as there.
#[track_caller]
fn assert_has(entry: &Value, expected: &Value) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&entry[name], value, "{name} of {entry}");
    }
}

fn list(words: &[&str]) -> Command {
    let mut command = Command::new(keepalive());
    command.arg("list").args(words);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it prints; it must succeed without a word on standard error.
#[track_caller]
fn shown(words: &[&str]) -> String {
    let output = output_within(LIMIT, &mut list(words));
    assert_eq!(text(&output.stderr), "", "{words:?}");
    assert!(output.status.success(), "{words:?}: {}", output.status);
    text(&output.stdout)
}

/// The objects that it prints with `--json`.
#[track_caller]
fn entries(words: &[&str]) -> Vec<Value> {
    parsed(&shown(&[words, &["--json"]].concat()))
}

#[track_caller]
fn parsed(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The one of this descriptor.
#[track_caller]
fn entry(entries: &[Value], fd: u64) -> Value {
    let mut of_fd = entries.iter().filter(|entry| entry["fd"] == fd);
    let found = of_fd
        .next()
        .unwrap_or_else(|| panic!("no descriptor {fd} in {entries:?}"));
    assert!(of_fd.next().is_none(), "descriptor {fd} twice in {entries:?}");
    found.clone()
}

/// The objects of all processes. Others may start and end meanwhile, and without all rights a remark is made.
#[track_caller]
fn entries_of_all() -> Vec<Value> {
    let output = output_within(LIMIT, &mut list(&["--json"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    parsed(&text(&output.stdout))
}

/// An ordinary user's words before a command.
const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// `keepalive list` where an ordinary user can execute it.
struct Elsewhere(TempDir);

impl Elsewhere {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("its mode");
        install(&keepalive(), &directory.path().join("keepalive"), 0o755);
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("keepalive")
    }

    fn list(&self, wrapper: &[&str], words: &[&str]) -> Output {
        let mut command = Command::new(find_program(wrapper[0]).expect("it was there before"));
        command.args(&wrapper[1..]).arg(self.path()).arg("list").args(words);
        output_within(LIMIT, command.current_dir("/"))
    }
}

/// The line of the remark, and all lines of its hint, as one.
#[track_caller]
fn remark(output: &Output) -> (String, String) {
    let errors = text(&output.stderr);
    let (remark, hint) = errors
        .split_once("\nhint: ")
        .unwrap_or_else(|| panic!("no hint: {errors}"));
    assert!(!remark.contains('\n') && !hint.contains("hint:"), "{errors}");
    assert!(errors.lines().all(|line| line.chars().count() <= 80), "{errors}");
    (remark.to_owned(), hint.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn assert_refused(output: &Output, error: &str, hint: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), format!("keepalive: {error}\nhint: {hint}\n"));
}
