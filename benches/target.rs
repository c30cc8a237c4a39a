//! Compares figures with their targets, and counts the missed targets of a bench.

/// The required range of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The figure is for information only.
    None,
    AtMost(f64),
    #[allow(dead_code, reason = "not every bench has a rate")]
    AtLeast(f64),
}

/// The numbers of met and missed targets.
#[derive(Default)]
pub(crate) struct Targets {
    met: usize,
    missed: usize,
}

impl Targets {
    /// Compares `figure` with its target and counts the result. Returns the text for the end of the figure's line,
    /// such as `  ≤ 1.20 ok` or `  ≤ 1.20 MISS`, with this number of decimal digits; an empty text without a target.
    pub(crate) fn verdict(&mut self, target: Target, figure: f64, digits: usize) -> String {
        let (sign, limit, is_met) = match target {
            Target::None => return String::new(),
            Target::AtMost(limit) => ('≤', limit, figure <= limit),
            Target::AtLeast(limit) => ('≥', limit, figure >= limit),
        };
        *(if is_met { &mut self.met } else { &mut self.missed }) += 1;
        let word = if is_met { "ok" } else { "MISS" };
        format!("  {sign} {limit:.digits$} {word}")
    }

    /// Prints the numbers. Returns the number of missed targets.
    pub(crate) fn finish(self) -> usize {
        println!("\ntargets: {} met, {} missed", self.met, self.missed);
        self.missed
    }
}
