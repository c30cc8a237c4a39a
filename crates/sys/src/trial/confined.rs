//! Runs a program of an untrusted system without privileges, in its own namespaces, from which it can reach
//! nothing outside.
//!
//! An intermediate process between this process and the program is process 1 of the new pid namespace. When it
//! ends, the kernel kills everything that the program has left. The root directory of the mount namespace is
//! the tree, read-only, without devices, set-user-ID programs and other mounts. If root runs the program, it
//! runs as an unused user. For every other user it runs as the same user, in a user namespace. The program
//! inherits only three pipes.

use super::privileges::{become_user, close_above, die_with_parent, drop_bounding_set, enter, leave_keyring};
use super::{Ended, Trial, filter, read_all};
use crate::fork::{Side, clone_into, exit_now};
use crate::rooted::Root;
use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, Stat, StatVfsMountFlags, fstat, openat, stat, statvfs};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, WaitOptions, chdir, getegid, geteuid, kill_process,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr;
use std::time::{Duration, Instant};

/// The reason why a program was not run.
#[derive(Debug)]
pub enum Failure {
    /// The program could not be confined: the failed step, and the error.
    NotConfined(&'static str, io::Error),
    /// A user without privileges cannot read a required file there.
    Unreadable(io::Error),
    /// What `execve(2)` returned.
    NotStarted(io::Error),
}

/// The first of the users that root may become. No range of users that systemd defines contains them
/// (<https://systemd.io/UIDS-GIDS>), so they own nothing.
const NOBODY: u32 = 0x7000_0000;
/// `nobody`, used if a user namespace does not contain such users.
const NOBODY_ELSE: u32 = 65534;

/// The kinds of reports from the intermediate process: the program's wait status, or a failure and its error number.
const ENDED: u8 = 0;
const NOT_CONFINED: u8 = 1;
const UNREADABLE: u8 = 2;
const NOT_STARTED: u8 = 3;

/// The steps of the intermediate process that may fail.
const STEPS: [&str; 10] = [
    "detach it",
    "make a user namespace",
    "make its mounts",
    "enter it as a root directory",
    "find it where it was",
    "limit it",
    "drop all privileges",
    "leave the keyring",
    "install a seccomp filter",
    "start a process",
];
const DETACH: u8 = 0;
const USERS: u8 = 1;
const MOUNTS: u8 = 2;
const ENTER: u8 = 3;
const SAME: u8 = 4;
const LIMITS: u8 = 5;
const PRIVILEGES: u8 = 6;
const KEYRING: u8 = 7;
const FILTER: u8 = 8;
const PROCESS: u8 = 9;

/// Makes children wait to be reaped, even if the caller's parent ignored SIGCHLD, so that their numbers are
/// not reused.
struct DefaultChildren(libc::sighandler_t);

impl DefaultChildren {
    fn new() -> Self {
        // SAFETY: SIG_DFL runs no code (signal(2)).
        Self(unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) })
    }
}

impl Drop for DefaultChildren {
    fn drop(&mut self) {
        // SAFETY: this is what signal(2) returned: what was there.
        unsafe { libc::signal(libc::SIGCHLD, self.0) };
    }
}

/// Runs the program; `None` if it had to be killed at the deadline.
///
/// # Errors
/// [`Failure`].
pub(super) fn run(trial: &Trial, root: &Root, needs: &[&OsStr], limit: Duration) -> Result<Option<Ended>, Failure> {
    let deadline = Instant::now() + limit;
    let cannot = |error: io::Error| Failure::NotConfined("prepare it", error);
    let inside = Inside::new(trial, root, needs, limit).map_err(cannot)?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()));
    let [input, output, errors, report] = [pipe()?, pipe()?, pipe()?, pipe()?];
    let mut namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if !inside.is_root {
        namespaces |= libc::CLONE_NEWUSER;
    }
    let _default = DefaultChildren::new();
    let first = match clone_into(namespaces) {
        Ok(Side::Parent(pid)) => pid,
        Ok(Side::Child) => inside.become_first([&input.0, &output.1, &errors.1, &report.1]),
        Err(error) => return Err(Failure::NotConfined("make namespaces", error)),
    };
    drop((input, output.1, errors.1, report.1));
    let read = read_all([output.0, errors.0, report.0], deadline);
    // When process 1 ends, the kernel ends everything in its namespace, and waitpid(2) returns only after
    // that. Its number is not reused until it has been reaped.
    let _ = kill_process(first, Signal::KILL);
    while matches!(waitpid(Some(first), WaitOptions::empty()), Err(Errno::INTR)) {}
    let Some([output, errors, report]) = read.map_err(cannot)? else {
        return Ok(None);
    };
    let [kind, step, value @ ..] = &report[..] else {
        return Err(cannot(io::Error::other("it has ended before its time")));
    };
    let value = <[u8; 4]>::try_from(value).map_or(0, i32::from_ne_bytes);
    let error = || io::Error::from_raw_os_error(value);
    match *kind {
        ENDED => Ok(Some(Ended {
            status: ExitStatus::from_raw(value),
            output,
            errors,
        })),
        UNREADABLE => Err(Failure::Unreadable(error())),
        NOT_STARTED => Err(Failure::NotStarted(error())),
        _ => Err(Failure::NotConfined(
            STEPS.get(usize::from(*step)).unwrap_or(&""),
            error(),
        )),
    }
}

