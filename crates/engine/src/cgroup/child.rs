//! A cgroup of its own for one command (`keepalive run --engine cgroup`).
//!
//! The programs are attached for as long as the cgroup lives, so that nothing depends on a process of ours. One waits
//! until the cgroup is empty, and removes it; where it was killed, the next command does.

use super::{Obstacle, Programs, Shared};
use crate::applier::apply_to_inherited;
use crate::policy::{Part, Policy};
use keepalive_sys::background::{detach, harden};
use keepalive_sys::bpf::call::{Hook, attach_to_cgroup};
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::fork::spawn_unwaitable;
use keepalive_sys::lock::{try_exclusive, try_shared};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::CapabilitySet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The names of these cgroups begin so; the number of the process follows.
const NAME: &str = "keepalive-";

/// What kept the command from having its cgroup.
#[derive(Debug)]
pub enum Failure {
    /// The programs.
    Programs(Obstacle),
    /// The cgroup, whose directory this is.
    Cgroup(PathBuf, io::Error),
}

/// Puts this process, and all that it will start, into a new cgroup with `policy`; `program` is the command's name.
///
/// Returns the limits of the cgroup that it leaves which the new one does not show.
///
/// # Errors
/// What is in the way; then it is where it was.
pub fn join(policy: &Policy, program: &[u8]) -> Result<Vec<HiddenLimit>, Failure> {
    let programs_failed = |error: io::Error| Failure::Programs(error.into());
    let tree = Tree::find().map_err(|reason| Failure::Programs(Obstacle::NoTree(reason)))?;
    let parent = tree.own().map_err(programs_failed)?;
    sweep(&parent);
    let programs = Programs::load(policy, &tree.name(&parent), false, Shared::default()).map_err(Failure::Programs)?;
    // Until there is a process in it, another command would take it for one that was left.
    let _shared = share(&parent).map_err(|error| Failure::Cgroup(parent.clone(), error))?;
    let directory = join_new(&tree, &parent, &programs)?;
    // These are of the cgroup in which they were made.
    let parts = policy.parts();
    apply_to_inherited(&parts.each_ref().map(Part::source), program);
    Ok(hidden_limits(&parent, &directory))
}

/// A limit that holds for the command, and that its own cgroup does not show: programs which look there alone, as some
/// runtimes do to size their heap and their threads, see none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenLimit {
    /// The file that shows it, of the cgroup in which the command would be without keepalive.
    pub file: PathBuf,
    /// What it says.
    pub limit: String,
}

/// The limits of `parent` that `child` has no file for: a cgroup with processes cannot give its controllers to those below it
/// (`cgroups(7)`, no internal processes), so that they cannot be repeated there.
fn hidden_limits(parent: &Path, child: &Path) -> Vec<HiddenLimit> {
    let files = ["cpu.max", "memory.high", "memory.max"].into_iter();
    let hidden = files.filter(|name| !child.join(name).exists());
    let limits = hidden.filter_map(|name| {
        let file = parent.join(name);
        let limit = fs::read_to_string(&file).ok()?.trim().to_owned();
        (!limit.starts_with("max")).then_some(HiddenLimit { file, limit })
    });
    limits.collect()
}

/// Keeps others from sweeping. Every user may hold the lock of a cgroup's directory for as long as it likes: then no other
/// command sweeps either, and this one does without the lock.
fn share(parent: &Path) -> io::Result<Option<OwnedFd>> {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..50 {
        if let Some(lock) = try_shared(parent)? {
            return Ok(Some(lock));
        }
        sleep(PAUSE);
    }
    Ok(None)
}

fn join_new(tree: &Tree, parent: &Path, programs: &Programs) -> Result<PathBuf, Failure> {
    let directory = create(parent)?;
    let failed = |error: io::Error| Failure::Cgroup(directory.clone(), error);
    let joined = cgroup::open_directory(&directory)
        .map_err(failed)
        .and_then(|cgroup| attach(tree, &directory, &cgroup, programs).map_err(Failure::Programs))
        .and_then(|()| spawn_cgroup_reaper(&directory).map_err(failed))
        // This end is closed when the command has begun.
        .and_then(|begun| {
            cgroup::join(&directory)
                .map(|()| std::mem::forget(begun))
                .map_err(failed)
        });
    if joined.is_err() {
        let _ = fs::remove_dir(&directory);
    }
    joined.map(|()| directory)
}

/// Makes a new cgroup. The number of this process may be in use, by a command that has left processes, or in another pid
/// namespace.
fn create(parent: &Path) -> Result<PathBuf, Failure> {
    let own = format!("{NAME}{}", std::process::id());
    let others = (1..100).map(|number| format!("{own}-{number}"));
    let mut last = None;
    for name in [own.clone()].into_iter().chain(others) {
        let directory = parent.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) => {
                let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
                last = Some(Failure::Cgroup(directory, error));
                if !is_taken {
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::Cgroup(parent.to_owned(), io::ErrorKind::AlreadyExists.into())))
}

fn attach(tree: &Tree, directory: &Path, cgroup: &OwnedFd, programs: &Programs) -> Result<(), Obstacle> {
    let hooks = [
        (Hook::SetSockOpt, programs.clamp.as_ref()),
        (Hook::SockOps, Some(&programs.established)),
    ];
    for (hook, program) in hooks {
        if let Some(program) = program {
            attach_to_cgroup(program, cgroup, hook)
                .map_err(|error| Obstacle::of_attaching(error, tree, directory, hook))?;
        }
    }
    Ok(())
}

/// Starts the process that removes the cgroup when it is empty. It begins to wait when what this gives is closed, and has
/// closed everything else that the command inherits.
fn spawn_cgroup_reaper(directory: &Path) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    spawn_unwaitable(move || {
        // The cgroup's directory may be another user's.
        let is_ready = detach(&[theirs.as_fd()]).and_then(|()| harden(CapabilitySet::DAC_OVERRIDE));
        if is_ready.is_err() || write(&theirs, &[0]).is_err() {
            return;
        }
        while let Err(Errno::INTR) = read(&theirs, &mut [0_u8; 1]) {}
        drop(theirs);
        if cgroup::wait_until_empty(directory).is_ok() {
            let _ = cgroup::remove(directory);
        }
    })?;
    match read(&ours, &mut [0_u8; 1])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(ours),
    }
}

/// Removes what other commands have left, where nobody could. One that is in use cannot be removed.
fn sweep(parent: &Path) {
    let Ok(Some(_alone)) = try_exclusive(parent) else {
        return;
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME));
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_hidden_where_the_new_cgroup_has_no_file_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let child = directory.path().join("child");
        fs::create_dir(&child).unwrap();
        assert_eq!(hidden_limits(directory.path(), &child), []);
        for (name, text) in [
            ("cpu.max", "150000 100000\n"),
            ("memory.high", "max\n"),
            ("memory.max", "268435456\n"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let limit = |name: &str, limit: &str| HiddenLimit {
            file: directory.path().join(name),
            limit: limit.to_owned(),
        };
        let (cpu, memory) = (limit("cpu.max", "150000 100000"), limit("memory.max", "268435456"));
        assert_eq!(hidden_limits(directory.path(), &child), [cpu, memory.clone()]);
        // What the new one has a file for it shows.
        fs::write(child.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(hidden_limits(directory.path(), &child), [memory]);
    }
}
