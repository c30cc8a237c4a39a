//! `keepalive list`: its output for running programs, compared with what the programs read themselves and with the
//! kernel's tables.

mod container;
mod ended;
mod filters;
mod holders;
mod hostile;
mod hung;
mod kinds;
mod rights;
mod sandbox;
mod shown;
mod timers;
mod truth;
mod watch;

use crate::support::hung::without_hung_processes;
use crate::support::keepalive;
use crate::support::ordinary::Installed;
use crate::support::process::{LIMIT, output_within, text, wrapped};
use crate::support::py_peer::PyPeer;
use serde_json::{Value, json};
use std::process::{Command, Output};

/// Python for most programs of these tests: a listener, and a connection with keepalive on at one end.
const CONNECTION: &str = "listener = listen(); client, accepted = pair(listener, keepalive=1, idle=61)";

impl PyPeer {
    /// Returns what `keepalive list` shows of one of the program's sockets.
    #[track_caller]
    fn entry(&mut self, name: &str) -> Value {
        let fd = self.number(&format!("{name}.fileno()"));
        entry(&entries(&[&self.pid().to_string()]), fd)
    }

    /// Returns what the program reads of the socket itself: all fields that it can know.
    #[track_caller]
    fn own_view(&mut self, name: &str) -> Value {
        let options = self.ask(&format!(
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

/// Asserts that `entry` has the fields of `expected`.
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

/// Runs `keepalive list`, which must succeed without messages. Returns its output.
#[track_caller]
fn shown(words: &[&str]) -> String {
    let output = output_within(LIMIT, &mut list(words));
    assert_eq!(text(&output.stderr), "", "{words:?}");
    assert!(output.status.success(), "{words:?}: {}", output.status);
    text(&output.stdout)
}

/// Returns the objects that `--json` prints.
#[track_caller]
fn entries(words: &[&str]) -> Vec<Value> {
    parsed(&shown(&[words, &["--json"]].concat()))
}

#[track_caller]
fn parsed(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the object of this descriptor.
#[track_caller]
fn entry(entries: &[Value], fd: u64) -> Value {
    let mut of_fd = entries.iter().filter(|entry| entry["fd"] == fd);
    let found = of_fd
        .next()
        .unwrap_or_else(|| panic!("no descriptor {fd} in {entries:?}"));
    assert!(of_fd.next().is_none(), "descriptor {fd} twice in {entries:?}");
    found.clone()
}

/// Returns the objects of all processes. Others may start and end at the same time; without all permissions a remark is
/// printed.
#[track_caller]
fn entries_of_all() -> Vec<Value> {
    let _guard = without_hung_processes();
    let output = output_within(LIMIT, &mut list(&["--json"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    parsed(&text(&output.stdout))
}

impl Installed {
    fn list(&self, wrapper: &[&str], words: &[&str]) -> Output {
        let _guard = without_hung_processes();
        let mut command = wrapped(wrapper, self.keepalive());
        output_within(LIMIT, command.arg("list").args(words).current_dir("/"))
    }
}

/// Returns the line of the remark, and its hint as one line.
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
