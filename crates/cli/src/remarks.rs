//! Remarks on processes that a command could not access.

use crate::error::{Error, FAILED, describe};
use crate::output::{WIDTH, shown, wrap};
use keepalive_engine::sockets::{Kernel, Obstacle, SOCK_DIAG_HINT, hidden};
use std::ffi::OsStr;

/// Returns the error if no process has the given name.
pub(crate) fn no_process(name: &OsStr) -> Error {
    let name = shown(name);
    match hidden() {
        Some(Obstacle { reason, hint, .. }) => Error::new(
            FAILED,
            format!("no process that can be seen is called '{name}'; {reason}"),
        )
        .hint(&**hint),
        None => Error::new(FAILED, format!("no process is called '{name}'"))
            .hint("a name is the last part of the path of the program, or what ps(1) shows"),
    }
}

/// Returns the remark on processes that did not answer in time, with its hint.
pub(crate) fn unanswered(pids: &[u32]) -> String {
    const SHOWN: usize = 5;
    let numbers: Vec<String> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let numbers = numbers.join(", ");
    let line = match pids.len() {
        1 => format!("process {numbers} does not answer: what it did not show in time is not known"),
        count => {
            let more = if count > SHOWN { ", ..." } else { "" };
            format!("{count} processes do not answer ({numbers}{more}): what they did not show in time is not known")
        }
    };
    remark(&line, &Obstacle::unanswered().hint)
}

/// Returns the remark on hidden processes, if all processes were selected; empty if none are hidden.
pub(crate) fn remark_on_hidden() -> String {
    let Some(obstacle) = hidden() else {
        return String::new();
    };
    remark(&obstacle.reason, &obstacle.hint)
}

fn remark(line: &str, hint: &str) -> String {
    wrap(&format!("keepalive: {line}"), WIDTH, 0) + &wrap(&format!("hint: {hint}"), WIDTH, 6)
}

/// Returns the remark on what is unknown because `sock_diag` shows nothing, if it fails.
pub(crate) fn remark_on_unlisted(kernel: &Kernel) -> Option<String> {
    let error = describe(kernel.unlisted()?);
    Some(format!(
        "keepalive: timers, listeners and the sockets of others are not known: sock_diag: {error}\n\
         hint: {SOCK_DIAG_HINT}\n"
    ))
}
