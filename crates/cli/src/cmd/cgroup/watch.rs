//! `keepalive cgroup enable --watch`: a policy that follows its file, and cgroups that come and go, for as long as this
//! command runs. What it says goes to a log: a line for each event.

use super::{Enable, find, shown, tree, warn_of_what_is_out_of_reach};
use crate::error::{Error, FAILED, describe};
use crate::output::{never_wait, write_stderr};
use crate::policy::{self, Policy};
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::pins::{self, Target};
use keepalive_engine::cgroup::{Interrupts, Obstacle};
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::signal::{SignalFd, block_interrupts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Between two looks.
const PERIOD: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Applies the policy until a signal ends this command.
///
/// # Errors
/// What cannot be used of the policy at the beginning; what is in the way of the engine.
pub(super) fn run(enable: &Enable) -> Result<(), Error> {
    // As the first process of a container, this one would not be ended by a signal that it does not ask for.
    block_interrupts();
    let signals = SignalFd::interrupts().map_err(|error| {
        Error::new(
            FAILED,
            format!("cannot wait for signals: signalfd: {}", describe(&error)),
        )
    })?;
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
    /// How often the policy has changed.
    version: u64,
    /// What the policy is made of, to see whether it has changed.
    text: Vec<u8>,
    /// The same when it was looked at last.
    text_before: Vec<u8>,
    /// What was wrong with it when it was read last, if anything.
    mistake: Option<String>,
    cgroups: Vec<Watched<'a>>,
}

struct Watched<'a> {
    cgroup: &'a OsStr,
    place: Place,
    /// The version of the policy that was applied last.
    version: u64,
    /// What was in the way the last time, if anything.
    obstacle: Option<String>,
    /// Tells others that this command watches the policy.
    lock: Option<OwnedFd>,
}

/// What is known of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing is yet.
    New,
    /// It is not there.
    Missing,
    /// It has our policy.
    Ours { directory: PathBuf, id: u64, program: u32 },
    /// It has the policy of another command.
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
    /// Looks again and again, until a signal arrives.
    fn until_signalled(&mut self) -> Result<(), Error> {
        loop {
            self.read_again();
            for index in 0..self.cgroups.len() {
                self.look(index)?;
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

    /// Reads the policy again. A wrong one does not count.
    fn read_again(&mut self) {
        match self.enable.policy() {
            Ok(policy) => {
                self.mistake = None;
                let text = written(&policy);
                // A file that is just being written is not what it will be.
                let is_settled = text == self.text_before;
                self.text_before.clone_from(&text);
                if text == self.text || !is_settled {
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

    /// Looks at one cgroup, and applies the policy where it is not.
    fn look(&mut self, index: usize) -> Result<(), Error> {
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
            // What is kept of one that has gone has no effect.
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

    /// Applies the policy for one cgroup.
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
                // New connections have it all the same.
                self.enable
                    .set_existing(&self.tree, directory, &self.policy, interrupts)
                    .err()
            }
            Err(_) if is_signalled(self.signals, &NO_TIME) => return Ok(()),
            // At the beginning somebody is there to be told.
            Err(error) if is_first => return Err(error),
            // It may have gone meanwhile.
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

    /// A remark on the cgroup that has this name with `.slice`, or without: container managers name theirs in both ways,
    /// by their cgroup driver.
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

    /// Ends what is still this command's.
    ///
    /// # Errors
    /// What keeps a policy active.
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
                    // There is one lock for all of them.
                    if matches!(obstacle, Obstacle::Locked(_) | Obstacle::Interrupted) {
                        break;
                    }
                }
            }
        }
        Error::all(failed.into_iter()).map_or(Ok(()), Err)
    }
}

/// Whether a signal arrives within this time.
fn is_signalled(signals: &SignalFd, limit: &Timespec) -> bool {
    let mut arrived = [PollFd::new(signals, PollFlags::IN)];
    poll(&mut arrived, Some(limit)) == Ok(1)
}

/// The texts that a policy is made of.
fn written(policy: &Policy) -> Vec<u8> {
    let texts = policy.rules.iter().chain(&policy.config);
    let texts = texts.flat_map(|text| [text.name.as_bytes(), &text.text]);
    let texts: Vec<&[u8]> = texts.collect();
    texts.join(&0)
}

/// A line of the log, however long.
fn say(text: &str) {
    write_stderr(&format!("keepalive: {text}\n"));
}
