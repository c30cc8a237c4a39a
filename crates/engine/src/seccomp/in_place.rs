//! Runs the command under the process id of this process; the supervisor is a process alongside it.

use super::journal::Journal;
use super::pair::SupervisorPair;
use super::{Obstacle, Plan, Position, refused, socket_pair, submit, take_over};
use keepalive_sys::fork::spawn_unwaitable;
use rustix::fd::AsFd as _;

/// Puts this process under a supervisor.
pub(super) fn launch(plan: &Plan<'_>) -> Result<(), Obstacle> {
    let journal = Journal::new().map_err(refused("mmap"))?;
    let (ours, theirs) = socket_pair()?;
    spawn_unwaitable(move || {
        let (_, listener) = take_over(&theirs, &[theirs.as_fd()], Position::Command, plan);
        drop(theirs);
        SupervisorPair::new(&listener, journal, plan.sources).begin()
    })
    .map_err(refused("fork"))?;
    submit(plan, &[ours])
}
