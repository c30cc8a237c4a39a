//! `keepalive probe`, through a real NAT that forgets (scripts/lab) and against servers that end idle connections.

use crate::support::process::output_within;
use crate::support::{PYTHON, keepalive, library, repository};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

mod existing;
mod found;
mod logins;
mod lossy;
mod servers;
mod shown;
mod usage;
mod wire;

/// More than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Longer than any test: the NAT never forgets.
const NEVER: &str = "600";

/// Starts the server (`targets/idle_server.py`), does as `$5` says, then runs the rest in the client.
const STAGE: &str = r#"
    exec 4< <(exec ip netns exec server "$1" -I -S "$2" "$3" $4 2>&1)
    IFS= read -r -t 30 line <&4 && [[ $line == listening ]] || { echo "the server says: $line"; exit 1; }
    eval "$5"
    exec ip netns exec client "${@:6}"
"#;

/// Where a path is measured.
#[derive(Clone, Copy)]
struct Lab<'a> {
    /// Seconds after which the NAT forgets.
    timeout: &'a str,
    on_forget: &'a str,
    /// The server's address, with brackets around IPv6.
    address: &'a str,
    /// How the server treats connections, see `targets/idle_server.py`.
    server: &'a str,
    /// Bash, before the client starts.
    before: &'a str,
}

impl Default for Lab<'_> {
    fn default() -> Self {
        Self {
            timeout: NEVER,
            on_forget: "silent",
            address: "10.0.2.2",
            server: "keep",
            before: "",
        }
    }
}

impl Lab<'_> {
    /// `keepalive probe` of the server with these options.
    fn probe(&self, options: &[&str]) -> Output {
        self.probe_under(&[], options)
    }

    /// The same, run by another command.
    fn probe_under(&self, wrapper: &[&str], options: &[&str]) -> Output {
        let keepalive = keepalive();
        let keepalive = keepalive.to_str().expect("a UTF-8 path");
        let target = self.target();
        self.client(&[wrapper, &[keepalive, "probe", &target], options].concat())
    }

    /// A command in the client.
    fn client(&self, command: &[&str]) -> Output {
        let mut lab = Command::new(repository().join("scripts/lab"));
        lab.args(["--timeout", self.timeout, "--on-forget", self.on_forget]);
        lab.args(["--", "bash", "-c", STAGE, "stage", PYTHON])
            .arg(script("idle_server.py"));
        lab.args([&self.target(), self.server, self.before]).args(command);
        output_within(LIMIT, &mut lab)
    }

    fn target(&self) -> String {
        format!("{}:7000", self.address)
    }
}

/// Where `tests/targets/NAME` is.
fn script(name: &str) -> PathBuf {
    repository().join("tests/targets").join(name)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON object, whatever the exit status.
#[track_caller]
fn object(output: &Output) -> Value {
    let text = stdout(output);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{}", stderr(output)))
}

/// The same of a measurement that has come to its end; nothing is said beside it but the first line.
#[track_caller]
fn measured(output: &Output) -> Value {
    assert_ends_well(output);
    object(output)
}

#[track_caller]
fn assert_ends_well(output: &Output) {
    let errors = stderr(output);
    let is_first_line = errors.starts_with("keepalive: asking ") && errors.ends_with(" at most\n");
    assert!(
        output.status.success() && is_first_line && errors.lines().count() == 1,
        "{}: {}{errors:?}",
        output.status,
        stdout(output)
    );
}

/// The text of a measurement that has come to its end, in which no line is wider than a terminal.
#[track_caller]
fn told(output: &Output) -> String {
    assert_ends_well(output);
    let text = stdout(output);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    text
}

/// The words of the text without its line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn seconds(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or_else(|| panic!("{name}: {object:#}"))
}

/// Asserts that the bounds are those of a path that forgets after `timeout` seconds, and as close as they have to be.
#[track_caller]
fn assert_bounds(object: &Value, timeout: f64, precision: f64) {
    /// The NAT's clock and that of the client start with different packets.
    const TOLERANCE: f64 = 0.3;
    /// The numbers are rounded to milliseconds.
    const ROUNDED: f64 = 0.001;
    let (lived, died) = (seconds(object, "lived_s"), seconds(object, "died_s"));
    assert!(lived < timeout + TOLERANCE && died > timeout - TOLERANCE, "{object:#}");
    assert!(
        died - lived <= (precision * died).max(0.1) + ROUNDED && lived < died,
        "{object:#}"
    );
}

/// Asserts that what the text suggests can be used: the command with these flags, and the line in a configuration file.
#[track_caller]
fn assert_suggestions_are_accepted(text: &str) {
    let suggested = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no line starts with '{start}': {text}"))
            .trim()
    };
    let words: Vec<&str> = suggested("  keepalive run ").split_whitespace().collect();
    let ["keepalive", options @ .., "COMMAND"] = &words[..] else {
        panic!("{words:?}");
    };
    let mut run = Command::new(keepalive());
    run.env("KEEPALIVE_LIBRARY", library()).args(options).arg("true");
    assert!(output_within(LIMIT, &mut run).status.success(), "{run:?}");

    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("keepalive.conf");
    std::fs::write(&file, format!("{}\n", suggested("  connect "))).expect("a file of the test");
    let mut check = Command::new(keepalive());
    let output = output_within(LIMIT, check.arg("check").arg(&file));
    assert!(output.status.success(), "{text}{}", stderr(&output));
}
