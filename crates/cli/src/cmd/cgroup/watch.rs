//! `keepalive cgroup enable --watch`: keeps a policy up to date with its file, and with cgroups that come and
//! go, while this command runs. Its messages go to a log, one line per event.

mod created;
pub(super) mod endpoint;
mod metrics_file;

use super::selection::Subject;
use super::{Enable, shown, tree, warn_of_what_is_out_of_reach};
use crate::error::Error;
use crate::followed::Followed;
use crate::interrupts;
use crate::output::{log, never_wait};
use crate::policy::{self, Policy};
use created::Queue;
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::pins::{self, Target};
use keepalive_engine::cgroup::refusal::{self, Refusal};
use keepalive_engine::cgroup::{Interrupts, Obstacle, Programs};
use keepalive_engine::container::Unfound;
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::signal::SignalFd;
use metrics_file::MetricsFile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time between two checks of everything. New cgroups are checked when they are created.
const PERIOD: Duration = Duration::from_secs(1);
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Applies the policy until a signal ends this command.
///
/// # Errors
/// A mistake in the policy at the start; the obstacle that keeps the engine from working.
pub(super) fn run(enable: &Enable) -> Result<(), Error> {
    // The first process of a container gets no signal that it does not handle.
    let signals = interrupts::catch()?;
    let policy = enable.policy()?;
    never_wait();
    policy::report_notes(&policy);
    let tree = tree("enable a policy")?;
    warn_of_what_is_out_of_reach(&policy);
    let subjects = enable.selection.subjects(&tree)?;
    // A cgroup that is created before the first check is found by that check.
    let created = Queue::new(&tree, subjects.iter());
    if let Some(address) = enable.metrics_listen {
        endpoint::start(address, &tree, &subjects)?;
    }
    let metrics_file = enable.metrics_file.as_deref().map(MetricsFile::new).transpose()?;
    let mut watch = Watch {
        enable,
        metrics_file,
        signals: &signals,
        created,
        tree,
        policy: Followed::new(policy),
        version: 0,
        cgroups: subjects.into_iter().map(Watched::new).collect(),
    };
    let watched = watch.until_signalled();
    let ended = watch.end();
    if let Some(file) = &watch.metrics_file {
        file.remove();
    }
    watched.and(ended)
}

struct Watch<'a> {
    enable: &'a Enable,
    metrics_file: Option<MetricsFile<'a>>,
    signals: &'a SignalFd,
    created: Queue,
    tree: Tree,
    policy: Followed<Arc<Policy>>,
    /// The number of changes of the policy.
    version: u64,
    cgroups: Vec<Watched>,
}

struct Watched {
    subject: Subject,
    place: Place,
    /// The version of the policy that was last applied.
    version: u64,
    /// The obstacle at the last attempt to apply the policy, or to set open connections, if any.
    obstacle: Option<Obstruction>,
    /// What is stored with the program of this number: why the newest policy is not active.
    stored: (u32, Option<Refusal>),
    /// What was last printed about a missing cgroup.
    waiting: Option<String>,
    /// The lock that shows other commands that this command watches the policy.
    lock: Option<OwnedFd>,
}

/// What an attempt has failed with.
struct Obstruction {
    refusal: Refusal,
    /// Whether the newest policy is not active because of it.
    is_refused: bool,
}

/// The state of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The state is not known yet.
    New,
    /// The cgroup does not exist.
    Missing,
    /// The cgroup has the policy of this command.
    Ours { directory: PathBuf, id: u64, program: u32 },
    /// The cgroup has the policy of another command.
    Theirs,
}

impl Watched {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            place: Place::New,
            version: 0,
            obstacle: None,
            stored: (0, None),
            waiting: None,
            lock: None,
        }
    }
}

