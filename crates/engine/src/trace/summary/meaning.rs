//! What endings mean, and which settings help.

use super::evidence::Evidence;
use super::idle_times::{IdleTimes, Range, near};
use crate::idle_timeout::{Manner, Observation, bound, contradictions, is_usable, presets, shortest_known, timings};
use crate::trace::ending::Cause;
use keepalive_policy::preset::DEFAULT;

/// What some of the endings of a group show. All times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// The path, or the peer, had forgotten connections.
    Forgotten(Forgotten),
    /// Connections were lost between two probes, although these came early enough.
    LostBetweenProbes(Range),
    /// Connections were lost, but as many survived longer idle times: this is no idle timeout.
    NoTimeout {
        /// The connections that were lost.
        lost: Range,
        /// The longest idle time that was survived.
        survived: f64,
    },
    /// The peer closed or reset connections after the same idle time.
    EndedByTimer(Timer),
    /// The peer did so after different idle times.
    EndedByPeer {
        /// FIN or RST.
        manner: Manner,
        /// The idle times.
        idle: Range,
    },
    /// Probes got no answer.
    DeadPeer {
        /// The number of connections.
        count: u64,
        /// The times before the first probe.
        first_probe: Range,
        /// Whether the first probe came late enough for the path to have forgotten the connection.
        may_be_forgotten: bool,
    },
}

/// Connections that path or peer had forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Forgotten {
    /// Idle times by cause: reset-on-send, reset-on-probe, timeout-on-send.
    pub lost: [(Cause, Option<Range>); 3],
    /// All of them.
    pub all: Range,
    /// The longest idle time below that was survived, as far as seen.
    pub survived: Option<f64>,
    /// Whether others survived nearly as long. Otherwise the timeout may be shorter than the shortest idle time: when a
    /// program sends is the program's choice.
    pub is_exact: bool,
    /// Whether several were lost after about the same idle time.
    pub is_regular: bool,
    /// The number of connections that were lost after far shorter idle times, or that survived longer ones.
    pub irregular: u64,
    /// The presets with such a timeout; empty if the losses are neither exact nor regular.
    pub presets: Vec<&'static str>,
}

/// A timer that ends idle connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Timer {
    /// FIN or RST.
    pub manner: Manner,
    /// The idle times.
    pub idle: Range,
    /// The number of connections that ended although the peer had answered probes. The timer does not count these then.
    pub despite_probes: u64,
    /// The presets with such a timeout.
    pub presets: Vec<&'static str>,
}

/// Settings that help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cure {
    /// Idle time in seconds, interval in seconds, probes.
    pub timings: (u32, u32, u32),
    /// Whether programs had keepalive on, with later probes: only mode cap replaces what they have set themselves.
    pub needs_cap: bool,
    /// A preset that helps.
    pub preset: Option<&'static str>,
}

/// So many connections must end after about the same idle time before that is a timeout.
const REGULAR: u64 = 3;

/// Returns what the endings mean.
pub(super) fn meanings(evidence: &Evidence) -> Vec<Meaning> {
    let forgotten = forgotten(evidence);
    let between = evidence.between_probes.map(Meaning::LostBetweenProbes);
    let closed = ended(Manner::Close, &evidence.closed, evidence.closed_despite_probes);
    let reset = ended(Manner::Reset, &evidence.reset, evidence.reset_despite_probes);
    let all = [forgotten, between, reset, dead_peer(evidence), closed];
    all.into_iter().flatten().collect()
}

