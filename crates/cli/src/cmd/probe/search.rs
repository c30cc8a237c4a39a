//! Which idle times to try, and what the answers say together. All times are seconds.

/// What was found out about one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trial {
    /// How long it was idle before it was asked, or until it was closed.
    pub(super) idle: f64,
    pub(super) outcome: Outcome,
}

/// What became of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The probe was answered.
    Lived,
    /// Nothing answered.
    Silence,
    /// The probe was answered with a RST.
    Reset,
    /// A RST came of itself.
    ResetUnasked,
    /// A FIN came of itself.
    Closed,
}

impl Outcome {
    /// Whether this came of itself, so that its time is exact.
    pub(super) fn is_unasked(self) -> bool {
        matches!(self, Self::ResetUnasked | Self::Closed)
    }
}

/// The search.
#[derive(Debug)]
pub(super) struct Search {
    max: f64,
    precision: f64,
    parallel: u32,
    trials: Vec<Trial>,
    /// How many connections died that others outlived.
    pub(super) irregular: usize,
}

/// The shortest idle time: the kernel's for keepalive.
const SHORTEST: f64 = 1.0;
/// Timers on the way are no more exact.
const FINEST: f64 = 0.1;

impl Search {
    pub(super) fn new(max: f64, precision: f64, parallel: u32) -> Self {
        Self {
            max,
            precision,
            parallel,
            trials: Vec::new(),
            irregular: 0,
        }
    }

    /// The longest idle time that was survived, below the shortest that was not.
    pub(super) fn lived(&self) -> Option<f64> {
        let limit = self.died().map_or(f64::INFINITY, |died| died.idle);
        let lived = self
            .trials
            .iter()
            .filter(|trial| trial.outcome == Outcome::Lived && trial.idle < limit);
        lived.map(|trial| trial.idle).reduce(f64::max)
    }

    /// The shortest idle time that was not survived.
    pub(super) fn died(&self) -> Option<Trial> {
        let died = self.trials.iter().filter(|trial| trial.outcome != Outcome::Lived);
        died.copied()
            .reduce(|one, other| if other.idle < one.idle { other } else { one })
    }

    /// The idle times to try next, in rising order; `None` when the search is over. The last one of a later round is that
    /// which was not survived: it is tried again each time.
    pub(super) fn next(&self) -> Option<Vec<f64>> {
        let Some(died) = self.died() else {
            let is_done = self.lived().is_some_and(|lived| lived >= self.max);
            return (!is_done).then(|| self.first());
        };
        let lived = self.lived().unwrap_or(0.0);
        let width = died.idle - lived;
        if died.outcome.is_unasked() || width <= (self.precision * died.idle).max(FINEST) || died.idle <= SHORTEST {
            return None;
        }
        let steps = f64::from(self.parallel);
        let next = (1..=self.parallel).map(|step| lived + width * f64::from(step) / steps);
        Some(next.map(|idle| idle.max(SHORTEST)).collect())
    }

    /// Up to the longest, close together where times are short: as squares are.
    fn first(&self) -> Vec<f64> {
        let steps = f64::from(self.parallel);
        let time = |step: u32| self.max * (f64::from(step) / steps).powi(2);
        (1..=self.parallel).map(|step| time(step).max(SHORTEST)).collect()
    }

    /// Takes the answers of one round. One that is outlived in the same round, or when it is tried again, was no timeout:
    /// packets get lost.
    pub(super) fn record(&mut self, round: &[Trial]) {
        let outlived = round.iter().filter(|trial| trial.outcome == Outcome::Lived);
        let outlived = outlived.map(|trial| trial.idle).fold(0.0, f64::max);
        self.trials.extend(round);
        let before = self.trials.len();
        let is_contradicted = |trial: &Trial| trial.outcome == Outcome::Silence && trial.idle <= outlived;
        self.trials.retain(|trial| !is_contradicted(trial));
        self.irregular += before - self.trials.len();
    }

    /// How many rounds there are at most.
    pub(super) fn rounds(&self) -> f64 {
        let (mut rounds, mut width) = (1.0, self.widest());
        while width > self.precision {
            rounds += 1.0;
            width /= f64::from(self.parallel);
        }
        rounds
    }

    /// The part of a time that lies between it and the one before, in the first round.
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

    /// Searches on a path that forgets after `timeout`; gives the bounds and the seconds that it takes.
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
    fn what_others_outlive_was_a_lost_packet() {
        let mut search = Search::new(60.0, 0.05, 4);
        let trial = |idle, outcome| Trial { idle, outcome };
        search.record(&[trial(10.0, Outcome::Silence), trial(20.0, Outcome::Lived)]);
        assert_eq!((search.died(), search.lived(), search.irregular), (None, Some(20.0), 1));
        search.record(&[trial(30.0, Outcome::Reset)]);
        assert_eq!(search.died(), Some(trial(30.0, Outcome::Reset)));
    }

    #[test]
    fn what_comes_of_itself_ends_the_search() {
        let mut search = Search::new(60.0, 0.05, 4);
        search.record(&[Trial {
            idle: 5.0,
            outcome: Outcome::Closed,
        }]);
        assert_eq!(search.next(), None);
    }
}
