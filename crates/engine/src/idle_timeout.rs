//! Infers the idle timeout of a path from the idle times that connections survived and did not survive, and the settings
//! and presets for it. All times are in seconds.

use keepalive_policy::SocketOption;
use keepalive_policy::preset::{self, PRESETS, Remedy, WhenIdle};

/// The relative tolerance of timeouts: timers on a path are no more exact.
pub const LEEWAY: f64 = 0.05;

/// Connections that were idle for the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The idle time.
    pub idle: f64,
    /// Whether path and peer still knew the connections.
    pub survived: bool,
    /// The number of connections.
    pub count: u64,
}

/// How an idle connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A packet gets no answer.
    Silence,
    /// RST.
    Reset,
    /// FIN.
    Close,
}

/// Returns the timeout that contradicts the fewest observations, since packets may be lost; infinite if no
/// connection was lost. Of several such timeouts, returns the longest.
pub fn bound(observations: &[Observation]) -> f64 {
    let lost = observations.iter().filter(|observation| !observation.survived);
    let mut bounds: Vec<f64> = lost.map(|observation| observation.idle).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.push(f64::INFINITY);
    bounds.reverse();
    bounds
        .into_iter()
        .min_by_key(|bound| contradictions(observations, *bound))
        .unwrap_or(f64::INFINITY)
}

/// Returns how many connections survived or were lost contrary to the timeout `bound`.
pub fn contradictions(observations: &[Observation], bound: f64) -> u64 {
    let contradicts = |seen: &&Observation| seen.survived == (seen.idle >= bound);
    observations.iter().filter(contradicts).map(|seen| seen.count).sum()
}

/// Returns timings (seconds, seconds, probes) that lose no connection on a path that forgets after `timeout`, even if
/// two consecutive probes are lost: idle is a third of the timeout, and the third probe comes well before its end.
pub fn timings(timeout: f64) -> (u32, u32, u32) {
    let part = |part: f64, option: SocketOption| {
        let most = option.row().kernel_default.built_in().unwrap_or(u32::MAX);
        let seconds = (timeout / part).clamp(1.0, f64::from(most));
        // The value is between 1 and `most`.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = seconds as u32;
        whole
    };
    (
        part(3.0, SocketOption::Idle),
        part(12.0, SocketOption::Interval),
        preset::DEFAULT.count.into(),
    )
}

/// Returns the presets whose timeout is between these idle times, with a tolerance of [`LEEWAY`], and that end a
/// connection in this manner.
pub fn presets(survived: f64, lost: f64, manner: Manner) -> Vec<&'static str> {
    let fits = |when: WhenIdle| match when {
        WhenIdle::Reset => manner != Manner::Silence,
        WhenIdle::Silence => manner == Manner::Silence,
        WhenIdle::Close => manner == Manner::Close,
        WhenIdle::Either | WhenIdle::Unknown => true,
    };
    let matching = PRESETS.iter().filter(|preset| {
        let is_near = preset.timeout.is_some_and(|timeout| {
            let timeout = f64::from(timeout);
            survived * (1.0 - LEEWAY) <= timeout && timeout <= lost * (1.0 + LEEWAY)
        });
        is_near && fits(preset.when_idle)
    });
    matching.map(|preset| preset.name).collect()
}

/// Returns whether the preset with this name can be used.
pub fn is_usable(name: &str) -> bool {
    let preset = PRESETS.iter().find(|preset| preset.name == name);
    preset.is_some_and(|preset| matches!(preset.remedy, Remedy::Settings(_)))
}

/// Returns the shortest idle timeout of the middleboxes against which keepalive helps.
pub fn shortest_known() -> u32 {
    let helped = PRESETS
        .iter()
        .filter(|preset| matches!(preset.remedy, Remedy::Settings(_)));
    helped.filter_map(|preset| preset.timeout).min().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_presets_that_help_can_be_used() {
        assert!(is_usable("aws-nlb") && is_usable("azure"));
        assert!(!is_usable("aws-elb") && !is_usable("no-such-preset"));
        assert_eq!(shortest_known(), 240);
    }

    #[test]
    fn the_timeout_contradicts_as_few_as_possible() {
        let seen = |idle, survived, count| Observation { idle, survived, count };
        let mut observations = vec![seen(350.0, false, 14), seen(300.0, true, 2)];
        assert_eq!((bound(&observations), contradictions(&observations, 350.0)), (350.0, 0));
        observations.push(seen(20.0, false, 1));
        assert_eq!((bound(&observations), contradictions(&observations, 350.0)), (350.0, 1));
        observations.push(seen(400.0, true, 20));
        assert!(bound(&observations).is_infinite());
    }
}
