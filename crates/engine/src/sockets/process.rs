//! A running process whose sockets keepalive reads.

use super::Holder;
use super::hidden::{hidden, is_foreign};
use super::obstacle::Obstacle;
use super::worker_pool::{Send, WorkerPool};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc::{self, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

/// The selected processes.
#[derive(Debug)]
pub enum Selection {
    /// All visible processes, except this one.
    All,
    /// The processes with this name.
    Program(OsString),
    /// These processes.
    Named(Vec<Process>),
}

/// A process. The handle keeps naming the same process, even when its number is reused.
#[derive(Debug)]
pub struct Process {
    /// The number of the process in this pid namespace.
    pub pid: u32,
    /// The part of its status that every user may read.
    pub(super) status: Status,
    /// The handle by which its descriptors are duplicated.
    handle: io::Result<PidFd>,
    name: OnceLock<OsString>,
}

/// The result of [`Selection::ask`].
pub struct Asked {
    /// The number of selected processes.
    pub processes: usize,
    /// The selected processes that were overdue.
    pub unanswered: Vec<Process>,
}

impl Selection {
    /// Returns a selection of the processes with these numbers, each once, and the obstacles of those that
    /// cannot be used.
    pub fn named(pids: &[u32]) -> (Self, Vec<(u32, Obstacle)>) {
        let (mut processes, mut missing) = (Vec::new(), Vec::new());
        for (index, &pid) in pids.iter().enumerate() {
            if pids[..index].contains(&pid) {
                continue;
            }
            match Process::find(pid) {
                Ok(process) => processes.push(process),
                Err(obstacle) => missing.push((pid, obstacle)),
            }
        }
        (Self::Named(processes), missing)
    }

    /// Visits each selected process; returns their number. Each process that was not named is dropped before
    /// the next: otherwise this process could run out of descriptors.
    pub fn visit(&self, mut visit: impl FnMut(&Process)) -> usize {
        let mut count = 0;
        let mut visit = |process: &Process| {
            count += 1;
            visit(process);
        };
        if let Self::Named(processes) = self {
            processes
                .iter()
                .filter(|process| process.is_there())
                .for_each(&mut visit);
            return count;
        }
        let mut pids = proc::processes().unwrap_or_default();
        pids.sort_unstable();
        for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
            // A process that has ended meanwhile is skipped.
            let Ok(process) = Process::find(pid) else { continue };
            if !matches!(self, Self::Program(name) if !process.is_called(name)) {
                visit(&process);
            }
        }
        count
    }

    /// Runs `answer` for each selected process in the workers of `pool`. `take` receives what `answer` sends,
    /// with the number of the process. A process that blocks a worker does not delay this function.
    ///
    /// # Errors
    /// No worker can be started.
    pub fn ask<T: Serialize + DeserializeOwned>(
        &self,
        pool: &mut WorkerPool,
        answer: &mut dyn FnMut(&Process, &mut Send<'_, T>),
        take: &mut dyn FnMut(u32, T),
    ) -> io::Result<Asked> {
        let named: Vec<&Process> = match self {
            Self::Named(processes) => processes.iter().filter(|process| process.is_there()).collect(),
            Self::All | Self::Program(_) => Vec::new(),
        };
        let mut pids: Vec<u32> = match self {
            Self::Named(_) => named.iter().map(|process| process.pid).collect(),
            Self::All | Self::Program(_) => proc::processes().unwrap_or_default(),
        };
        pids.retain(|pid| *pid != std::process::id() || matches!(self, Self::Named(_)));
        if !matches!(self, Self::Named(_)) {
            pids.sort_unstable();
        }
        let keep: Vec<BorrowedFd<'_>> = named.iter().flat_map(|process| process.handles()).collect();
        let mut is_meant = vec![false; pids.len()];
        let mut answer = |question: usize, send: &mut Send<'_, Option<T>>| {
            let found = match named.get(question) {
                Some(_) => None,
                // A process that has ended meanwhile is skipped.
                None => Process::find(pids[question]).ok(),
            };
            let Some(process) = named.get(question).copied().or(found.as_ref()) else {
                return;
            };
            if !matches!(self, Self::Program(name) if !process.is_called(name)) {
                send(None);
                answer(process, &mut |result| send(Some(result)));
            }
        };
        let unanswered = pool.ask(&pids, &keep, &mut answer, &mut |question, told| match told {
            None => is_meant[question] = true,
            Some(result) => take(pids[question], result),
        })?;
        let mut overdue = Vec::new();
        for question in unanswered {
            let Ok(process) = Process::find(pids[question]) else {
                continue;
            };
            // Only this name is known without waiting.
            if is_meant[question] || !matches!(self, Self::Program(name) if *name != *process.short_name()) {
                is_meant[question] = true;
                overdue.push(process);
            }
        }
        Ok(Asked {
            processes: is_meant.into_iter().filter(|is_meant| *is_meant).count(),
            unanswered: overdue,
        })
    }

    /// Waits for `pause`, or until a named process has ended.
    pub fn rest(&self, pause: Duration) {
        let Self::Named(processes) = self else {
            return sleep(pause);
        };
        let there = processes.iter().filter(|process| process.is_there());
        let handles = there.filter_map(|process| process.handle.as_ref().ok());
        let mut fds: Vec<PollFd<'_>> = handles.map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
        // A signal may end the wait early, which does no harm.
        let _ = poll(&mut fds, Timespec::try_from(pause).ok().as_ref());
    }
}

