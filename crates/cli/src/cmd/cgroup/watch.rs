//! `keepalive cgroup enable --watch`: keeps a policy up to date with its file, and with cgroups that come and
//! go, while this command runs. Its messages go to a log, one line per event.

use super::{Enable, find, shown, tree, warn_of_what_is_out_of_reach};
use crate::error::Error;
use crate::interrupts;
use crate::output::{never_wait, write_stderr};
use crate::policy::{self, Policy};
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::pins::{self, Target};
use keepalive_engine::cgroup::{Interrupts, Obstacle};
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pause between two checks.
const PERIOD: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
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
    let mut watch = Watch {
        enable,
        signals: &signals,
        tree,
        text: written(&policy),
        text_before: written(&policy),
        policy,
        version: 0,
        mistake: None,
        cgroups: enable.cgroups.iter().map(|cgroup| Watched::new(cgroup)).collect(),
    };
    let watched = watch.until_signalled();
    let ended = watch.end();
    watched.and(ended)
}

struct Watch<'a> {
    enable: &'a Enable,
    signals: &'a SignalFd,
    tree: Tree,
    policy: Arc<Policy>,
    /// The number of changes of the policy.
    version: u64,
    /// The texts of the policy, which show whether it has changed.
    text: Vec<u8>,
    /// The texts at the previous check.
    text_before: Vec<u8>,
    /// The mistake in the policy when it was last read, if any.
    mistake: Option<String>,
    cgroups: Vec<Watched<'a>>,
}

struct Watched<'a> {
    cgroup: &'a OsStr,
    place: Place,
    /// The version of the policy that was last applied.
    version: u64,
    /// The obstacle at the last attempt, if any.
    obstacle: Option<String>,
    /// The lock that shows other commands that this command watches the policy.
    lock: Option<OwnedFd>,
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

impl<'a> Watched<'a> {
    fn new(cgroup: &'a OsStr) -> Self {
        Self {
            cgroup,
            place: Place::New,
            version: 0,
            obstacle: None,
            lock: None,
        }
    }
}

impl<'a> Watch<'a> {
    /// Checks periodically, until a signal arrives.
    fn until_signalled(&mut self) -> Result<(), Error> {
        loop {
            self.read_again();
            for index in 0..self.cgroups.len() {
                self.check(index)?;
                if is_signalled(self.signals, &NO_TIME) {
                    break;
                }
            }
            if is_signalled(self.signals, &PERIOD) && self.signals.next().is_some() {
                return Ok(());
            }
        }
    }

