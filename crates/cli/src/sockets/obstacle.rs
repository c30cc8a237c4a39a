//! Why a process cannot be looked into, and what helps.

use super::process::Process;
use crate::error::{Error, FAILED, describe};
use crate::output::{WIDTH, harmless, wrap};
use keepalive_linux::pidfd::PidFd;
use rustix::io::Errno;
use rustix::process::getuid;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// Why a process cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Obstacle {
    /// As in "cannot …: REASON".
    pub(crate) reason: String,
    pub(crate) hint: String,
    /// There is no process to look into any more.
    pub(crate) is_gone: bool,
}

/// No process has the name that was given.
pub(crate) fn no_process(name: &OsStr) -> Error {
    Error::new(
        FAILED,
        format!("no process is called '{}'", harmless(&name.to_string_lossy())),
    )
    .hint("a name is the last part of the path of the program, or what ps(1) shows")
}

/// The remark on processes that did not answer in time, with its hint.
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
    let hint = wrap(&format!("hint: {}", Obstacle::unanswered().hint), WIDTH, 6);
    wrap(&format!("keepalive: {line}"), WIDTH, 0) + &hint
}

/// Whether the process, or its descriptor, is there no longer.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::SRCH | Errno::BADF | Errno::NOTDIR))
}

impl Obstacle {
    /// No process has the number.
    pub(crate) fn gone() -> Self {
        Self {
            reason: String::from("there is no such process"),
            hint: String::from("it has ended, or it is in a pid namespace that is not seen from here"),
            is_gone: true,
        }
    }

    /// A worker was overdue with the process.
    pub(crate) fn unanswered() -> Self {
        Self {
            reason: String::from("it does not answer"),
            hint: String::from(
                "what it holds waits for something, such as a file server that hangs, or memory that is locked",
            ),
            is_gone: false,
        }
    }

    /// The same as a remark on many processes, of which `process` is one.
    pub(crate) fn among_many(self, process: &Process) -> Self {
        let own = getuid().as_raw();
        if own == 0 || process.status.uid == own || is_sandboxed() {
            return self;
        }
        Self {
            hint: String::from("they belong to other users: run keepalive as root"),
            ..self
        }
    }

    /// The error for somebody who asked to do `verb` with process `pid`.
    pub(crate) fn error(&self, verb: &str, pid: u32) -> Error {
        Error::new(FAILED, format!("cannot {verb} process {pid}: {}", self.reason)).hint(&*self.hint)
    }

    /// Why `call` on `process` failed with `error`, as far as can be found out.
    pub(super) fn new(process: &Process, call: &str, error: &io::Error) -> Self {
        if is_gone(error) {
            return Self::gone();
        }
        let reason = format!("{call}: {}", describe(error));
        let hint = match Errno::from_io_error(error) {
            Some(Errno::NOSYS) => String::from("pidfd_getfd(2) needs Linux 5.6, and a sandbox that allows it"),
            Some(Errno::MFILE | Errno::NFILE) => String::from("too many descriptors are open: raise 'ulimit -n'"),
            Some(Errno::PERM | Errno::ACCESS) => denied(process),
            _ => String::from("run keepalive as root"),
        };
        Self {
            reason,
            hint,
            is_gone: false,
        }
    }
}

/// What helps where access to `process` is denied (ptrace(2), "Ptrace access mode checking").
fn denied(process: &Process) -> String {
    if is_sandboxed() {
        return String::from(
            "a seccomp filter here denies pidfd_getfd(2), as those of container engines do: run keepalive outside the \
             container, or give it CAP_SYS_PTRACE (--cap-add SYS_PTRACE)",
        );
    }
    let own = getuid().as_raw();
    if own == 0 {
        return String::from(
            "root lacks CAP_SYS_PTRACE here, or a security module denies it: run keepalive outside the container, or \
             give it that capability",
        );
    }
    if process.status.uid != own {
        return format!(
            "it belongs to user {}: run keepalive as that user or as root",
            process.status.uid
        );
    }
    match yama_scope() {
        Some(3) => {
            return String::from("kernel.yama.ptrace_scope is 3: nobody may, until the machine is started again");
        }
        Some(2) => return String::from("kernel.yama.ptrace_scope is 2: run keepalive as root"),
        Some(1) => {
            return String::from(
                "kernel.yama.ptrace_scope is 1: run keepalive as root, or allow it with \
                 'sysctl kernel.yama.ptrace_scope=0'",
            );
        }
        _ => {}
    }
    // The files of a process that is not dumpable belong to root (proc(5)); its directory does not.
    let is_dumpable = fs::metadata(format!("/proc/{}/status", process.pid)).is_ok_and(|file| file.uid() == own);
    if is_dumpable {
        String::from("it has other groups or more capabilities than this one: run keepalive as root")
    } else {
        String::from(
            "it has made itself undumpable (PR_SET_DUMPABLE), as programs with secrets do: run keepalive as root",
        )
    }
}

/// Whether not even a descriptor of this very process can be duplicated.
pub(crate) fn is_sandboxed() -> bool {
    static SANDBOXED: OnceLock<bool> = OnceLock::new();
    *SANDBOXED.get_or_init(|| {
        let own = PidFd::open(std::process::id());
        let duplicate = own.and_then(|own| own.duplicate(0));
        duplicate.is_err_and(|error| !is_gone(&error))
    })
}

/// `kernel.yama.ptrace_scope`, where there is Yama.
pub(crate) fn yama_scope() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    text.trim().parse().ok()
}
