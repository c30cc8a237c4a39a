//! `keepalive attach`: the options of the sockets of running programs after the command, as the kernel reports them.

mod hung;
mod kinds;
mod live;
mod load;
mod nat;
mod permissions;
mod settings;
mod timer;
mod usage;
mod watch;

use crate::support::keepalive;
use crate::support::observe::{has, show};
use crate::support::process::{LIMIT, output_within, text, wrapped};
use crate::support::py_peer::PyPeer;
use crate::support::table::row;
use crate::support::target::no_config;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// The policy of tests that need no particular one.
const POLICY: [&str; 3] = ["--idle=61", "--interval=13", "--count=4"];

/// Returns `keepalive attach` under `wrapper`, without a policy; the caller adds arguments.
fn attach_under(wrapper: &[&str], keepalive: &Path) -> Command {
    let mut command = wrapped(wrapper, keepalive);
    command.env_clear().env("KEEPALIVE_CONFIG", no_config()).arg("attach");
    command
}

fn attach() -> Command {
    attach_under(&[], &keepalive())
}

/// Runs `keepalive attach` with these arguments.
fn outcome(words: &[&str]) -> Output {
    output_within(LIMIT, attach().args(words))
}

/// Attaches to process `pid` with these arguments, which must succeed. Returns what the command prints.
#[track_caller]
fn attached(pid: u32, words: &[&str]) -> String {
    let output = output_within(LIMIT, attach().args(words).arg(pid.to_string()));
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output.stdout)
}

/// Returns the time until the next probe.
#[track_caller]
fn next_probe(pid: u32, fd: i32) -> Option<Duration> {
    let row = row(pid, fd)?;
    (row.timer == 2).then_some(row.expires)
}

/// Starts a program with a listener, a connection to it with these options, and the accepted end.
fn pair_with(values: &str) -> PyPeer {
    let mut program = PyPeer::start();
    program.execute(&format!(
        "listener = listen(); client, accepted = pair(listener, {values})"
    ));
    program
}