/// Everything that the processes inside need, prepared in advance.
struct Inside {
    path: CString,
    is_root: bool,
    uid: u32,
    gid: u32,
    about: Stat,
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    needs: Vec<CString>,
    filter: Vec<libc::sock_filter>,
    seconds: u64,
    caller: u32,
}

/// The result of a step, or the step that failed and its error.
type Step<T> = Result<T, (u8, u8, Errno)>;

impl Inside {
    fn new(trial: &Trial, root: &Root, needs: &[&OsStr], limit: Duration) -> io::Result<Self> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
        let arguments =
            std::iter::once(trial.program.as_os_str()).chain(trial.arguments.iter().map(OsString::as_os_str));
        let environment = trial.environment.iter().map(|(name, value)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            text(&entry)
        });
        Ok(Self {
            path: text(root.path().as_os_str())?,
            is_root: geteuid().is_root(),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            about: fstat(root)?,
            program: text(trial.program.as_os_str())?,
            arguments: arguments.map(text).collect::<io::Result<_>>()?,
            environment: environment.collect::<io::Result<_>>()?,
            needs: needs.iter().map(|need| text(need)).collect::<io::Result<_>>()?,
            filter: filter::program(),
            seconds: limit.as_secs() + 1,
            caller: std::process::id(),
        })
    }

    /// Acts as process 1 from here on.
    fn become_first(&self, pipes: [&OwnedFd; 4]) -> ! {
        let report = pipes[3];
        let (kind, step, value) = match self.first(pipes) {
            Ok(status) => (ENDED, 0, status),
            Err((kind, step, error)) => (kind, step, error.raw_os_error()),
        };
        // If descriptor 3 does not exist yet, the pipe still has its original number.
        let number = if step == DETACH && kind == NOT_CONFINED {
            report.as_raw_fd()
        } else {
            REPORT
        };
        tell(number, kind, step, value);
        exit_now(0)
    }

    /// Confines this process, starts the program and waits for it. Returns the program's wait status.
    fn first(&self, pipes: [&OwnedFd; 4]) -> Step<i32> {
        at(DETACH, detach(pipes))?;
        if !self.is_root {
            at(USERS, self.map_users())?;
        }
        at(MOUNTS, self.make_mounts())?;
        let here = at(SAME, stat("."))?;
        if (here.st_dev, here.st_ino) != (self.about.st_dev, self.about.st_ino) {
            return at(SAME, Err(Errno::STALE));
        }
        at(ENTER, enter())?;
        at(LIMITS, self.limit())?;
        at(PRIVILEGES, self.drop_privileges())?;
        at(DETACH, die_with_parent())?;
        at(KEYRING, leave_keyring())?;
        at(FILTER, filter::install(&self.filter).map_err(|error| errno(&error)))?;
        for need in &self.needs {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Err(error) = openat(CWD, need.as_c_str(), flags, Mode::empty()) {
                return Err((UNREADABLE, 0, error));
            }
        }
        // SAFETY: this process has one thread, a copy of the one that called; the copy is a whole process too (fork(2)).
        match unsafe { libc::fork() } {
            -1 => at(PROCESS, Err(errno(&io::Error::last_os_error()))),
            0 => {
                tell(REPORT, NOT_STARTED, 0, self.execute());
                exit_now(0)
            }
            program => Ok(wait_for(program)),
        }
    }

    /// Makes this user the only user of the namespace (user_namespaces(7)).
    fn map_users(&self) -> Result<(), Errno> {
        let write =
            |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(|error| errno(&error));
        write("setgroups", String::from("deny"))?;
        write("uid_map", format!("{0} {0} 1", self.uid))?;
        write("gid_map", format!("{0} {0} 1", self.gid))
    }

    /// Mounts only the tree over itself, and enters it. A process with write access above the tree may have
    /// replaced it by now: the caller compares.
    fn make_mounts(&self) -> Result<(), Errno> {
        let path = self.path.as_c_str();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        mount_bind(path, path)?;
        let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        // In a user namespace, the mount must keep its flags (mount_namespaces(7)).
        let has = statvfs(path)?.f_flag;
        for (one, other) in [
            (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
            (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
            (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
        ] {
            if has.contains(one) {
                flags |= other;
            }
        }
        mount_remount(path, flags, c"")?;
        chdir(path)
    }

    fn limit(&self) -> Result<(), Errno> {
        const MIB: u64 = 1 << 20;
        for (resource, most) in [
            (Resource::Cpu, self.seconds),
            (Resource::As, 512 * MIB),
            (Resource::Data, 64 * MIB),
            // This process, the program, and a few that a shell may start.
            (Resource::Nproc, 8),
            (Resource::Nofile, 64),
            (Resource::Fsize, 0),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
            (Resource::Sigpending, 64),
            (Resource::Nice, 0),
            (Resource::Rtprio, 0),
            // With 0, the kernel would still start the machine's core handler, outside (fs/coredump.c).
            (Resource::Core, 1),
        ] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(resource, limit)?;
        }
        Ok(())
    }

    /// Switches to another user, drops all capabilities, and prevents gaining any.
    fn drop_privileges(&self) -> Result<(), Errno> {
        drop_bounding_set()?;
        if self.is_root {
            set_thread_groups(&[])?;
            become_user(NOBODY + self.caller % 0x1_0000).or_else(|_| become_user(NOBODY_ELSE))?;
        }
        let none = CapabilitySet::empty();
        set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        )?;
        set_no_new_privs(true)?;
        // Otherwise the program could access this process, which has the same user.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
    }

    /// Executes the program. Returns only on failure, with the error number.
    fn execute(&self) -> i32 {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: the strings end with a NUL and the arrays with a null pointer, and all live through the call.
        unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        errno(&io::Error::last_os_error()).raw_os_error()
    }
}

