//! The progress that `probe` shows on a terminal.

use keepalive_engine::timeline::brief;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// A line that is rewritten in the same place.
pub(super) struct Progress {
    is_terminal: bool,
    next: Instant,
}

impl Progress {
    pub(super) fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            next: Instant::now(),
        }
    }

    pub(super) fn round(&mut self, elapsed: f64, longest: f64, asked: usize, all: usize) {
        let time = |seconds| brief(super::milliseconds(seconds));
        self.line(&format!(
            "idle for {} of up to {}: {asked} of {all} connections asked",
            time(elapsed),
            time(longest)
        ));
    }

    pub(super) fn check(&mut self, elapsed: f64, time: f64) {
        let spell = |seconds| brief(super::milliseconds(seconds));
        self.line(&format!("checking the cure: {} of {}", spell(elapsed), spell(time)));
    }

    pub(super) fn watch(&mut self, quiet: f64, next: f64, lived: f64) {
        let spell = |seconds| brief(super::milliseconds(seconds));
        self.line(&format!(
            "idle for {}; a probe after {}; still known after {}",
            spell(quiet),
            spell(next),
            spell(lived)
        ));
    }

    /// Replaces the line, at most once a second.
    fn line(&mut self, text: &str) {
        if self.is_terminal && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_secs(1);
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
