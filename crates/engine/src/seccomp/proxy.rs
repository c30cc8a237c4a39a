//! Runs the command as a descendant of its supervisors. This is required where a process may access only its
//! descendants (Yama, `kernel.yama.ptrace_scope` 1), and where supervisors alongside the command would become
//! children of an unrelated process. This process becomes the command's proxy: it forwards the signals that
//! it gets, stops when the command stops, and ends as the command ends.

use super::channel::{receive, send, socket_pair};
use super::journal::Journal;
use super::pair::{ChildWatch, SupervisorPair};
use super::{Obstacle, Plan, Position, accept, refused, submit, take_over};
use keepalive_sys::fork::{Side, exit_now, fork};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::signal::{Arrived, Mask, SignalFd, block_all, end_by, restore, stop_by};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, set_child_subreaper, set_parent_process_death_signal, waitpid,
};
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// Puts a child of this process under supervisors and returns in the child; this process does not return.
pub(super) fn launch(plan: &Plan<'_>) -> Result<(), Obstacle> {
    let journal = Journal::new().map_err(refused("mmap"))?;
    let signals = SignalFd::new().map_err(refused("signalfd"))?;
    let (status, status_sender) = socket_pair()?;
    let (standby, to_standby) = socket_pair()?;
    let (active, to_active) = socket_pair()?;
    // From here on, no signal may end this process alone.
    let mask = block_all();
    let child_watch = ChildWatch {
        signals: &signals,
        status: &status_sender,
        proxy: Some(getpid()),
    };
    match fork() {
        Err(error) => {
            restore(&mask);
            Err(Obstacle::Refused("fork", error))
        }
        Ok(Side::Parent(child)) => {
            drop((status_sender, standby, to_standby, active, to_active));
            match receive(&status) {
                Some(pid @ 1..) => act_as_command(pid.cast_unsigned(), &status, &signals, child),
                refusal => {
                    let _ = waitpid(Some(child), WaitOptions::empty());
                    restore(&mask);
                    let errno = refusal.map_or(Errno::IO.raw_os_error(), i32::wrapping_neg);
                    if errno == Errno::BUSY.raw_os_error() {
                        return Err(Obstacle::Foreign);
                    }
                    Err(Obstacle::Restricted(io::Error::from_raw_os_error(errno)))
                }
            }
        }
        Ok(Side::Child) => {
            let _ = set_child_subreaper(Some(getpid()));
            let own = PidFd::open(std::process::id());
            match (fork(), own) {
                (Ok(Side::Child), Ok(parent)) => {
                    let _ = set_child_subreaper(Some(getpid()));
                    match fork() {
                        Ok(Side::Child) => {
                            // The supervisors hold the other ends. This process must detect when the
                            // supervisors end.
                            drop((standby, active));
                            become_command(plan, &mask, &status_sender, &[to_standby, to_active]);
                            Ok(())
                        }
                        Ok(Side::Parent(_)) => {
                            let keep = [active.as_fd(), status_sender.as_fd(), signals.as_fd(), parent.as_fd()];
                            let command = accept(&active, &keep, Position::Descendant, plan);
                            let listener = take_over(active);
                            let child_watch = ChildWatch {
                                proxy: None,
                                ..child_watch
                            };
                            SupervisorPair::new(&listener, journal, plan.sources)
                                .with_child_watch(child_watch, &command)
                                .serve(parent)
                        }
                        Err(_) => exit_now(1),
                    }
                }
                (Ok(Side::Parent(serving)), _) => {
                    let keep = [standby.as_fd(), status_sender.as_fd(), signals.as_fd()];
                    let command = accept(&standby, &keep, Position::Descendant, plan);
                    let listener = take_over(standby);
                    // The supervisor gets SIGCHLD when the proxy is killed.
                    let _ = set_parent_process_death_signal(Some(Signal::CHILD));
                    SupervisorPair::new(&listener, journal, plan.sources)
                        .with_child_watch(child_watch, &command)
                        .stand_by(serving)
                }
                _ => exit_now(1),
            }
        }
    }
}

/// Reports whether the command is under its supervisors, and its process id. Returns only if it is; then this
/// process becomes the command.
fn become_command(plan: &Plan<'_>, mask: &Mask, status_sender: &OwnedFd, supervisors: &[OwnedFd; 2]) {
    if let Err(obstacle) = submit(plan, supervisors, 1) {
        let errno = match obstacle {
            Obstacle::Restricted(error) | Obstacle::Refused(_, error) => error.raw_os_error(),
            Obstacle::Foreign => Some(Errno::BUSY.raw_os_error()),
            Obstacle::Nested | Obstacle::Lost => None,
        };
        send(status_sender, -errno.unwrap_or(Errno::IO.raw_os_error()));
        exit_now(1);
    }
    send(status_sender, std::process::id().cast_signed());
    restore(mask);
}

/// The offset of signals in the exit value that a supervisor reports: smaller values are exit statuses,
/// larger ones are this offset plus a signal's number.
pub(super) const SIGNALS: i32 = 256;

/// Added to the exit value if no process is left under the filter, so that the supervisors end.
pub(super) const NOBODY_LEFT: i32 = 1 << 16;

/// Acts as the command towards other processes. The child `supervisor` is the standby.
fn act_as_command(pid: u32, status: &OwnedFd, signals: &SignalFd, supervisor: Pid) -> ! {
    // A command that has ended needs no signals; the supervisor still reports how it ended.
    let command = PidFd::open(pid).ok();
    loop {
        let mut fds = [PollFd::new(status, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        let [is_status, is_signal] = fds.map(|fd| !fd.revents().is_empty());
        if is_signal {
            while let Some(signal) = signals.next() {
                if signal.number == Signal::CHILD.as_raw() {
                    // The first process of a container is the parent of all orphans.
                    while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
                } else if let Some(command) = &command {
                    forward(signal, pid, command);
                }
            }
        }
        if is_status {
            let Some(ending) = receive(status) else {
                // Both supervisors were killed: no process can report how the command ends.
                if let Some(command) = &command {
                    let _ = poll(&mut [PollFd::new(command, PollFlags::IN)], None);
                }
                exit_now(125)
            };
            if ending >= NOBODY_LEFT {
                // Otherwise the supervisors would briefly be children of an unrelated process.
                while let Err(Errno::INTR) = waitpid(Some(supervisor), WaitOptions::empty()) {}
            }
            match ending % NOBODY_LEFT {
                exit @ 0..SIGNALS => exit_now(u8::try_from(exit).unwrap_or(u8::MAX)),
                signal => end_by(signal - SIGNALS),
            }
        }
    }
}

/// Forwards a signal to the command. The terminal sends its signals to all foreground processes, so the
/// command already has those.
fn forward(signal: Arrived, pid: u32, command: &PidFd) {
    /// How many times to check whether the command has stopped, 10 ms apart. The command may have a handler
    /// that stops it later.
    const PATIENCE: u32 = 50;
    if !signal.is_from_kernel {
        let _ = command.signal(signal.number);
    }
    let stops = [Signal::TSTP, Signal::TTIN, Signal::TTOU].map(Signal::as_raw);
    if !stops.contains(&signal.number) {
        return;
    }
    for _ in 0..PATIENCE {
        if proc::status(pid).is_ok_and(|status| status.is_stopped) {
            stop_by(signal.number);
            // The sender of SIGCONT may have addressed only this process.
            let _ = command.signal(Signal::CONT.as_raw());
            return;
        }
        sleep(Duration::from_millis(10));
    }
}
