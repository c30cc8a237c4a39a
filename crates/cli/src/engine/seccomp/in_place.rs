//! The command keeps the process id of this one; its supervisor is beside it.

use super::guard::Guard;
use super::journal::Journal;
use super::{Beside, Obstacle, Plan, refused, socket_pair, submit, take_over};
use keepalive_linux::fork::{Side, exit_now, fork};
use keepalive_linux::signal::without_trace;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};

/// Puts this process under a supervisor.
pub(super) fn launch(plan: &Plan<'_>) -> Result<(), Obstacle> {
    let journal = Journal::new().map_err(refused("mmap"))?;
    let (ours, theirs) = socket_pair()?;
    without_trace(|| start_beside(plan, journal, theirs))?;
    submit(plan, &[ours])
}

/// Starts the supervisor, which learns through `theirs` what to supervise.
fn start_beside(plan: &Plan<'_>, journal: Journal, theirs: OwnedFd) -> Result<(), Obstacle> {
    match fork().map_err(refused("fork"))? {
        // Not a child of the command, which would not know it: a child of nobody.
        Side::Child => match fork() {
            Ok(Side::Child) => {
                let (_, listener) = take_over(&theirs, &[theirs.as_fd()], Beside::Command);
                drop(theirs);
                Guard::new(&listener, journal, plan.sources).begin()
            }
            Ok(Side::Parent(_)) => exit_now(0),
            Err(_) => exit_now(1),
        },
        Side::Parent(between) => {
            while matches!(waitpid(Some(between), WaitOptions::empty()), Err(Errno::INTR)) {}
            Ok(())
        }
    }
}