    fn interrupts(&self) -> Interrupts<'a> {
        Interrupts(Some(self.signals))
    }

    /// Reads the policy again. Keeps the previous policy if the new one has a mistake.
    fn read_again(&mut self) {
        match self.enable.policy() {
            Ok(policy) => {
                self.mistake = None;
                let text = written(&policy);
                // A file that is being written is used only once two checks have read the same content.
                let is_unchanged = text == self.text_before;
                self.text_before.clone_from(&text);
                if text == self.text || !is_unchanged {
                    return;
                }
                warn_of_what_is_out_of_reach(&policy);
                self.text = text;
                self.policy = policy;
                self.version += 1;
            }
            Err(error) => {
                let mistake = error.to_string();
                if self.mistake.as_ref() != Some(&mistake) {
                    error.report();
                    say("the policy from before stays active");
                    self.mistake = Some(mistake);
                }
            }
        }
    }

    /// Checks one cgroup, and applies the policy if it is not active there.
    fn check(&mut self, index: usize) -> Result<(), Error> {
        let is_changed = self.cgroups[index].version != self.version;
        let cgroup = self.cgroups[index].cgroup;
        let before = self.cgroups[index].place.clone();
        let Ok(directory) = find(&self.tree, cgroup) else {
            if before != Place::Missing {
                say(&format!(
                    "waiting for the cgroup '{}', which is not there{}",
                    shown(cgroup),
                    self.with_other_driver(cgroup)
                ));
            }
            // The remaining files of a removed cgroup's policy have no effect.
            if let Place::Ours { directory, program, .. } = &before {
                let _ = pins::disable(
                    &self.tree,
                    &Target::new(&self.tree, directory),
                    Some(*program),
                    self.interrupts(),
                );
            }
            self.cgroups[index].place = Place::Missing;
            self.cgroups[index].lock = None;
            return Ok(());
        };
        let target = Target::new(&self.tree, &directory);
        let entries = entries().unwrap_or_default();
        let entry = entries
            .iter()
            .find(|entry| entry.is_of(&target) && entry.state == State::Active);
        let now = entry.and_then(Entry::program);
        let is_same = |id: u64| cgroup::id(&directory).is_ok_and(|now| now == id);
        match before {
            Place::Ours { id, program, .. } if is_same(id) && now == Some(program) && !is_changed => {
                return Ok(());
            }
            Place::Ours { id, program, .. } if is_same(id) && now.is_some() && now != Some(program) => {
                say(&format!("{}: another command has taken over", shown(&target.name)));
                self.cgroups[index].place = Place::Theirs;
                self.cgroups[index].lock = None;
                return Ok(());
            }
            Place::Theirs => match entry {
                Some(entry) if !entry.has_lost_its_watch() => return Ok(()),
                Some(_) => say(&format!(
                    "{}: the command that had taken over has ended without a word",
                    shown(&target.name)
                )),
                None => {}
            },
            _ => {}
        }
        self.put_in_force(index, &directory, before == Place::New)
    }

    /// Applies the policy to one cgroup.
    fn put_in_force(&mut self, index: usize, directory: &Path, is_first: bool) -> Result<(), Error> {
        let interrupts = self.interrupts();
        let watched = &mut self.cgroups[index];
        let obstacle = match self.enable.enable(&self.tree, directory, &self.policy, interrupts) {
            Ok(done) => {
                watched.lock = done.watch;
                watched.place = Place::Ours {
                    directory: directory.to_owned(),
                    id: cgroup::id(directory).unwrap_or(0),
                    program: done.program,
                };
                watched.version = self.version;
                // New connections get the settings even if this fails.
                self.enable
                    .set_existing(&self.tree, directory, &self.policy, interrupts)
                    .err()
            }
            Err(_) if is_signalled(self.signals, &NO_TIME) => return Ok(()),
            // At the start, the caller gets the error.
            Err(error) if is_first => return Err(error),
            // The cgroup may have been removed meanwhile.
            Err(_) if !directory.is_dir() => None,
            Err(error) => Some(error),
        };
        let text = obstacle.as_ref().map(Error::to_string);
        if let Some(error) = obstacle.filter(|_| text != watched.obstacle) {
            error.report();
        }
        watched.obstacle = text;
        Ok(())
    }

    /// Returns a remark on the cgroup with this name with `.slice`, or without it. The name that a container
    /// manager uses depends on its cgroup driver.
    fn with_other_driver(&self, cgroup: &OsStr) -> String {
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
            let Place::Ours { directory, program, .. } = &watched.place else {
                continue;
            };
            let target = Target::new(&self.tree, directory);
            let name = shown(&target.name);
            match pins::disable(&self.tree, &target, Some(*program), self.interrupts()) {
                Ok(true) => say(&format!("{name}: disabled")),
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

/// Returns the texts of a policy.
fn written(policy: &Policy) -> Vec<u8> {
    let texts = policy.rules.iter().chain(&policy.config);
    let texts = texts.flat_map(|text| [text.name.as_bytes(), &text.text]);
    let texts: Vec<&[u8]> = texts.collect();
    texts.join(&0)
}

/// Writes a line of the log, without wrapping.
fn say(text: &str) {
    write_stderr(&format!("keepalive: {text}\n"));
}
