//! New cgroups, as far as they can be those that a command watches.

use crate::cmd::cgroup::selection::Subject;
use crate::error::describe;
use crate::output::log;
use keepalive_sys::cgroup::{Created, CreatedCgroups, Tree};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The queue of new cgroups.
pub(super) struct Queue {
    /// Absent if the kernel refuses it: then only the periodic checks find new cgroups.
    queue: Option<CreatedCgroups>,
    /// The directories that are waited for, if those of all subjects are known.
    wanted: Option<Vec<PathBuf>>,
}

impl Queue {
    /// Starts to watch for the cgroups of these subjects.
    pub(super) fn new<'a>(tree: &Tree, subjects: impl Iterator<Item = &'a Subject>) -> Self {
        let wanted: Option<Vec<PathBuf>> = subjects.map(|subject| subject.directory(tree)).collect();
        let mut queue = Self { queue: None, wanted };
        let started = CreatedCgroups::new().and_then(|mut created| {
            if queue.wanted.is_none() {
                created.watch_all_below(tree.mount())?;
            }
            queue.queue = Some(created);
            queue.refresh(tree)
        });
        queue.unless_failed(started);
        queue
    }

    /// Watches the directories above those that are waited for. Some may be new.
    fn refresh(&mut self, tree: &Tree) -> io::Result<()> {
        let (Some(queue), Some(wanted)) = (&mut self.queue, &self.wanted) else {
            return Ok(());
        };
        wanted
            .iter()
            .try_for_each(|directory| queue.watch_for(tree.mount(), directory))
    }

    /// Reports a failure once, and then leaves all to the periodic checks.
    fn unless_failed<T>(&mut self, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                log(&format!(
                    "new cgroups are looked for once a second, and their first connections can be missed: inotify: {}",
                    describe(error)
                ));
                self.queue = None;
            })
            .ok()
    }

    /// Returns the directories of all cgroups, if they are known.
    pub(super) fn directories(&self) -> Option<Vec<PathBuf>> {
        let queue = self.queue.as_ref().filter(|_| self.wanted.is_none())?;
        Some(queue.directories())
    }

    /// Waits for new cgroups. Returns `None` after this time, or if a signal has arrived.
    pub(super) fn wait(&mut self, tree: &Tree, signals: &SignalFd, limit: Duration) -> Option<Created> {
        let limit = Timespec::try_from(limit).ok()?;
        let mut sources = vec![PollFd::new(signals, PollFlags::IN)];
        sources.extend(self.queue.iter().map(|queue| PollFd::new(queue, PollFlags::IN)));
        let arrived = poll(&mut sources, Some(&limit));
        let is_signalled = !sources[0].revents().is_empty();
        if arrived.unwrap_or(0) == 0 || is_signalled {
            return None;
        }
        let taken = self.queue.as_mut()?.take();
        let taken = self.unless_failed(taken);
        // A cgroup that is created before its parent is watched is found by the caller's check.
        let refreshed = self.refresh(tree);
        self.unless_failed(refreshed);
        let all = Created {
            has_lost_events: true,
            ..Created::default()
        };
        Some(taken.unwrap_or(all))
    }
}