fn at<T>(step: u8, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|error| (NOT_CONFINED, step, error))
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The descriptor of the report pipe; only this process has it, not the program.
pub(super) const REPORT: i32 = 3;

/// Detaches this process: creates a session without a terminal, closes all other descriptors, and resets all signals.
fn detach([input, output, errors, report]: [&OwnedFd; 4]) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    setsid()?;
    // The standard descriptors were open before, so these pipes have other numbers.
    dup2_stdin(input)?;
    dup2_stdout(output)?;
    dup2_stderr(errors)?;
    if report.as_raw_fd() != REPORT {
        // SAFETY: dup2(2) takes numbers. The previous owner of this descriptor is a copy of the caller's,
        // which this process does not use.
        if unsafe { libc::dup2(report.as_raw_fd(), REPORT) } < 0 {
            return Err(errno(&io::Error::last_os_error()));
        }
    }
    // SAFETY: the descriptor has just been created, and stays open until this process ends.
    fcntl_setfd(unsafe { BorrowedFd::borrow_raw(REPORT) }, FdFlags::CLOEXEC)?;
    close_above(REPORT)?;
    // Objects that were created here, including closed descriptors, are never dropped: this process ends by
    // _exit(2).
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code; numbers that cannot be changed are refused (signal(2)).
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a `sigset_t` is an array of numbers, and all zero an empty one.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: sigprocmask(2) reads the set, and returns no old set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
    Ok(())
}

/// Waits for the program, and reaps orphans; returns the program's wait status.
fn wait_for(program: i32) -> i32 {
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes the status.
        if unsafe { libc::waitpid(-1, &raw mut status, 0) } == program {
            return status;
        }
    }
}

/// Writes a report, which is short enough for one write to a pipe.
fn tell(descriptor: i32, kind: u8, step: u8, value: i32) {
    let mut report = vec![kind, step];
    report.extend(value.to_ne_bytes());
    // SAFETY: the descriptor is open, and nothing in this process, which ends next, closes it.
    let _ = rustix::io::write(unsafe { BorrowedFd::borrow_raw(descriptor) }, &report);
}
