//! In a sandbox whose filter denies pidfd_getfd(2).

use super::{CONNECTION, assert_has, entry, parsed, remark};
use crate::support::keepalive;
use crate::support::ordinary::NOBODY;
use crate::support::process::{LIMIT, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, compile};
use serde_json::json;
use std::process::{Command, Output};

/// `keepalive list` in a sandbox where pidfd_getfd(2) gives EPERM, as under the default filters of container engines.
fn in_sandbox(words: &[&str]) -> Output {
    without(["438", "1"], &[&["list"], words].concat())
}

/// keepalive where the kernel answers one system call, by number, with this error.
fn without(denied: [&str; 2], words: &[&str]) -> Output {
    let sandbox = compile(Libc::Host, "denied.c", &[]);
    output_within(LIMIT, Command::new(sandbox).args(denied).arg(keepalive()).args(words))
}

const SANDBOX_HINT: &str = "a seccomp filter here denies pidfd_getfd(2), as those of container engines do: run keepalive \
                            outside the container, or give it CAP_SYS_PTRACE (--cap-add SYS_PTRACE)";

#[test]
fn a_sandbox_is_named_as_what_is_in_the_way() {
    python!();
    let mut program = PyPeer::start();
    program.does(CONNECTION);
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

/// Root is told so too, and not to become root.
#[test]
fn a_sandbox_is_named_whoever_the_process_belongs_to() {
    root!();
    python!();
    let mut program = PyPeer::under(&NOBODY);
    program.does(CONNECTION);
    let output = in_sandbox(&[&program.pid().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(remark(&output).1, SANDBOX_HINT);
}

/// An IPv4 socket is known to be TCP by the kernel's table alone; others, as those that are not connected, are not shown.
#[test]
fn in_a_sandbox_what_is_not_in_the_kernels_table_is_left_out() {
    python!();
    let mut program = PyPeer::start();
    program.does("fresh = socket.socket(); listener = listen()");
    let output = in_sandbox(&[&program.pid().to_string(), "--json"]);
    let entries = parsed(&text(&output.stdout));
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(
        remark(&output).0,
        "keepalive: 1 socket is shown without what only a holder's rights tell ('?')"
    );
}

/// Where there is no sock_diag, what the sockets themselves tell is exact all the same.
#[test]
fn what_the_kernel_shows_nothing_of_is_told() {
    /// socket(2), for lack of address families.
    const NO_SOCKETS: [&str; 2] = ["41", "97"];
    python!();
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the numbers of system calls are those of x86_64");
    }
    let mut program = PyPeer::start();
    program.does(CONNECTION);
    let number = program.pid().to_string();
    let output = without(NO_SOCKETS, &["list", "--json", &number]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let client = program.number("client.fileno()");
    let entry = entry(&parsed(&text(&output.stdout)), client);
    assert_has(
        &entry,
        &json!({"state": "established", "keepalive": true, "idle_s": 61, "timer": null}),
    );
    let told = "keepalive: timers, listeners and the sockets of others are not known: sock_diag: ";
    assert!(text(&output.stderr).starts_with(told), "{}", text(&output.stderr));
    let output = without(NO_SOCKETS, &["attach", "--dry-run", &number]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with(told), "{}", text(&output.stderr));
}
