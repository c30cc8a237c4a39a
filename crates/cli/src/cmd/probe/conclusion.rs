//! The conclusion from a measurement.

use super::path::Probed;
use super::search::{Outcome, Search};
use keepalive_engine::idle_timeout::{presets, timings};
use keepalive_policy::Settings;

/// The result, and the remedy.
#[derive(Debug)]
pub(super) struct Conclusion {
    /// The longest idle time that connections survived, in seconds.
    pub(super) lived: Option<f64>,
    /// The shortest idle time that connections did not survive, in seconds.
    pub(super) died: Option<f64>,
    pub(super) how: Option<Outcome>,
    /// The number of connections that died although others with longer idle times survived.
    pub(super) irregular: u64,
    /// Idle time and interval in seconds, and probes; absent if keepalive cannot help.
    pub(super) timings: Option<(u32, u32, u32)>,
    /// The presets with such a timeout.
    pub(super) presets: Vec<&'static str>,
    /// Whether a connection with these timings survived the timeout.
    pub(super) verified: Option<bool>,
    /// The age in seconds at which a connection with a probe each second was ended too: the timer does not count probes.
    pub(super) probed_died: Option<f64>,
}

impl Conclusion {
    pub(super) fn new(search: &Search) -> Self {
        let died = search.died();
        let how = died.map(|trial| trial.outcome);
        let lived = search.lived();
        // Where no idle time was too long, no settings follow from the measurement.
        let timings = how.and_then(|_| lived.or(died.map(|trial| trial.idle))).map(timings);
        Self {
            presets: died
                .and_then(|trial| Some(presets(lived.unwrap_or(0.0), trial.idle, trial.outcome.manner()?)))
                .unwrap_or_default(),
            lived,
            died: died.map(|trial| trial.idle),
            how,
            irregular: search.irregular(),
            timings,
            verified: None,
            probed_died: None,
        }
    }

    /// Returns the conclusion from one connection that survived `lived` seconds and died after `died` as `how`.
    pub(super) fn of_one(lived: Option<f64>, died: Option<f64>, how: Option<Outcome>) -> Self {
        let is_forgotten = matches!(how, Some(Outcome::Silence | Outcome::Reset));
        let died_as = died.zip(how);
        Self {
            presets: died_as
                .and_then(|(died, how)| Some(presets(lived.unwrap_or(0.0), died, how.manner()?)))
                .unwrap_or_default(),
            timings: lived.filter(|_| is_forgotten).map(timings),
            lived,
            died,
            how,
            irregular: 0,
            verified: None,
            probed_died: None,
        }
    }

    /// Discards the settings and the presets, for which there is no evidence.
    pub(super) fn disclaim(&mut self) {
        self.timings = None;
        self.presets.clear();
    }

    /// Compares the idle connections with those that carried a probe each second. If the peer ended these at the same
    /// age, the timer does not count probes, and the path is not the cause.
    pub(super) fn compare(&mut self, probed: Probed) {
        let (Some(died), Some(how)) = (self.died, self.how) else {
            return;
        };
        let ended_at = probed.ended_at.filter(|age| *age <= proof(died));
        match how {
            Outcome::Reset | Outcome::ResetUnasked if ended_at.is_some() => {
                self.probed_died = ended_at;
                self.check(false);
            }
            Outcome::Closed if ended_at.is_some() => {
                self.probed_died = ended_at;
                self.timings = None;
            }
            // It is not known whether probes count.
            Outcome::Closed if probed.lived_for < died => self.timings = None,
            _ => {}
        }
    }

    /// Returns whether keepalive helps; `None` if the measurement does not show it.
    pub(super) fn helps(&self) -> Option<bool> {
        match (self.how?, self.verified) {
            _ if self.probed_died.is_some() => None,
            (_, Some(is_kept)) => Some(is_kept),
            (Outcome::Closed, None) if self.timings.is_none() => None,
            (_, None) => Some(true),
        }
    }

    /// Records whether the timings keep a connection alive. Timings that do not are discarded.
    pub(super) fn check(&mut self, is_kept: bool) {
        self.verified = Some(is_kept);
        self.timings = self.timings.filter(|_| is_kept);
        if !is_kept {
            self.presets.clear();
        }
    }

    /// Returns the timings to check, if there is a timeout that they remedy.
    pub(super) fn to_verify(&self) -> Option<(u32, u32, u32)> {
        self.timings.filter(|_| self.died.is_some())
    }
}

/// Returns the seconds that a connection must survive to prove a remedy for a timeout.
pub(super) fn proof(died: f64) -> f64 {
    1.25 * died + 2.0
}

/// Returns the timings as settings, for a rule.
pub(super) fn settings((idle, interval, count): (u32, u32, u32)) -> Settings {
    Settings::timings(idle, interval, count)
}

#[cfg(test)]
mod tests;
