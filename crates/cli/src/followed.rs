//! The content of files that a command follows while it runs.

use crate::error::Error;
use crate::output::log;
use keepalive_engine::cgroup::refusal::Refusal;

/// What the files of a command contain.
pub(crate) struct Followed<T> {
    active: T,
    /// The content at the previous reading.
    seen: T,
    /// The mistake at the last reading, if any.
    mistake: Option<Refusal>,
}

impl<T: Clone + PartialEq> Followed<T> {
    pub(crate) fn new(active: T) -> Self {
        Self {
            seen: active.clone(),
            active,
            mistake: None,
        }
    }

    /// Takes the result of a reading. Returns whether the active content has changed. A file that is being written counts only
    /// once two readings agree. A mistake leaves the active content, and is reported once, followed by `stays`.
    pub(crate) fn update(&mut self, read: Result<T, Error>, stays: &str) -> bool {
        match read {
            Ok(read) => {
                self.mistake = None;
                let is_complete = read == self.seen;
                self.seen = read;
                let is_new = is_complete && self.seen != self.active;
                if is_new {
                    self.active.clone_from(&self.seen);
                }
                is_new
            }
            Err(error) => {
                let mistake = Refusal::new(&error.to_string());
                if self.mistake.as_ref().map(|known| &known.message) != Some(&mistake.message) {
                    error.report();
                    log(stays);
                    self.mistake = Some(mistake);
                }
                false
            }
        }
    }

    pub(crate) fn active(&self) -> &T {
        &self.active
    }

    /// Returns the mistake at the last reading, if any, with the time of the first reading that had it.
    pub(crate) fn mistake(&self) -> Option<&Refusal> {
        self.mistake.as_ref()
    }
}