impl<'a> Watch<'a> {
    /// Checks periodically, and when a cgroup is created, until a signal arrives.
    fn until_signalled(&mut self) -> Result<(), Error> {
        loop {
            self.read_again();
            self.created.try_again(&self.tree);
            self.check_those(|_, _| true)?;
            self.write_metrics();
            let end = Instant::now() + PERIOD;
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                let Some(created) = self.created.wait(&self.tree, self.signals, left) else {
                    break;
                };
                self.check_those(|tree, subject| {
                    let mut created_ones = created.directories.iter();
                    created.has_lost_events || created_ones.any(|directory| subject.can_be(tree, directory))
                })?;
            }
            if is_signalled(self.signals, &NO_TIME) && self.signals.next().is_some() {
                return Ok(());
            }
        }
    }

    /// Checks some cgroups, until a signal arrives.
    fn check_those(&mut self, is_chosen: impl Fn(&Tree, &Subject) -> bool) -> Result<(), Error> {
        for index in 0..self.cgroups.len() {
            if is_chosen(&self.tree, &self.cgroups[index].subject) {
                self.check(index)?;
                self.store_refusal(index);
            }
            if is_signalled(self.signals, &NO_TIME) {
                break;
            }
        }
        Ok(())
    }

    fn interrupts(&self) -> Interrupts<'a> {
        Interrupts(Some(self.signals))
    }

    /// Reads the policy again.
    fn read_again(&mut self) {
        if self
            .policy
            .update(self.enable.policy(), "the policy from before stays active")
        {
            warn_of_what_is_out_of_reach(self.policy.active());
            self.version += 1;
        }
    }

    /// Checks one cgroup, and applies the policy if it is not active there.
    fn check(&mut self, index: usize) -> Result<(), Error> {
        let is_changed = self.cgroups[index].version != self.version;
        let subject = &self.cgroups[index].subject;
        let before = self.cgroups[index].place.clone();
        let found = match self.created.directories() {
            Some(directories) => subject.find_among(&self.tree, &directories),
            None => subject.find(&self.tree),
        };
        let directory = match (found, &before) {
            (Ok(directory), _) => {
                self.cgroups[index].waiting = None;
                directory
            }
            // Another one with the same name does not end the policy of this one.
            (Err(Unfound::Several(error)), Place::Ours { directory, id, .. })
                if cgroup::id(directory).is_ok_and(|now| now == *id) =>
            {
                let name = shown(self.tree.name(directory));
                self.note_waiting(index, format!("{name} keeps its policy, although {error}"));
                directory.clone()
            }
            (Err(unfound), _) => {
                let waiting = match (unfound, subject) {
                    (Unfound::None(_), Subject::Cgroup(cgroup)) => format!(
                        "waiting for the cgroup '{}', which is not there{}",
                        shown(cgroup),
                        self.with_other_driver(cgroup)
                    ),
                    (Unfound::None(error) | Unfound::Several(error), _) => format!("waiting: {error}"),
                };
                self.note_missing(index, waiting);
                return Ok(());
            }
        };
        let is_selected_twice = self.cgroups[..index]
            .iter()
            .any(|other| matches!(&other.place, Place::Ours { directory: ours, .. } if *ours == directory));
        if is_selected_twice {
            return Ok(());
        }
        let target = Target::new(&self.tree, &directory);
        let entries = entries().unwrap_or_default();
        let entry = entries
            .iter()
            .find(|entry| entry.is_of(&target) && entry.state == State::Active);
        let now = entry.and_then(Entry::program);
        let is_same = |id: u64| cgroup::id(&directory).is_ok_and(|now| now == id);
        match &before {
            Place::Ours { id, program, .. } if is_same(*id) && now == Some(*program) && !is_changed => {
                return Ok(());
            }
            Place::Ours { id, program, .. } if is_same(*id) && now.is_some() && now != Some(*program) => {
                log(&format!("{}: another command has taken over", shown(&target.name)));
                self.cgroups[index].place = Place::Theirs;
                self.cgroups[index].lock = None;
                return Ok(());
            }
            Place::Theirs => match entry {
                Some(entry) if !entry.has_lost_its_watch() => return Ok(()),
                Some(_) => log(&format!(
                    "{}: the command that had taken over has ended without a word",
                    shown(&target.name)
                )),
                None => {}
            },
            _ => {}
        }
        let is_first = before == Place::New;
        let done = self.put_in_force(index, &directory, is_first);
        // The container has another cgroup, a new one has its name, or the cgroup was made again. New connections are more
        // urgent than the remains of the old one.
        if let Place::Ours {
            directory: old,
            id,
            program,
        } = &before
            && (*old != directory || !is_same(*id))
        {
            self.disable(old, *id, *program);
        }
        done
    }

    /// Records that a cgroup is missing.
    fn note_missing(&mut self, index: usize, waiting: String) {
        // The remaining files of a removed cgroup's policy have no effect.
        if let Place::Ours { directory, id, program } = &self.cgroups[index].place {
            self.disable(directory, *id, *program);
        }
        let watched = &mut self.cgroups[index];
        if watched.place == Place::New {
            // Reads the kernel's types before a connection depends on it. A failure is reported when the cgroup is there.
            let _ = Programs::trial();
        }
        let is_new = watched.place != Place::Missing;
        watched.place = Place::Missing;
        watched.lock = None;
        self.note_waiting(index, waiting);
        if is_new {
            self.hurry_metrics();
        }
    }

    /// Logs what is awaited, once.
    fn note_waiting(&mut self, index: usize, waiting: String) {
        let watched = &mut self.cgroups[index];
        if watched.waiting.as_ref() != Some(&waiting) {
            log(&waiting);
        }
        watched.waiting = Some(waiting);
    }

    /// Ends the policy of this command in a cgroup that is no longer selected.
    fn disable(&self, directory: &Path, id: u64, program: u32) {
        let target = Target::former(&self.tree, directory, id);
        let _ = pins::disable(&self.tree, &target, Some(program), self.interrupts());
    }

    /// Applies the policy to one cgroup.
    fn put_in_force(&mut self, index: usize, directory: &Path, is_first: bool) -> Result<(), Error> {
        let interrupts = self.interrupts();
        let watched = &mut self.cgroups[index];
        let (obstacle, is_refused) = match self
            .enable
            .enable(&self.tree, directory, self.policy.active(), interrupts)
        {
            Ok(done) => {
                watched.lock = done.watch;
                watched.place = Place::Ours {
                    directory: directory.to_owned(),
                    id: done.id,
                    program: done.program,
                };
                watched.version = self.version;
                // New connections get the settings even if this fails.
                let set = self
                    .enable
                    .set_existing(&self.tree, directory, self.policy.active(), interrupts);
                (set.err(), false)
            }
            Err(_) if is_signalled(self.signals, &NO_TIME) => return Ok(()),
            // At the start, the caller gets the error.
            Err(error) if is_first => return Err(error),
            // The cgroup may have been removed meanwhile.
            Err(_) if !directory.is_dir() => (None, false),
            Err(error) => (Some(error), true),
        };
        let Some(error) = obstacle else {
            watched.obstacle = None;
            return Ok(());
        };
        let refusal = Refusal::new(&error.to_string());
        let known = watched.obstacle.as_ref().map(|known| &known.refusal.message);
        if known != Some(&refusal.message) {
            error.report();
            watched.obstacle = Some(Obstruction { refusal, is_refused });
        }
        Ok(())
    }

    /// Stores with the policy of this command why a newer one is not active, for `keepalive cgroup status`.
    fn store_refusal(&mut self, index: usize) {
        let watched = &self.cgroups[index];
        let Place::Ours { directory, id, program } = &watched.place else {
            return;
        };
        let obstacle = watched.obstacle.as_ref().filter(|obstacle| obstacle.is_refused);
        let refusal = self.policy.mistake().or(obstacle.map(|obstacle| &obstacle.refusal));
        let (stored_with, stored) = &watched.stored;
        // Nothing is stored with a new program.
        let stored = stored.as_ref().filter(|_| stored_with == program);
        if refusal != stored {
            let target = Target::former(&self.tree, directory, *id);
            // A failure is tried again at the next check.
            if refusal::set(&target, *program, refusal, self.interrupts()).is_err() {
                return;
            }
        }
        let now = (*program, refusal.cloned());
        if self.cgroups[index].stored != now {
            self.cgroups[index].stored = now;
            self.hurry_metrics();
        }
    }

    /// Makes the next write of the metrics come at once.
    fn hurry_metrics(&mut self) {
        if let Some(file) = &mut self.metrics_file {
            file.hurry();
        }
    }

    /// Writes the metrics, with `--metrics-file`.
    fn write_metrics(&mut self) {
        let subjects = self.cgroups.iter().map(|watched| &watched.subject);
        if let Some(file) = &mut self.metrics_file {
            file.write(&self.tree, subjects);
        }
    }

    /// Returns a remark on the cgroup with this name with `.slice`, or without it. The name that a container
    /// manager uses depends on its cgroup driver.
    fn with_other_driver(&self, cgroup: &std::ffi::OsStr) -> String {
        let name = cgroup.to_string_lossy();
        let name = name.trim_matches('/');
        let other = match name.strip_suffix(".slice") {
            Some(other) => other.to_owned(),
            None => format!("{name}.slice"),
        };
        if self.tree.directory(other.as_ref()).is_dir() {
            format!("; /{other} is there: another cgroup driver")
        } else {
            String::new()
        }
    }

    /// Ends the policies that this command still owns.
    ///
    /// # Errors
    /// The obstacle that keeps a policy active.
    fn end(&self) -> Result<(), Error> {
        let mut failed = Vec::new();
        for watched in &self.cgroups {
            let Place::Ours { directory, id, program } = &watched.place else {
                continue;
            };
            let target = Target::former(&self.tree, directory, *id);
            let name = shown(&target.name);
            match pins::disable(&self.tree, &target, Some(*program), self.interrupts()) {
                Ok(true) => log(&format!("{name}: disabled")),
                Ok(false) => {}
                Err(obstacle) => {
                    failed.push(obstacle.error(&format!("disable the policy of {name}")).into());
                    // All policies share one lock.
                    if matches!(obstacle, Obstacle::Locked(_) | Obstacle::Interrupted) {
                        break;
                    }
                }
            }
        }
        Error::all(failed.into_iter()).map_or(Ok(()), Err)
    }
}

/// Returns whether a signal arrives within this time.
fn is_signalled(signals: &SignalFd, limit: &Timespec) -> bool {
    let mut arrived = [PollFd::new(signals, PollFlags::IN)];
    poll(&mut arrived, Some(limit)) == Ok(1)
}
