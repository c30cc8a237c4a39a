//! Chooses the idle times to try, and combines the results. All times are in seconds.

use keepalive_engine::idle_timeout::{self, Manner, Observation};

/// The result for one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trial {
    /// The idle time before the test, or until the connection was closed.
    pub(super) idle: f64,
    pub(super) outcome: Outcome,
}

/// What happened to an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The probe was answered.
    Lived,
    /// The probe got no answer.
    Silence,
    /// The answer to the probe was a RST.
    Reset,
    /// A RST arrived without a probe.
    ResetUnasked,
    /// A FIN arrived without a probe.
    Closed,
}

impl Outcome {
    /// Returns whether the end came without a probe, so that its time is exact.
    pub(super) fn is_unasked(self) -> bool {
        matches!(self, Self::ResetUnasked | Self::Closed)
    }

    /// Returns how the connection ended; `None` if it survived.
    pub(super) fn manner(self) -> Option<Manner> {
        match self {
            Self::Lived => None,
            Self::Silence => Some(Manner::Silence),
            Self::Reset | Self::ResetUnasked => Some(Manner::Reset),
            Self::Closed => Some(Manner::Close),
        }
    }
}

/// The state of the search.
#[derive(Debug)]
pub(super) struct Search {
    max: f64,
    precision: f64,
    parallel: u32,
    trials: Vec<Trial>,
    rounds: u32,
    /// The number of rounds in which connections ended without a probe.
    unasked: u32,
}

/// The shortest idle time, which is the kernel's minimum for keepalive.
const SHORTEST: f64 = 1.0;
/// The limit of rounds, for paths with contradictory results.
const MOST_ROUNDS: u32 = 10;
/// The finest precision: timers on the path are no more exact.
const FINEST: f64 = 0.1;

impl Search {
    pub(super) fn new(max: f64, precision: f64, parallel: u32) -> Self {
        Self {
            max,
            precision,
            parallel,
            trials: Vec::new(),
            rounds: 0,
            unasked: 0,
        }
    }

    fn observations(&self) -> Vec<Observation> {
        let observation = |trial: &Trial| Observation {
            idle: trial.idle,
            survived: trial.outcome == Outcome::Lived,
            count: 1,
        };
        self.trials.iter().map(observation).collect()
    }

    /// Returns the timeout that contradicts the fewest results; infinite if no connection died.
    fn bound(&self) -> f64 {
        idle_timeout::bound(&self.observations())
    }

    /// Returns how many results contradict the timeout.
    pub(super) fn irregular(&self) -> u64 {
        idle_timeout::contradictions(&self.observations(), self.bound())
    }

    /// Returns the longest idle time that was survived, below the shortest that was not.
    pub(super) fn lived(&self) -> Option<f64> {
        let bound = self.bound();
        let lived = self
            .trials
            .iter()
            .filter(|trial| trial.outcome == Outcome::Lived && trial.idle < bound);
        lived.map(|trial| trial.idle).reduce(f64::max)
    }

    /// Returns the shortest idle time that was not survived.
    pub(super) fn died(&self) -> Option<Trial> {
        let bound = self.bound();
        let died = self
            .trials
            .iter()
            .filter(|trial| trial.outcome != Outcome::Lived && trial.idle >= bound);
        died.copied()
            .reduce(|one, other| if other.idle < one.idle { other } else { one })
    }

    /// Returns the idle times to try next, in rising order; `None` if the search is complete. The last time
    /// of a later round is the one that was not survived: each round tries it again.
    pub(super) fn next(&self) -> Option<Vec<f64>> {
        if self.rounds >= MOST_ROUNDS {
            return None;
        }
        let Some(died) = self.died() else {
            let lived = self.lived().unwrap_or(0.0);
            let longer: Vec<f64> = self.first().into_iter().filter(|idle| *idle > lived).collect();
            return (!longer.is_empty() && lived < self.max).then_some(longer);
        };
        if died.outcome.is_unasked() {
            // What ends all connections once, such as a restart, is no timeout: another one must end at this age too.
            return (self.unasked < 2).then(|| vec![died.idle.mul_add(1.25, 1.0)]);
        }
        let lived = self.lived().unwrap_or(0.0);
        let width = died.idle - lived;
        if width <= (self.precision * died.idle).max(FINEST) || died.idle <= SHORTEST {
            return None;
        }
        let steps = f64::from(self.parallel);
        let next = (1..=self.parallel).map(|step| lived + width * f64::from(step) / steps);
        Some(next.map(|idle| idle.max(SHORTEST)).collect())
    }

    /// Returns times up to the longest, as squares, so that short times are close together.
    fn first(&self) -> Vec<f64> {
        let steps = f64::from(self.parallel);
        let time = |step: u32| self.max * (f64::from(step) / steps).powi(2);
        (1..=self.parallel).map(|step| time(step).max(SHORTEST)).collect()
    }