impl Process {
    /// Finds a process by its number.
    ///
    /// # Errors
    /// The reason why the process cannot be accessed.
    pub fn find(pid: u32) -> Result<Self, Obstacle> {
        // The handle is opened first: everything that is read afterwards belongs to this process, or the
        // handle is invalid.
        let handle = PidFd::open(pid);
        if is_foreign() {
            return Err(hidden().cloned().unwrap_or_else(Obstacle::gone));
        }
        let status = match (proc::status(pid), &handle) {
            (Ok(status), _) => status,
            // The kernel knows the process, but /proc does not show it.
            (Err(_), Ok(process)) if !has_ended(process) => {
                return Err(hidden().cloned().unwrap_or_else(Obstacle::gone));
            }
            _ => return Err(Obstacle::gone()),
        };
        if status.tgid != pid {
            return Err(Obstacle {
                reason: String::from("it is a thread"),
                hint: format!("name its process, {}", status.tgid),
                is_gone: false,
            });
        }
        let process = Self {
            pid,
            status,
            handle,
            name: OnceLock::new(),
        };
        if process.is_there() {
            Ok(process)
        } else {
            Err(Obstacle::gone())
        }
    }

    /// Returns the name that rules for programs match: the last part of the path by which the process was
    /// executed. Without ptrace access, returns the name that ps(1) shows.
    pub fn name(&self) -> &OsStr {
        self.name.get_or_init(|| {
            let name = proc::program(self.pid).or_else(|| proc::executable(self.pid));
            name.unwrap_or_else(|| OsString::from(&self.status.comm))
        })
    }

