//! Policies that belong to a container or a pod, and end with it.

use super::directory::directory;
use super::entry::{Entry, State, read_entries};
use super::lock::lock;
use super::pins::remove;
use super::{Interrupts, Obstacle};
use crate::policy::Owner;
use std::fs;

impl Entry {
    /// Returns what the policy belongs to, if it ends with that.
    pub fn owner(&self) -> Option<&Owner> {
        self.policy.as_ref()?.description.owner.as_ref()
    }
}

/// Ends the policies whose owner has ended, according to `has_ended`, which also gets the state of the policy. Returns the
/// names of their cgroups.
///
/// # Errors
/// The obstacle that keeps a policy from being removed.
pub fn disable_owned(
    has_ended: impl Fn(&Owner, State) -> bool,
    interrupts: Interrupts<'_>,
) -> Result<Vec<String>, Obstacle> {
    let Some(all) = directory()? else {
        return Ok(Vec::new());
    };
    let ended = |entry: &Entry| entry.owner().is_some_and(|owner| has_ended(owner, entry.state));
    // Most calls find none, and need no lock.
    if !read_entries(&all)?.iter().any(ended) {
        return Ok(Vec::new());
    }
    let Some(_lock) = lock(&all, interrupts)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in read_entries(&all)?.iter().filter(|entry| ended(entry)) {
        remove(&entry.directory)?;
        names.push(entry.name());
    }
    // The directory stays while it contains other entries.
    let _ = fs::remove_dir(&all);
    Ok(names)
}