fn forgotten(evidence: &Evidence) -> Option<Meaning> {
    let lost = evidence.lost();
    let start = lost.start()?;
    let observe = |range: &Range, survived: bool| Observation {
        idle: if survived { range.longest } else { range.shortest },
        survived,
        count: range.count,
    };
    let lost_ranges = lost.ranges().iter().filter(|range| range.shortest >= start);
    let survived_ranges = evidence.survived.ranges().iter();
    let observations: Vec<Observation> = lost_ranges
        .map(|range| observe(range, false))
        .chain(survived_ranges.map(|range| observe(range, true)))
        .collect();
    let bound = bound(&observations);
    let Some(all) = lost.from(bound) else {
        return Some(Meaning::NoTimeout {
            lost: lost.from(0.0)?,
            survived: evidence.survived.ranges().last()?.longest,
        });
    };
    let survived = evidence.survived.ranges().iter().map(|range| range.longest);
    let survived = survived.filter(|idle| *idle < bound).reduce(f64::max);
    let is_regular = lost.count_near(bound) >= REGULAR;
    let silent = evidence.timeout_on_send.count();
    let manner = if 2 * silent > lost.count() {
        Manner::Silence
    } else {
        Manner::Reset
    };
    let survived_near = survived.filter(|idle| near(*idle) >= bound);
    let is_exact = survived_near.is_some();
    let by_cause = |cause, times: &IdleTimes| (cause, times.from(bound));
    Some(Meaning::Forgotten(Forgotten {
        lost: [
            by_cause(Cause::ResetOnSend, &evidence.reset_on_send),
            by_cause(Cause::ResetOnProbe, &evidence.reset_on_probe),
            by_cause(Cause::TimeoutOnSend, &evidence.timeout_on_send),
        ],
        all,
        survived,
        is_exact,
        is_regular,
        irregular: contradictions(&observations, bound) + lost.count()
            - lost.from(start).map_or(0, |range| range.count),
        presets: if is_exact || is_regular {
            presets(survived_near.unwrap_or(bound), bound, manner)
        } else {
            Vec::new()
        },
    }))
}

/// Returns the meaning of ends that came from the peer.
fn ended(manner: Manner, times: &IdleTimes, despite_probes: u64) -> Option<Meaning> {
    let idle = times.from(0.0)?;
    let (start, count) = times.most_frequent()?;
    // A peer that closes connections when it has no more use for them does so at any time.
    if count < REGULAR || 2 * count < idle.count {
        return Some(Meaning::EndedByPeer { manner, idle });
    }
    let idle = Range {
        shortest: start,
        longest: times.longest_near(start),
        count,
    };
    Some(Meaning::EndedByTimer(Timer {
        manner,
        idle,
        despite_probes: despite_probes.min(count),
        presets: presets(start, start, manner),
    }))
}

fn dead_peer(evidence: &Evidence) -> Option<Meaning> {
    let first_probe = evidence.first_probe?;
    Some(Meaning::DeadPeer {
        count: evidence.causes[Cause::DeadPeer as usize].map_or(0, |range| range.count),
        may_be_forgotten: first_probe.longest >= f64::from(shortest_known())
            || evidence
                .lost()
                .start()
                .is_some_and(|start| start <= first_probe.longest),
        first_probe,
    })
}

/// Returns the settings that help, if any do as far as seen.
pub(super) fn cure(evidence: &Evidence, meanings: &[Meaning]) -> Option<Cure> {
    /// Where more than one in so many is lost between probes, probes are not what helps.
    const FEW: u64 = 10;
    let (timings, presets) = meanings.iter().find_map(|meaning| match meaning {
        Meaning::Forgotten(forgotten) => {
            let bound = forgotten.all.shortest;
            let ignoring = evidence.third_probes.count_below(bound);
            let is_known = forgotten.is_exact || !forgotten.presets.is_empty();
            (ignoring * FEW <= forgotten.all.count).then(|| (remedy(bound, is_known), &forgotten.presets))
        }
        Meaning::EndedByTimer(timer) => (timer.manner == Manner::Reset && timer.despite_probes == 0)
            .then(|| (remedy(timer.idle.shortest, true), &timer.presets)),
        _ => None,
    })?;
    Some(Cure {
        timings,
        needs_cap: evidence.has_own_settings,
        preset: presets.iter().copied().find(|name| is_usable(name)),
    })
}

/// Returns timings against a timeout. One that may be shorter than the shortest idle time gets at most those of preset
/// default, which suit every known middlebox.
fn remedy(timeout: f64, is_known: bool) -> (u32, u32, u32) {
    let (idle, interval, count) = timings(timeout);
    if is_known {
        return (idle, interval, count);
    }
    (
        idle.min(DEFAULT.idle.into()),
        interval.min(DEFAULT.interval.into()),
        count,
    )
}

/// Returns whether keepalive helps; `None` if that was not seen.
pub(super) fn helps(meanings: &[Meaning], cure: Option<&Cure>) -> Option<bool> {
    let mut answers = meanings.iter().filter_map(|meaning| match meaning {
        Meaning::Forgotten(_) => Some(cure.is_some()),
        Meaning::LostBetweenProbes(_) => Some(false),
        Meaning::EndedByTimer(timer) => (timer.despite_probes > 0).then_some(false),
        Meaning::DeadPeer { may_be_forgotten, .. } => (!may_be_forgotten).then_some(true),
        Meaning::NoTimeout { .. } | Meaning::EndedByPeer { .. } => None,
    });
    answers.next()
}
