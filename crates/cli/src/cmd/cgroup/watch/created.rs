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
    created: Option<CreatedCgroups>,
    /// The directories that are waited for, if those of all subjects are known.
    wanted: Option<Vec<PathBuf>>,
    /// Why some cgroups are not watched, as it was last logged.
    unwatched: Option<String>,
}

impl Queue {
    /// Starts to watch for the cgroups of these subjects.
    pub(super) fn new<'a>(tree: &Tree, subjects: impl Iterator<Item = &'a Subject>) -> Self {
        let wanted: Option<Vec<PathBuf>> = subjects.map(|subject| subject.directory(tree)).collect();
        let mut queue = Self {
            created: None,
            wanted,
            unwatched: None,
        };
        queue.try_again(tree);
        queue
    }

    /// Watches what could not be watched before, if anything.
    pub(super) fn try_again(&mut self, tree: &Tree) {
        let is_complete = self.created.as_ref().is_some_and(|queue| queue.unwatched().is_none());
        if !is_complete {
            let watched = self.watch(tree);
            self.unless_failed(watched);
        }
    }

    fn watch(&mut self, tree: &Tree) -> io::Result<()> {
        if self.created.is_none() {
            self.created = Some(CreatedCgroups::new()?);
        }
        if let (Some(queue), None) = (&mut self.created, &self.wanted) {
            queue.watch_all_below(tree.mount())?;
        }
        self.refresh(tree)
    }

    /// Watches the directories above those that are waited for. Some may be new.
    fn refresh(&mut self, tree: &Tree) -> io::Result<()> {
        let (Some(queue), Some(wanted)) = (&mut self.created, &self.wanted) else {
            return Ok(());
        };
        wanted
            .iter()
            .try_for_each(|directory| queue.watch_for(tree.mount(), directory))
    }

    /// Drops the queue after a failure, until the next periodic check. Logs what is not watched, once.
    fn unless_failed<T>(&mut self, result: io::Result<T>) -> Option<T> {
        let failure = match (&result, &self.created) {
            (Err(error), _) => Some(("new cgroups", describe(error))),
            (Ok(_), Some(queue)) => queue.unwatched().map(|error| ("some new cgroups", describe(&error))),
            (Ok(_), None) => None,
        };
        if result.is_err() {
            self.created = None;
        }
        let unwatched = failure.map(|(which, why)| {
            format!("{which} are looked for once a second, and their first connections can be missed: inotify: {why}")
        });
        match &unwatched {
            Some(text) if self.unwatched.as_ref() != Some(text) => log(text),
            None if self.unwatched.is_some() => log("new cgroups are reported by inotify again"),
            _ => {}
        }
        self.unwatched = unwatched;
        result.ok()
    }

    /// Returns the directories of all cgroups, if they are known.
    pub(super) fn directories(&self) -> Option<Vec<PathBuf>> {
        let queue = self
            .created
            .as_ref()
            .filter(|queue| self.wanted.is_none() && queue.unwatched().is_none())?;
        Some(queue.directories())
    }

    /// Waits for new cgroups. Returns `None` after this time, or if a signal has arrived.
    pub(super) fn wait(&mut self, tree: &Tree, signals: &SignalFd, limit: Duration) -> Option<Created> {
        let limit = Timespec::try_from(limit).ok()?;
        let mut sources = vec![PollFd::new(signals, PollFlags::IN)];
        sources.extend(self.created.iter().map(|queue| PollFd::new(queue, PollFlags::IN)));
        let arrived = poll(&mut sources, Some(&limit));
        let is_signalled = !sources[0].revents().is_empty();
        if arrived.unwrap_or(0) == 0 || is_signalled {
            return None;
        }
        let taken = self.created.as_mut()?.take();
        // A cgroup that is created before its parent is watched is found by the caller's check.
        let taken = taken.and_then(|created| self.refresh(tree).map(|()| created));
        let taken = self.unless_failed(taken);
        let all = Created {
            has_lost_events: true,
            ..Created::default()
        };
        Some(taken.unwrap_or(all))
    }
}