    /// Records the results of one round. Connections that ended without a probe count as one, since a single event may end
    /// them all.
    pub(super) fn record(&mut self, round: &[Trial]) {
        let (unasked, asked): (Vec<Trial>, Vec<Trial>) = round.iter().partition(|trial| trial.outcome.is_unasked());
        self.trials.extend(asked);
        let first = unasked.into_iter().min_by(|one, other| one.idle.total_cmp(&other.idle));
        self.unasked += u32::from(first.is_some());
        self.trials.extend(first);
        self.rounds += 1;
    }

    /// Returns the maximum number of rounds.
    pub(super) fn rounds(&self) -> f64 {
        let (mut rounds, mut width) = (1.0, self.widest());
        while width > self.precision {
            rounds += 1.0;
            width /= f64::from(self.parallel);
        }
        rounds
    }

    /// Returns the largest relative distance between two consecutive times in the first round.
    fn widest(&self) -> f64 {
        match self.first().as_slice() {
            [.., before, last] => 1.0 - before / last,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a path that forgets after `timeout`; returns the bounds and the duration in seconds.
    fn find(timeout: f64, max: f64, parallel: u32) -> (Option<f64>, Option<f64>, f64) {
        let mut search = Search::new(max, 0.05, parallel);
        let mut taken = 0.0;
        while let Some(times) = search.next() {
            assert!(times.is_sorted() && times.iter().all(|idle| *idle >= 1.0), "{times:?}");
            let mut round = Vec::new();
            for idle in times {
                let outcome = if idle < timeout {
                    Outcome::Lived
                } else {
                    Outcome::Silence
                };
                round.push(Trial { idle, outcome });
                if outcome == Outcome::Silence {
                    break;
                }
            }
            taken += round.last().expect("a round has times").idle;
            search.record(&round);
        }
        (search.lived(), search.died().map(|trial| trial.idle), taken)
    }

    #[test]
    fn timeouts_are_found_within_the_precision() {
        for timeout in [3.0, 7.0, 20.0, 60.0, 240.0, 350.0, 900.0, 1190.0] {
            let (lived, died, _) = find(timeout, 1200.0, 12);
            let (lived, died) = (lived.expect("some live"), died.expect("some die"));
            assert!(lived < timeout && timeout <= died, "{timeout}: {lived} {died}");
            assert!(
                died - lived <= (0.05 * died).max(0.1) + 1e-9,
                "{timeout}: {lived} {died}"
            );
        }
    }

    #[test]
    fn the_load_balancers_350_s_take_twelve_minutes() {
        let (_, _, taken) = find(350.0, 1200.0, 12);
        assert!((650.0..800.0).contains(&taken), "{taken}");
    }

    #[test]
    fn where_nothing_dies_it_ends_at_the_longest() {
        assert_eq!(find(f64::INFINITY, 60.0, 4), (Some(60.0), None, 60.0));
    }

    #[test]
    fn single_loss_is_a_lost_packet() {
        let mut search = Search::new(60.0, 0.05, 4);
        let trial = |idle, outcome| Trial { idle, outcome };
        search.record(&[trial(10.0, Outcome::Silence), trial(20.0, Outcome::Lived)]);
        assert_eq!(
            (search.died(), search.lived(), search.irregular()),
            (None, Some(20.0), 1)
        );
        search.record(&[trial(30.0, Outcome::Reset)]);
        assert_eq!(search.died(), Some(trial(30.0, Outcome::Reset)));
    }

    #[test]
    fn one_that_seems_to_live_refutes_no_five_that_died() {
        let mut search = Search::new(60.0, 0.05, 4);
        let trial = |idle, outcome| Trial { idle, outcome };
        search.record(&[trial(6.0, Outcome::Lived), trial(8.0, Outcome::Lived)]);
        search.record(&[7.0, 7.2, 7.4, 7.6].map(|idle| trial(idle, Outcome::Silence)));
        assert_eq!((search.lived(), search.irregular()), (Some(6.0), 1));
        assert_eq!(search.died(), Some(trial(7.0, Outcome::Silence)));
    }

    #[test]
    fn an_end_without_a_probe_is_tried_again() {
        let trial = |idle, outcome| Trial { idle, outcome };
        let closed = [5.0, 5.1, 5.2].map(|idle| trial(idle, Outcome::Closed));
        let mut search = Search::new(60.0, 0.05, 4);
        search.record(&closed);
        assert_eq!(search.next(), Some(vec![7.25]));
        search.record(&closed[..1]);
        assert_eq!(search.next(), None);
        assert_eq!(search.died(), Some(trial(5.0, Outcome::Closed)));
    }

    #[test]
    fn a_restart_of_the_server_is_no_timeout() {
        let trial = |idle, outcome| Trial { idle, outcome };
        let mut search = Search::new(60.0, 0.05, 4);
        search.record(&[5.0, 5.1, 5.2].map(|idle| trial(idle, Outcome::Closed)));
        search.record(&[trial(7.25, Outcome::Lived)]);
        assert_eq!((search.died(), search.irregular()), (None, 1));
        assert_eq!(search.next(), Some(vec![15.0, 33.75, 60.0]));
    }
}