    /// Returns the descriptors that a worker must keep open to reach those of the process.
    pub fn handles(&self) -> Vec<BorrowedFd<'_>> {
        self.handle.iter().map(|handle| handle.as_fd()).collect()
    }

    /// Returns the name that ps(1) shows, which is known without waiting.
    pub fn short_name(&self) -> &str {
        &self.status.comm
    }

    /// Returns whether this is the name of the process, in one of the usual forms.
    fn is_called(&self, name: &OsStr) -> bool {
        self.status.comm.as_bytes() == name.as_bytes()
            || proc::executable(self.pid).is_some_and(|executable| executable == name)
            || self.name() == name
    }

    /// Returns the sockets that the process holds, TCP and others, each with its inode.
    ///
    /// # Errors
    /// The reason why nothing of the process is visible.
    pub fn sockets(&self) -> Result<Vec<(Holder, u64)>, Obstacle> {
        let mut found = self.table(self.pid)?;
        let tables = proc::tables(self.pid).unwrap_or_default();
        for tid in tables.into_iter().filter(|tid| *tid != self.pid) {
            // The table of descriptors of a thread that has ended no longer exists.
            found.extend(self.table(tid).unwrap_or_default());
        }
        found.sort_unstable();
        Ok(found)
    }

    fn table(&self, tid: u32) -> Result<Vec<(Holder, u64)>, Obstacle> {
        let pid = self.pid;
        let sockets = match (proc::sockets(pid, tid), &self.handle) {
            // With only CAP_SYS_PTRACE, the directory is not readable, but the descriptors can be duplicated.
            (Err(error), Ok(_)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let size = proc::fd_size(pid, tid).unwrap_or(self.status.fd_size);
                try_all(|fd| self.duplicate_any(Holder { pid, tid, fd }), size).ok_or(error)
            }
            (sockets, _) => sockets,
        };
        let sockets = sockets.map_err(|error| Obstacle::new(self, &format!("/proc/{pid}/fd"), &error))?;
        let sockets = sockets.into_iter();
        Ok(sockets.map(|(fd, inode)| (Holder { pid, tid, fd }, inode)).collect())
    }

    /// Returns a duplicate of the descriptor `holder`, if it still refers to the socket `inode`.
    ///
    /// # Errors
    /// `EBADF` if the descriptor no longer refers to that socket; otherwise as [`PidFd::duplicate`].
    pub fn duplicate(&self, holder: Holder, inode: u64) -> io::Result<OwnedFd> {
        let duplicate = self.duplicate_any(holder)?;
        Self::check_inode(&duplicate, inode)?;
        Ok(duplicate)
    }

    /// Returns a duplicate of the descriptor `holder`, whatever it refers to now.
    pub(super) fn duplicate_any(&self, holder: Holder) -> io::Result<OwnedFd> {
        if holder.tid == self.pid {
            self.handle.as_ref().map_err(repeat)?.duplicate(holder.fd)
        } else {
            PidFd::open_thread(holder.tid)?.duplicate(holder.fd)
        }
    }

    /// Fails with `EBADF` if `duplicate` does not refer to the socket `inode`.
    pub(super) fn check_inode(duplicate: &OwnedFd, inode: u64) -> io::Result<()> {
        if socket_inode(duplicate) == Some(inode) {
            Ok(())
        } else {
            Err(Errno::BADF.into())
        }
    }

    /// Returns why a descriptor could not be duplicated.
    pub fn obstacle(&self, error: &io::Error) -> Obstacle {
        Obstacle::new(self, "pidfd_getfd", error)
    }

    /// Returns why a file below `/proc/PID` could not be read.
    pub fn obstacle_at(&self, path: &str, error: &io::Error) -> Obstacle {
        Obstacle::new(self, path, error)
    }

    /// Returns whether the process still runs.
    pub fn is_there(&self) -> bool {
        match &self.handle {
            Ok(handle) => !has_ended(handle),
            // Without a handle, only the number of the process identifies it.
            Err(_) => proc::status(self.pid).is_ok(),
        }
    }
}

/// Returns the sockets among the first `size` descriptors, by duplicating each; `None` if that is denied.
fn try_all(duplicate: impl Fn(i32) -> io::Result<OwnedFd>, size: u32) -> Option<Vec<(i32, u64)>> {
    let mut found = Vec::new();
    for fd in 0..i32::try_from(size).ok()? {
        match duplicate(fd) {
            Ok(duplicate) => found.extend(socket_inode(&duplicate).map(|inode| (fd, inode))),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => {}
            Err(_) => return None,
        }
    }
    Some(found)
}

/// Returns a copy of a stored error, for each time that it is reported.
fn repeat(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn socket_inode(fd: &OwnedFd) -> Option<u64> {
    let stat = fstat(fd).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat.st_ino)
}

/// Returns whether the process has ended: then its handle is readable.
fn has_ended(handle: &PidFd) -> bool {
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
