//! A cgroup of its own for one command (`keepalive run --engine cgroup`).
//!
//! The programs are attached for as long as the cgroup lives, so that nothing depends on a process of ours. One waits
//! until the cgroup is empty, and removes it; where it was killed, the next command does.

use super::{Obstacle, Programs, Shared};
use crate::policy::Policy;
use keepalive_linux::bpf::call::{Hook, attach_to_cgroup};
use keepalive_linux::cgroup::{self, Tree};
use keepalive_linux::fork::{Side, detach, exit_now, fork};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The names of these cgroups begin so; the number of the process follows.
const NAME: &str = "keepalive-";

/// What kept the command from having its cgroup.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The programs.
    Programs(Obstacle),
    /// The cgroup, whose directory this is.
    Cgroup(PathBuf, io::Error),
}

/// Puts this process, and all that it will start, into a new cgroup with `policy`.
///
/// # Errors
/// What is in the way; then it is where it was.
pub(crate) fn join(policy: &Policy) -> Result<(), Failure> {
    let programs_failed = |error: io::Error| Failure::Programs(error.into());
    let tree = Tree::find().map_err(|reason| Failure::Programs(Obstacle::NoTree(reason)))?;
    let parent = tree.own().map_err(programs_failed)?;
    sweep(&parent);
    let directory = parent.join(format!("{NAME}{}", std::process::id()));
    let programs = Programs::load(policy, &tree.name(&directory), Shared::default()).map_err(Failure::Programs)?;
    let failed = |error: io::Error| Failure::Cgroup(directory.clone(), error);
    fs::create_dir(&directory).map_err(failed)?;
    let joined = attach(&tree, &directory, &programs)
        .map_err(Failure::Programs)
        .and_then(|()| keep_house(&directory).map_err(failed))
        // This end is closed when the command has begun.
        .and_then(|begun| {
            cgroup::join(&directory)
                .map(|()| std::mem::forget(begun))
                .map_err(failed)
        });
    if joined.is_err() {
        let _ = fs::remove_dir(&directory);
    }
    joined
}

fn attach(tree: &Tree, directory: &Path, programs: &Programs) -> Result<(), Obstacle> {
    let cgroup = cgroup::open_directory(directory)?;
    let hooks = [
        (Hook::SetSockOpt, programs.clamp.as_ref()),
        (Hook::SockOps, Some(&programs.established)),
    ];
    for (hook, program) in hooks {
        if let Some(program) = program {
            attach_to_cgroup(program, &cgroup, hook)
                .map_err(|error| Obstacle::of_attaching(error, tree, directory, hook))?;
        }
    }
    Ok(())
}

/// Starts the process that removes the cgroup when it is empty. It begins to wait when what this gives is closed.
fn keep_house(directory: &Path) -> io::Result<OwnedFd> {
    let (news, begun) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork()? {
        Side::Parent(pid) => {
            // Its child is nobody's any more, so that the command has no child that it does not know.
            while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
            Ok(begun)
        }
        Side::Child => {
            drop(begun);
            match fork() {
                Ok(Side::Child) if detach(&[news.as_fd()]).is_ok() => {}
                _ => exit_now(0),
            }
            while let Err(Errno::INTR) = read(&news, &mut [0_u8; 1]) {}
            if cgroup::wait_until_empty(directory).is_ok() {
                let _ = cgroup::remove(directory);
            }
            exit_now(0)
        }
    }
}

/// Removes what other commands have left, where nobody could.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(NAME)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One that is in use cannot be removed.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
