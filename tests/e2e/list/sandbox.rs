//! In a sandbox whose filter denies pidfd_getfd(2).

use super::{CONNECTION, assert_has, entry, parsed, remark};
use crate::support::keepalive;
use crate::support::ordinary::NOBODY;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, compile};
use serde_json::json;
use std::process::{Command, Output};

/// Runs `keepalive list` in a sandbox where pidfd_getfd(2) returns EPERM, as under the default filters of container
/// engines.
fn in_sandbox(words: &[&str]) -> Output {
    without(["438", "1"], &[&["list"], words].concat())
}

/// Runs keepalive with one system call, by number, denied with this error.
fn without(denied: [&str; 2], words: &[&str]) -> Output {
    let sandbox = compile(Libc::Host, "denied.c", &[]);
    output_within(LIMIT, Command::new(sandbox).args(denied).arg(keepalive()).args(words))
}

const SANDBOX_HINT: &str = "a seccomp filter here denies pidfd_getfd(2), as those of container engines do: run keepalive on the \
                            host, or give the container CAP_SYS_PTRACE (--cap-add SYS_PTRACE)";

#[test]
fn sandbox_is_named_as_the_obstacle() {
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let number = program.pid().to_string();
    let output = in_sandbox(&[&number, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let entry = entry(&parsed(&text(&output.stdout)), program.number("client.fileno()"));
    assert_has(
        &entry,
        &json!({"pid": program.pid(), "keepalive": true, "idle_s": null, "dead_after_s": null}),
    );
    assert_eq!(entry["timer"]["kind"], "keepalive");
    let (remark, hint) = remark(&output);
    assert_eq!(
        remark,
        "keepalive: 3 sockets are shown without what only a holder's rights tell ('?')"
    );
    assert_eq!(hint, SANDBOX_HINT);
}

/// Root gets the same hint, not the hint to become root.
#[test]
fn sandbox_is_named_for_processes_of_any_user() {
    root!();
    python!();
    let mut program = PyPeer::under(&NOBODY);
    program.execute(CONNECTION);
    let output = in_sandbox(&[&program.pid().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(remark(&output).1, SANDBOX_HINT);
}

/// Only the kernel's table identifies an IPv4 socket as TCP; sockets that are not in it, such as unconnected ones, are
/// omitted.
#[test]
fn sandbox_omits_sockets_that_are_not_in_the_kernel_table() {
    python!();
    let mut program = PyPeer::start();
    program.execute("fresh = socket.socket(); listener = listen()");
    let output = in_sandbox(&[&program.pid().to_string(), "--json"]);
    let entries = parsed(&text(&output.stdout));
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(
        remark(&output).0,
        "keepalive: 1 socket is shown without what only a holder's rights tell ('?')"
    );
}

/// Without sock_diag, the options of the sockets themselves are still exact.
#[test]
fn missing_sock_diag_is_reported() {
    /// Denies socket(2) with EAFNOSUPPORT.
    const NO_SOCKETS: [&str; 2] = ["41", "97"];
    python!();
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the numbers of system calls are those of x86_64");
    }
    let mut program = PyPeer::start();
    program.execute(CONNECTION);
    let number = program.pid().to_string();
    let output = without(NO_SOCKETS, &["list", "--json", &number]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let client = program.number("client.fileno()");
    let entry = entry(&parsed(&text(&output.stdout)), client);
    assert_has(
        &entry,
        &json!({"state": "established", "keepalive": true, "idle_s": 61, "timer": null}),
    );
    let begin = "keepalive: timers, listeners and the sockets of others are not known: sock_diag: ";
    assert!(text(&output.stderr).starts_with(begin), "{}", text(&output.stderr));
    let output = without(NO_SOCKETS, &["attach", "--dry-run", &number]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with(begin), "{}", text(&output.stderr));
}
