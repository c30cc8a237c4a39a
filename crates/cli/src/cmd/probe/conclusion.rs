//! What follows from a measurement.

use super::search::{Outcome, Search};
use keepalive_policy::preset::{self, PRESETS, Remedy, WhenIdle};
use keepalive_policy::{Settings, SocketOption};

/// What was found, and what helps.
#[derive(Debug)]
pub(super) struct Conclusion {
    /// Seconds.
    pub(super) lived: Option<f64>,
    /// Seconds.
    pub(super) died: Option<f64>,
    pub(super) how: Option<Outcome>,
    /// Connections that died though others outlived them.
    pub(super) irregular: usize,
    /// Idle and interval in seconds, probes; absent where keepalive cannot help.
    pub(super) timings: Option<(u32, u32, u32)>,
    /// Presets with such a timeout.
    pub(super) presets: Vec<&'static str>,
    /// Whether a connection with these timings outlived the timeout.
    pub(super) verified: Option<bool>,
    /// Whether a connection with a probe each second was reset too.
    pub(super) is_refuted: bool,
}

impl Conclusion {
    pub(super) fn new(search: &Search, max: f64) -> Self {
        let died = search.died();
        let how = died.map(|trial| trial.outcome);
        let lived = search.lived();
        let timings = match (how, lived.or(died.map(|trial| trial.idle))) {
            (Some(Outcome::Closed), _) | (_, None) => None,
            // The measurement is not over.
            (None, Some(lived)) if lived < max => None,
            // Nothing is forgotten as far as was tried; what outlives every common middlebox is short enough beyond that.
            (None, Some(lived)) => Some(timings(lived).min(EVERYWHERE)),
            (Some(_), Some(timeout)) => Some(timings(timeout)),
        };
        Self {
            presets: died.map_or_else(Vec::new, |trial| {
                presets(lived.unwrap_or(0.0), trial.idle, trial.outcome)
            }),
            lived,
            died: died.map(|trial| trial.idle),
            how,
            irregular: search.irregular(),
            timings,
            verified: None,
            is_refuted: false,
        }
    }

    /// Notes that a connection was reset after `age` seconds though a probe passed over it each second: where idle ones are
    /// reset after the same time, whoever does it does not count probes, and no path that forgets is the reason.
    pub(super) fn refute(&mut self, age: f64) {
        let is_same = self.died.is_some_and(|died| age <= proof(died));
        if is_same && matches!(self.how, Some(Outcome::Reset | Outcome::ResetUnasked)) {
            self.is_refuted = true;
            self.check(false);
        }
    }

    /// Notes whether the timings keep a connection. Those that do not are of no use.
    pub(super) fn check(&mut self, is_kept: bool) {
        self.verified = Some(is_kept);
        self.timings = self.timings.filter(|_| is_kept);
        if !is_kept {
            self.presets.clear();
        }
    }

    /// The timings that are to be checked: there must be something that they cure.
    pub(super) fn to_verify(&self) -> Option<(u32, u32, u32)> {
        self.timings.filter(|_| self.died.is_some())
    }
}

/// Seconds that a connection must outlive to prove the cure of a timeout.
pub(super) fn proof(died: f64) -> f64 {
    1.25 * died + 2.0
}

/// Seconds, seconds and probes that outlive every common middlebox.
const EVERYWHERE: (u32, u32, u32) = (
    preset::DEFAULT.idle as u32,
    preset::DEFAULT.interval as u32,
    preset::DEFAULT.count as u32,
);

/// Timings that lose no connection on a path that forgets after `timeout` seconds, though two probes in a row are lost: idle a
/// third of it, and
/// the third probe well before its end.
fn timings(timeout: f64) -> (u32, u32, u32) {
    let (_, _, count) = EVERYWHERE;
    let part = |part: f64, option: SocketOption| {
        let most = option.row().kernel_default.built_in().unwrap_or(u32::MAX);
        let seconds = (timeout / part).clamp(1.0, f64::from(most));
        // It is between 1 and `most`.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = seconds as u32;
        whole
    };
    (part(3.0, SocketOption::Idle), part(12.0, SocketOption::Interval), count)
}

/// The presets whose timeout is between these, a twentieth more or less, and that end a connection so.
fn presets(lived: f64, died: f64, how: Outcome) -> Vec<&'static str> {
    const LEEWAY: f64 = 0.05;
    let fits = |when: WhenIdle| match when {
        WhenIdle::Reset => how != Outcome::Silence,
        WhenIdle::Silence => how == Outcome::Silence,
        WhenIdle::Close => how == Outcome::Closed,
        WhenIdle::Either | WhenIdle::Unknown => true,
    };
    let matching = PRESETS.iter().filter(|preset| {
        let is_near = preset.timeout.is_some_and(|timeout| {
            let timeout = f64::from(timeout);
            lived * (1.0 - LEEWAY) <= timeout && timeout <= died * (1.0 + LEEWAY)
        });
        is_near && fits(preset.when_idle)
    });
    matching.map(|preset| preset.name).collect()
}

/// Whether the preset of this name can be used.
pub(super) fn is_usable(name: &str) -> bool {
    let preset = PRESETS.iter().find(|preset| preset.name == name);
    preset.is_some_and(|preset| matches!(preset.remedy, Remedy::Settings(_)))
}

/// As settings, for a rule.
pub(super) fn settings((idle, interval, count): (u32, u32, u32)) -> Settings {
    Settings::timings(idle, interval, count)
}

#[cfg(test)]
mod tests;
