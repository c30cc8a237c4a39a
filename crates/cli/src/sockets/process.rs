//! A running process whose sockets are looked at.

use super::Holder;
use super::obstacle::Obstacle;
use keepalive_linux::pidfd::PidFd;
use keepalive_linux::proc::{self, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

/// Which processes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All that can be seen.
    All,
    /// These.
    Pids(Vec<u32>),
    /// Those of this name.
    Program(OsString),
}

/// A process, the same one even when its number is given to another.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// What anyone may know of it.
    pub(super) status: Status,
    /// To reach its descriptors.
    handle: io::Result<PidFd>,
    /// The same for each thread with a table of descriptors of its own.
    threads: Vec<(u32, io::Result<PidFd>)>,
    name: OnceLock<OsString>,
}

impl Selection {
    /// The processes, by number, and what is in the way of those that were named but cannot be found.
    pub(crate) fn processes(&self) -> (Vec<Process>, Vec<(u32, Obstacle)>) {
        let pids = match self {
            Self::Pids(pids) => pids.clone(),
            Self::All | Self::Program(_) => {
                let mut pids = proc::processes().unwrap_or_default();
                pids.sort_unstable();
                pids
            }
        };
        let (mut processes, mut missing) = (Vec::new(), Vec::new());
        for pid in pids {
            match (Process::find(pid), self) {
                (Ok(process), Self::Program(name)) if !process.is_called(name) => {}
                (Ok(process), _) => processes.push(process),
                (Err(obstacle), Self::Pids(_)) => missing.push((pid, obstacle)),
                // One that has ended since it was seen.
                (Err(_), _) => {}
            }
        }
        (processes, missing)
    }
}

impl Selection {
    /// Whether there is nothing left to look at: the processes that were named have ended.
    pub(crate) fn has_ended(&self, processes: &[Process]) -> bool {
        matches!(self, Self::Pids(_)) && !processes.iter().any(Process::is_there)
    }
}

impl Process {
    fn find(pid: u32) -> Result<Self, Obstacle> {
        // The handle first: whatever is read afterwards is of this process, or the handle is of no use any more.
        let handle = PidFd::open(pid);
        let status = proc::status(pid).map_err(|_| Obstacle::gone())?;
        if status.tgid != pid {
            return Err(Obstacle {
                reason: String::from("it is a thread"),
                hint: format!("name its process, {}", status.tgid),
            });
        }
        let own_tables = if status.threads > 1 {
            proc::tables(pid).unwrap_or_default()
        } else {
            Vec::new()
        };
        let threads = own_tables.into_iter().filter(|tid| *tid != pid);
        Ok(Self {
            pid,
            status,
            handle,
            threads: threads.map(|tid| (tid, PidFd::open_thread(tid))).collect(),
            name: OnceLock::new(),
        })
    }

    /// The name that rules for programs mean: the last part of the path by which it was started. Without ptrace access,
    /// the name that ps(1) shows.
    pub(crate) fn name(&self) -> &OsStr {
        self.name.get_or_init(|| {
            let name = proc::program(self.pid).or_else(|| proc::executable(self.pid));
            name.unwrap_or_else(|| OsString::from(&self.status.comm))
        })
    }

    /// Whether this is its name, by one of the ways in which people know programs.
    fn is_called(&self, name: &OsStr) -> bool {
        self.status.comm.as_bytes() == name.as_bytes()
            || proc::executable(self.pid).is_some_and(|executable| executable == name)
            || self.name() == name
    }

    /// The sockets that it holds, TCP and others, each with its inode.
    ///
    /// # Errors
    /// Why nothing of the process can be seen.
    pub(crate) fn sockets(&self) -> Result<Vec<(Holder, u64)>, Obstacle> {
        let mut found = self.table(self.pid, &self.handle)?;
        for (tid, handle) in &self.threads {
            // A thread that has ended has taken its table along.
            found.extend(self.table(*tid, handle).unwrap_or_default());
        }
        found.sort_unstable();
        Ok(found)
    }

    fn table(&self, tid: u32, handle: &io::Result<PidFd>) -> Result<Vec<(Holder, u64)>, Obstacle> {
        let sockets = match (proc::sockets(self.pid, tid), handle) {
            // With CAP_SYS_PTRACE alone the directory is closed, but not the descriptors.
            (Err(error), Ok(handle)) if error.kind() == io::ErrorKind::PermissionDenied => {
                try_all(handle, self.status.fd_size).ok_or(error)
            }
            (sockets, _) => sockets,
        };
        let pid = self.pid;
        let sockets = sockets.map_err(|error| Obstacle::new(self, &format!("/proc/{pid}/fd"), &error))?;
        let sockets = sockets.into_iter();
        Ok(sockets.map(|(fd, inode)| (Holder { pid, tid, fd }, inode)).collect())
    }

    /// A duplicate of the descriptor `holder`, if it still refers to the socket `inode`.
    ///
    /// # Errors
    /// `EBADF` when it does not; else as [`PidFd::duplicate`].
    pub(crate) fn duplicate(&self, holder: Holder, inode: u64) -> io::Result<OwnedFd> {
        let handle = match self.threads.iter().find(|(tid, _)| *tid == holder.tid) {
            Some((_, handle)) => handle,
            None => &self.handle,
        };
        let handle = handle.as_ref().map_err(repeat)?;
        let duplicate = handle.duplicate(holder.fd)?;
        if socket_inode(&duplicate) == Some(inode) {
            Ok(duplicate)
        } else {
            Err(Errno::BADF.into())
        }
    }

    /// Why a descriptor could not be duplicated.
    pub(crate) fn obstacle(&self, error: &io::Error) -> Obstacle {
        Obstacle::new(self, "pidfd_getfd", error)
    }

    /// Whether it still runs.
    pub(crate) fn is_there(&self) -> bool {
        // What cannot be duplicated may be there nevertheless; only its end is told as such.
        !self.handle.as_ref().is_ok_and(has_ended) && proc::status(self.pid).is_ok()
    }
}

/// The sockets among the first `size` descriptors, by duplicating each; `None` where that is denied.
fn try_all(handle: &PidFd, size: u32) -> Option<Vec<(i32, u64)>> {
    let mut found = Vec::new();
    for fd in 0..i32::try_from(size).ok()? {
        match handle.duplicate(fd) {
            Ok(duplicate) => found.extend(socket_inode(&duplicate).map(|inode| (fd, inode))),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => {}
            Err(_) => return None,
        }
    }
    Some(found)
}

/// An error that is kept is told each time.
fn repeat(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn socket_inode(fd: &OwnedFd) -> Option<u64> {
    let stat = fstat(fd).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat.st_ino)
}

/// Whether the process has ended: its handle becomes readable then.
fn has_ended(handle: &PidFd) -> bool {
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
