//! Computes medians and quartiles.

/// The middle half of a set of figures: first quartile, median, third quartile.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Returns the spread of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let quarter = |n: usize| sorted[(sorted.len() - 1) * n / 4];
        Self {
            low: quarter(1),
            median: quarter(2),
            high: quarter(3),
        }
    }
}

/// One figure for each round.
#[derive(Clone, Default)]
pub(crate) struct Series(pub(crate) Vec<f64>);

impl Series {
    pub(crate) fn median(&self) -> f64 {
        Spread::of(self.0.iter().copied()).median
    }

    /// Divides this series by another, round by round.
    pub(crate) fn over(&self, other: &Self) -> Spread {
        Spread::of(self.pairs(other).map(|(a, b)| a / b))
    }

    /// Returns the ratio of the medians, with the quartiles of the rounds' ratios. For differences so small that the
    /// median of the ratios would be skewed.
    pub(crate) fn median_over(&self, other: &Self) -> Spread {
        Spread {
            median: self.median() / other.median(),
            ..self.over(other)
        }
    }

    /// Subtracts another series from this one, round by round.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self(self.pairs(other).map(|(a, b)| a - b).collect())
    }

    fn pairs(&self, other: &Self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied().zip(other.0.iter().copied())
    }
}
