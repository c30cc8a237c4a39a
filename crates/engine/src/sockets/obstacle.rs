//! The reasons why a process cannot be accessed, with hints.

use super::process::Process;
use crate::error::{Error, describe};
use keepalive_sys::capability;
use keepalive_sys::pidfd::PidFd;
use rustix::io::Errno;
use rustix::process::getuid;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// The reason why a process cannot be accessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// The reason, as in "cannot …: REASON".
    pub reason: String,
    /// What the user can do.
    pub hint: String,
    /// The process no longer exists.
    pub is_gone: bool,
}

/// Returns whether the error means that the process, or its descriptor, no longer exists.
pub fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::SRCH | Errno::BADF | Errno::NOTDIR))
}

impl Obstacle {
    /// Returns the obstacle for a number that no process has.
    pub fn gone() -> Self {
        Self {
            reason: String::from("there is no such process"),
            hint: String::from("it has ended, or it is in a pid namespace that is not seen from here"),
            is_gone: true,
        }
    }

    /// Returns an obstacle that applies to many processes.
    pub(super) fn lasting(reason: &str, hint: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            hint: hint.to_owned(),
            is_gone: false,
        }
    }

    /// Returns the obstacle for a process with which a worker was overdue.
    pub fn unanswered() -> Self {
        Self {
            reason: String::from("it does not answer"),
            hint: String::from(
                "what it holds waits for something, such as a file server that hangs, or memory that is locked",
            ),
            is_gone: false,
        }
    }

    /// Returns the obstacle of the processes that follow the first `most`.
    pub(crate) fn too_many(most: usize) -> Self {
        Self::lasting(
            &format!("only the first {most} processes are examined"),
            "name one of the others",
        )
    }

    /// Returns the obstacle as a remark on many processes, of which `process` is an example.
    #[must_use]
    pub fn among_many(self, process: &Process) -> Self {
        let own = getuid().as_raw();
        if may_trace() || own == 0 || process.status.uid == own || is_sandboxed() || yama_scope() == Some(3) {
            return self;
        }
        Self {
            hint: String::from("they belong to other users: run keepalive as root"),
            ..self
        }
    }

    /// Returns the error for a command that cannot do `verb` with process `pid`.
    pub fn error(&self, verb: &str, pid: u32) -> Error {
        Error::new(format!("cannot {verb} process {pid}: {}", self.reason)).with_hint(&*self.hint)
    }

    /// Returns why `call` on `process` failed with `error`, as far as this can be determined.
    pub(super) fn new(process: &Process, call: &str, error: &io::Error) -> Self {
        if is_gone(error) {
            return Self::gone();
        }
        let reason = format!("{call}: {}", describe(error));
        let hint = match Errno::from_io_error(error) {
            Some(Errno::NOSYS) => String::from("pidfd_getfd(2) needs Linux 5.6, and a sandbox that allows it"),
            Some(Errno::MFILE | Errno::NFILE) => String::from("too many descriptors are open: raise 'ulimit -n'"),
            Some(Errno::PERM | Errno::ACCESS) => {
                let access = if call == "pidfd_getfd" {
                    Access::Attach
                } else {
                    Access::Read
                };
                denied(process, access)
            }
            _ => String::from("run keepalive as root"),
        };
        Self {
            reason,
            hint,
            is_gone: false,
        }
    }
}

/// The access mode that the kernel checks (ptrace(2), "Ptrace access mode checking").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// `PTRACE_MODE_READ`: the files below `/proc/PID`. Yama does not restrict it.
    Read,
    /// `PTRACE_MODE_ATTACH`: pidfd_getfd(2), process_vm_readv(2), `/proc/PID/mem`.
    Attach,
}

/// Returns a hint for denied access to `process`.
fn denied(process: &Process, access: Access) -> String {
    if is_sandboxed() {
        return String::from(
            "a seccomp filter here denies pidfd_getfd(2), as those of container engines do: run keepalive on the \
             host, or give the container CAP_SYS_PTRACE (--cap-add SYS_PTRACE)",
        );
    }
    let scope = yama_scope().unwrap_or(0);
    // At scope 3, Yama denies the access to every process, so that a hint on another cause would not be enough.
    if scope == 3 {
        return String::from(YAMA_3);
    }
    if may_trace() {
        return String::from(
            "CAP_SYS_PTRACE is there, but the process is of another user namespace, or a security module denies it: run \
             keepalive as root on the host",
        );
    }
    let own = getuid().as_raw();
    if own == 0 {
        return String::from(
            "root lacks CAP_SYS_PTRACE here: run keepalive on the host, or give the container that capability",
        );
    }
    if process.status.uid != own {
        let owner = process.status.uid;
        return match scope {
            0 => format!("it belongs to user {owner}: run keepalive as that user or as root"),
            _ => format!(
                "it belongs to user {owner}, and kernel.yama.ptrace_scope is {scope}: run keepalive as root (CAP_SYS_PTRACE)"
            ),
        };
    }
    match (access, scope) {
        (Access::Attach, 2) => return String::from(YAMA_2),
        (Access::Attach, 1) => return String::from(YAMA_1),
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

/// The reason and hint where Yama restricts processes without `CAP_SYS_PTRACE`
/// (`Documentation/admin-guide/LSM/Yama.rst`).
pub const YAMA_1: &str = "kernel.yama.ptrace_scope is 1: without CAP_SYS_PTRACE a process may look into its descendants \
    alone, or into one that allows it (PR_SET_PTRACER): run keepalive as root, or as root set it to 0: \
    sysctl kernel.yama.ptrace_scope=0";
/// The reason and hint where Yama restricts processes without `CAP_SYS_PTRACE` at scope 2.
pub const YAMA_2: &str = "kernel.yama.ptrace_scope is 2: a process may look into others with CAP_SYS_PTRACE alone: run \
    keepalive as root";
/// The reason and hint where Yama restricts all processes.
pub const YAMA_3: &str = "kernel.yama.ptrace_scope is 3: nobody may look into another process, not even root, and it \
    stays so until the machine is started again with a lower value; keepalive run --engine preload and keepalive \
    cgroup enable need no such access";

/// Returns whether this process has `CAP_SYS_PTRACE`.
pub fn may_trace() -> bool {
    capability::is_effective(CapabilitySet::SYS_PTRACE)
}

/// Returns whether a sandbox denies duplicating even a descriptor of this process itself.
pub fn is_sandboxed() -> bool {
    static SANDBOXED: OnceLock<bool> = OnceLock::new();
    *SANDBOXED.get_or_init(|| {
        let own = PidFd::open(std::process::id());
        let duplicate = own.and_then(|own| own.duplicate(0));
        duplicate.is_err_and(|error| !is_gone(&error))
    })
}

/// Returns `kernel.yama.ptrace_scope`; `None` without Yama.
pub fn yama_scope() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    text.trim().parse().ok()
}
