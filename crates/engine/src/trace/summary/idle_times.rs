//! Many idle times in little memory.

use crate::idle_timeout::LEEWAY;

/// Idle times in seconds, as ranges of neighbouring times in rising order.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleTimes(Vec<Range>);

/// Idle times that are close together, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The shortest of them.
    pub shortest: f64,
    /// The longest of them.
    pub longest: f64,
    /// How many there are.
    pub count: u64,
}

/// The limit of ranges. Beyond it the two closest become one.
const MOST: usize = 24;

/// Returns the end of the idle times that one timeout of `shortest` explains: its own precision, and that of whoever
/// ends the idle time.
pub(super) fn near(shortest: f64) -> f64 {
    shortest * (1.0 + LEEWAY) + 1.0
}

impl Range {
    pub(super) fn of(idle: f64) -> Self {
        Self {
            shortest: idle,
            longest: idle,
            count: 1,
        }
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            shortest: self.shortest.min(other.shortest),
            longest: self.longest.max(other.longest),
            count: self.count + other.count,
        }
    }
}

impl IdleTimes {
    pub(super) fn add(&mut self, idle: f64) {
        self.insert(Range::of(idle));
    }

    pub(super) fn append(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(*range);
        }
    }

    fn insert(&mut self, range: Range) {
        let place = self.0.partition_point(|other| other.shortest < range.shortest);
        self.0.insert(place, range);
        let joined = |index: usize| Some(self.0.get(index)?.join(*self.0.get(index + 1)?));
        let is_narrow = |range: &Range| range.longest <= range.shortest * (1.0 + LEEWAY);
        let neighbours = [place.checked_sub(1), Some(place)];
        let narrow = neighbours
            .into_iter()
            .flatten()
            .find(|index| joined(*index).is_some_and(|range| is_narrow(&range)));
        let closest = || {
            let ratio = |index: usize| joined(index).map_or(f64::INFINITY, |range| range.longest / range.shortest);
            (0..MOST).min_by(|one, other| ratio(*one).total_cmp(&ratio(*other)))
        };
        let index = narrow.or_else(|| (self.0.len() > MOST).then(closest).flatten());
        if let Some((index, range)) = index.and_then(|index| Some((index, joined(index)?))) {
            self.0[index] = range;
            self.0.remove(index + 1);
        }
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Returns all times from `shortest` on as one range; `None` if there are none.
    pub(super) fn from(&self, shortest: f64) -> Option<Range> {
        let ranges = self.0.iter().filter(|range| range.shortest >= shortest);
        ranges.copied().reduce(Range::join)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|range| range.count).sum()
    }

    /// Returns how many times one timeout of `shortest` explains.
    pub(super) fn count_near(&self, shortest: f64) -> u64 {
        let ranges = self.0.iter().filter(|range| range.shortest >= shortest);
        let explained = ranges.filter(|range| range.longest <= near(shortest));
        explained.map(|range| range.count).sum()
    }

    /// Returns how many times are below `limit`.
    pub(super) fn count_below(&self, limit: f64) -> u64 {
        let below = self.0.iter().filter(|range| range.longest < limit);
        below.map(|range| range.count).sum()
    }

    /// Returns the longest time that one timeout of `shortest` explains.
    pub(super) fn longest_near(&self, shortest: f64) -> f64 {
        let ranges = self.0.iter().map(|range| range.longest);
        ranges
            .filter(|longest| *longest <= near(shortest))
            .fold(shortest, f64::max)
    }

    /// Returns the shortest time at which a timeout may begin: the times before it are few and far shorter, and so
    /// have other causes. `None` if there are no times.
    pub(super) fn start(&self) -> Option<f64> {
        /// One in so many may have another cause.
        const FEW: u64 = 10;
        let (total, mut before) = (self.count(), 0);
        let mut start = self.0.first()?.shortest;
        for pair in self.0.windows(2) {
            before += pair[0].count;
            if before * FEW <= total && pair[1].shortest >= 2.0 * pair[0].longest {
                start = pair[1].shortest;
            }
        }
        Some(start)
    }

    /// Returns the shortest time of the timeout that explains most of the times, and how many it explains.
    pub(super) fn most_frequent(&self) -> Option<(f64, u64)> {
        let starts = self.0.iter().map(|range| range.shortest);
        starts
            .map(|start| (start, self.count_near(start)))
            .max_by_key(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(times: &[f64]) -> IdleTimes {
        let mut all = IdleTimes::default();
        for idle in times {
            all.add(*idle);
        }
        all
    }

    #[test]
    fn neighbouring_times_become_one_range() {
        let all = times(&[352.0, 350.0, 7.0, 351.0, 600.0]);
        let shown: Vec<_> = all
            .ranges()
            .iter()
            .map(|range| (range.shortest, range.longest, range.count))
            .collect();
        assert_eq!(shown, [(7.0, 7.0, 1), (350.0, 352.0, 3), (600.0, 600.0, 1)]);
        assert_eq!((all.count(), all.count_near(350.0)), (5, 3));
        assert_eq!(all.most_frequent(), Some((350.0, 3)));
    }

    #[test]
    fn a_million_different_times_take_as_much_memory_as_a_few() {
        let mut all = IdleTimes::default();
        let mut idle = 1.0;
        for step in 0..1_000_000_u32 {
            idle = (idle * 1.37) % 1e6 + f64::from(step % 7);
            all.add(idle);
        }
        assert!(all.ranges().len() <= MOST);
        assert_eq!(all.count(), 1_000_000);
        assert!(all.ranges().is_sorted_by(|one, other| one.shortest <= other.shortest));
    }

    #[test]
    fn few_far_shorter_times_have_another_cause() {
        let mut many = vec![6.0];
        many.extend([350.0; 9]);
        assert_eq!(times(&many).start(), Some(350.0));
        many.push(6.1);
        assert_eq!(times(&many).start(), Some(6.0), "two of eleven");
        assert_eq!(times(&[6.0, 350.0]).start(), Some(6.0));
        assert_eq!(times(&[]).start(), None);
    }
}
