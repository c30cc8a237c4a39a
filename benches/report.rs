//! Prints the table on standard output, at most 80 columns wide.

use std::fmt;

use crate::library::{Library, Role};
use crate::statistics::{Series, Spread};
pub(crate) use crate::target::Target;
use crate::target::Targets;

/// The unit of a section's figures.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// The series is in nanoseconds; figures are shown in microseconds.
    Microseconds,
    Nanoseconds,
    KiB,
}

/// A ratio, the name of its base, and its target.
pub(crate) struct Ratio {
    pub(crate) spread: Spread,
    pub(crate) to: String,
    pub(crate) target: Target,
}

impl Ratio {
    pub(crate) fn new(spread: Spread, to: impl Into<String>, target: Target) -> Self {
        Self {
            spread,
            to: to.into(),
            target,
        }
    }
}

pub(crate) fn header(cpu: usize) {
    println!(
        "The contestants take turns, slice by slice, on processor {cpu}. Figures are medians\n\
         over the rounds; each ratio is followed by its quartiles.\n"
    );
}

/// Prints a contestant's name, path and effect on a socket.
pub(crate) fn library(library: &Library, sets: &str) {
    if let Some(path) = &library.origin
        && !matches!(library.role, Role::Empty | Role::Leanest)
    {
        println!("{:<14} {sets}: {}", library.name, path.display());
    }
}

pub(crate) fn section(title: &str, method: &str) {
    println!("\n{title}\n  ({method})");
}

/// Prints rows and counts the targets.
#[derive(Default)]
pub(crate) struct Report {
    targets: Targets,
}

impl Report {
    /// Prints one contestant's figure, and its ratios to others.
    pub(crate) fn row(&mut self, name: &str, figure: Figure, ratios: &[Ratio]) {
        print!("  {name:<17}{figure:>9}");
        for (n, ratio) in ratios.iter().enumerate() {
            if n > 0 {
                print!("\n{:28}", "");
            }
            self.ratio(figure.unit, ratio);
        }
        println!();
    }

    fn ratio(&mut self, unit: Unit, ratio: &Ratio) {
        let digits = unit.ratio_digits();
        let Spread { low, median, high } = ratio.spread;
        let text = format!("{median:.digits$} × {} [{low:.digits$} {high:.digits$}]", ratio.to);
        match ratio.target {
            Target::None => print!("  {text}"),
            target => print!("  {text:<36}{}", self.targets.verdict(target, median, digits)),
        }
    }

    /// Prints the summary. Returns the number of missed targets.
    pub(crate) fn finish(self) -> usize {
        self.targets.finish()
    }
}

/// A number with its unit; a difference shows its sign.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    number: f64,
    unit: Unit,
    is_difference: bool,
}

impl Figure {
    /// Returns the figure of the series' median.
    pub(crate) fn of(series: &Series, unit: Unit) -> Self {
        Self {
            number: series.median(),
            unit,
            is_difference: false,
        }
    }

    /// Returns the figure of the median of differences.
    pub(crate) fn more(differences: &Series, unit: Unit) -> Self {
        Self {
            is_difference: true,
            ..Self::of(differences, unit)
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, digits, unit) = match self.unit {
            Unit::Microseconds => (self.number / 1000.0, 1, "µs"),
            Unit::Nanoseconds => (self.number, 0, "ns"),
            Unit::KiB => (self.number, 0, "KiB"),
        };
        let text = if self.is_difference {
            format!("{number:+.digits$} {unit}")
        } else {
            format!("{number:.digits$} {unit}")
        };
        f.pad(&text)
    }
}

impl Unit {
    fn ratio_digits(self) -> usize {
        match self {
            Self::Nanoseconds => 3,
            Self::Microseconds | Self::KiB => 2,
        }
    }
}
