//! Runs the command under the process id of this process; the supervisor is a process alongside it.

use super::channel::socket_pair;
use super::journal::Journal;
use super::pair::SupervisorPair;
use super::{Obstacle, Plan, Position, accept, refused, submit, take_over};
use keepalive_sys::fork::{Side, exit_now, fork, spawn_unwaitable};
use keepalive_sys::pidfd::PidFd;
use rustix::fd::AsFd as _;

/// Puts this process under a supervisor.
pub(super) fn launch(plan: &Plan<'_>) -> Result<(), Obstacle> {
    let journal = Journal::new().map_err(refused("mmap"))?;
    let (ours, theirs) = socket_pair()?;
    spawn_unwaitable(move || {
        accept(&theirs, &[theirs.as_fd()], Position::Command, plan);
        // The command installs its filter meanwhile. Both processes get the listener.
        let own = PidFd::open(std::process::id());
        let side = fork();
        let listener = take_over(theirs);
        let pair = SupervisorPair::new(&listener, journal, plan.sources);
        match (side, own) {
            (Ok(Side::Parent(serving)), own) => {
                drop(own);
                pair.stand_by(serving)
            }
            // If there is no standby, this process serves alone.
            (Ok(Side::Child) | Err(_), Ok(standby)) => pair.serve(standby),
            (_, Err(_)) => exit_now(1),
        }
    })
    .map_err(refused("fork"))?;
    submit(plan, &[ours], 2)
}
