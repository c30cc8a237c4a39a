//! A separate cgroup for one command (`keepalive run --engine cgroup`).
//!
//! The programs stay attached while the cgroup exists, so the settings do not depend on a process. A reaper
//! waits until the cgroup is empty, and removes it. If the reaper was killed, the next command removes the
//! cgroup.

use super::{Obstacle, Options, Programs, Shared};
use crate::applier::Inherited;
use crate::policy::{Part, Policy};
use keepalive_sys::background::{detach, harden};
use keepalive_sys::bpf::call::{Attached, Hook, attach_to_cgroup, program_by_id, program_info, programs};
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

/// The prefix of the names of these cgroups; the number of the process follows.
const NAME: &str = "keepalive-";

/// The reason why the command could not get its cgroup.
#[derive(Debug)]
pub enum Failure {
    /// The programs could not be loaded or attached.
    Programs(Obstacle),
    /// The cgroup in this directory could not be created or entered.
    Cgroup(PathBuf, io::Error),
}

/// Moves this process into a new cgroup with `policy`; processes that it starts inherit the cgroup. `program`
/// is the command's name.
///
/// Returns the limits of the old cgroup that the new cgroup does not show.
///
/// # Errors
/// The obstacle; then this process is still in its old cgroup.
pub fn join(policy: &Policy, program: &[u8]) -> Result<Vec<HiddenLimit>, Failure> {
    let programs_failed = |error: io::Error| Failure::Programs(error.into());
    let tree = Tree::find().map_err(|reason| Failure::Programs(Obstacle::NoTree(reason)))?;
    let parent = tree.own().map_err(programs_failed)?;
    sweep(&parent);
    let programs = Programs::load(policy, &tree.name(&parent), Options::default(), Shared::default())
        .map_err(Failure::Programs)?;
    // Until a process has joined the new cgroup, another command would treat the cgroup as abandoned.
    let _shared = share(&parent).map_err(|error| Failure::Cgroup(parent.clone(), error))?;
    let directory = join_new(&tree, &parent, &programs)?;
    // Inherited sockets belong to the cgroup in which they were created.
    let parts = policy.parts();
    Inherited::find().apply(
        &parts.each_ref().map(Part::source),
        program,
        |socket, option, number| keepalive_sys::sockopt::set(socket, option, number),
    );
    Ok(hidden_limits(&parent, &directory))
}

/// Returns whether the cgroup in this directory, or one above it, is one of [`join`]: its programs are attached. Requires
/// the right to read eBPF programs.
pub fn is_active(directory: &Path) -> bool {
    let is_named = |above: &Path| {
        let name = above.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(NAME.as_bytes())
    };
    let Some(own) = directory.ancestors().find(|above| is_named(above)) else {
        return false;
    };
    let attached = cgroup::open_directory(own).and_then(|cgroup| programs(cgroup, Hook::SockOps, Attached::Here));
    attached.is_ok_and(|programs| {
        let mut infos = programs
            .ids
            .into_iter()
            .map(|id| program_by_id(id).and_then(program_info));
        infos.any(|info| info.is_ok_and(|info| info.name == super::NAME))
    })
}

/// A limit that applies to the command and that its own cgroup does not show. Programs that read only their
/// own cgroup see no limit; some runtimes size their heap and their threads this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenLimit {
    /// The file that shows the limit, in the cgroup in which the command would run without keepalive.
    pub file: PathBuf,
    /// The content of the file.
    pub limit: String,
}

/// Returns the limits of `parent` for which `child` has no file. A cgroup that contains processes cannot
/// enable controllers for its children (`cgroups(7)`, no internal processes), so the limits cannot be
/// repeated there.
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

/// Takes a shared lock that keeps other commands from sweeping. Every user may hold the lock of a cgroup's
/// directory indefinitely. In that case no other command sweeps, and this command continues without the lock.
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
        // This end is closed when the command is executed (`CLOEXEC`).
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

/// Creates a new cgroup. The name with the number of this process may be taken: by a command that has left
/// processes, or by a process in another pid namespace.
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

/// Starts the process that removes the cgroup when it is empty. The process has closed all other descriptors
/// that the command inherits. It begins to wait when the returned descriptor is closed.
fn spawn_cgroup_reaper(directory: &Path) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    spawn_unwaitable(move || {
        // Another user may own the cgroup's directory.
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

/// Removes the cgroups that other commands have left. The kernel refuses to remove a cgroup that is in use.
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
        // The new cgroup has a file for this limit, and so shows it.
        fs::write(child.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(hidden_limits(directory.path(), &child), [memory]);
    }
}
