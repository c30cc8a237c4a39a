//! What a worker does with the sockets of one process.

use super::Work;
use super::report::Report;
use keepalive_engine::attach::{apply, is_undecided, plan};
use keepalive_engine::container::id_of_process;
use keepalive_engine::sockets::{Holder, Kernel, Obstacle, Process, Send, Socket, TimerState};
use keepalive_sys::sockopt;
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;

/// A result of a worker for one process.
#[derive(Serialize, Deserialize)]
pub(super) enum Found {
    /// The sockets that the process holds, by inode.
    Held(Vec<u64>),
    /// Sockets of the process.
    Reports(Vec<Report>),
    /// The obstacle of a named process.
    Obstacle(Obstacle),
    /// The obstacle of one of many processes.
    Beyond(Obstacle),
}

impl Work<'_> {
    /// Applies the policy to these sockets of `process`, in a worker, and adds the inodes of those that were reached to `seen`.
    /// Returns whether access to some was denied.
    pub(super) fn reach(
        &self,
        kernel: &mut Kernel,
        process: &Process,
        held: &[(Holder, u64)],
        seen: &mut HashSet<u64>,
        send: &mut Send<'_, Found>,
    ) -> bool {
        let program = process.name();
        let name = program.to_string_lossy();
        let container = id_of_process(process.pid);
        let (sources, is_dry_run) = (self.sources, self.attach.dry_run);
        let set = |kernel: &Kernel, socket: Socket, duplicate: &OwnedFd| {
            // Values for a socket without a peer would count as the program's own once the peer is known.
            if self.attach.watch && is_undecided(sources, &socket) {
                return Err(socket.inode);
            }
            let known = |option| socket.number(option);
            let current = |option| known(option).or_else(|| sockopt::get(duplicate, option).ok());
            let plan = plan(
                sources,
                &socket,
                &current,
                program.as_bytes(),
                kernel.namespace(&socket),
            );
            let mut failed = Vec::new();
            let mut numbers = socket.numbers;
            if !is_dry_run {
                failed = apply(&plan, duplicate);
                for step in &plan.steps {
                    numbers = numbers.map(|numbers| numbers.refreshed(duplicate, step.option));
                }
            }
            Ok(Report::new(
                name.clone().into_owned(),
                container.clone(),
                socket,
                plan,
                failed,
                numbers,
            ))
        };
        let mut elsewhere = Vec::new();
        let missed = kernel.for_each(process, held, &set, &mut |results| {
            let inode = |result: &Result<Report, u64>| {
                result
                    .as_ref()
                    .map_or_else(|inode| *inode, |report| report.socket().inode)
            };
            seen.extend(results.iter().map(inode));
            let reports: Vec<Report> = results.into_iter().flatten().collect();
            let is_elsewhere = |report: &Report| report.is_changed() && !report.socket().is_in_own_namespace();
            let (far, near) = reports.into_iter().partition(is_elsewhere);
            elsewhere.extend::<Vec<_>>(far);
            send(Found::Reports(near));
        });
        let is_missed = missed.obstacle.is_some();
        if let Some(obstacle) = missed.obstacle {
            send(Found::Obstacle(obstacle));
        }
        if elsewhere.is_empty() {
            return is_missed;
        }
        // Sockets in other namespaces are accessed through the process, which exists at this point.
        let (after, _) = Kernel::of_own_namespace().sockets(process, held);
        let timers: HashMap<u64, TimerState> = after.iter().map(|socket| (socket.inode, socket.timer)).collect();
        for report in &mut elsewhere {
            if let Some(timer) = timers.get(&report.socket().inode) {
                report.note_timer(*timer);
            }
        }
        send(Found::Reports(elsewhere));
        is_missed
    }
}
