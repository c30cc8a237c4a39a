//! A curve: figures that grow with the number of something, as a table and as an SVG file.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::target::{Target, Targets};

/// The figures of several ways to do the same.
pub(crate) struct Curve {
    /// The name of the file, without its end.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What is counted.
    pub(crate) counted: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) counts: Vec<usize>,
    /// Each with a figure for each count; NaN if it was not measured.
    pub(crate) series: Vec<(&'static str, Vec<f64>)>,
}

/// The greatest growth between the last two counts that counts as linear, as an exponent: noise and caches add some.
const LINEAR: f64 = 1.15;

impl Curve {
    /// Prints the table. The last column is the exponent of the growth between the last two counts.
    pub(crate) fn print(&self, targets: &mut Targets) {
        println!("\n{} ({})", self.title, self.unit);
        print!("  {:<20}", self.counted);
        for count in &self.counts {
            print!("{count:>9}");
        }
        println!("   growth");
        for (name, figures) in &self.series {
            print!("  {name:<20}");
            for figure in figures {
                print!("{:>9}", shown(*figure));
            }
            let is_ours = name.starts_with("keepalive");
            match self.growth(figures) {
                Some(growth) if is_ours => {
                    println!("   {growth:.2}{}", targets.verdict(Target::AtMost(LINEAR), growth, 2));
                }
                Some(growth) => println!("   {growth:.2}"),
                None => println!(),
            }
        }
    }

    fn growth(&self, figures: &[f64]) -> Option<f64> {
        let (last, before) = (self.counts.len().checked_sub(1)?, self.counts.len().checked_sub(2)?);
        let growth = (figures[last] / figures[before]).log(ratio(self.counts[last], self.counts[before]));
        growth.is_finite().then_some(growth)
    }

    /// Writes `NAME.svg` into a directory.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join(self.name).with_extension("svg"), self.svg())
    }

    fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|(_, figures)| figures).copied();
        let finite = || all().filter(|figure| figure.is_finite() && *figure > 0.0);
        let lowest = finite().fold(f64::MAX, f64::min).log10().floor();
        let highest = finite()
            .fold(f64::MIN_POSITIVE, f64::max)
            .log10()
            .ceil()
            .max(lowest + 1.0);
        let steps = self.counts.len().saturating_sub(1).max(1);
        let x = |place: usize| LEFT + (RIGHT - LEFT) * ratio_of(place, steps);
        let y = |figure: f64| BOTTOM - (BOTTOM - TOP) * (figure.log10() - lowest) / (highest - lowest);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
            self.title
        );
        let mut decade = lowest;
        while decade <= highest {
            let (figure, at) = (10_f64.powf(decade), y(10_f64.powf(decade)));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{figure} {}</text>",
                LEFT - 6.0,
                at + 4.0,
                self.unit
            );
            decade += 1.0;
        }
        for (place, count) in self.counts.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
                x(place),
                BOTTOM + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 36.0,
            self.counted
        );
        for (place, (name, figures)) in self.series.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let points = figures.iter().enumerate().filter(|(_, figure)| figure.is_finite());
            let points: Vec<String> = points
                .map(|(place, figure)| format!("{:.1},{:.1}", x(place), y(*figure)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.join(" ")
            );
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
                RIGHT + 10.0,
                TOP + 16.0 * ratio_of(place, 1)
            );
        }
        svg + "</svg>\n"
    }
}

const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 500.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 268.0;

/// Colours that differ in lightness, too (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7"];

/// Returns a figure with three digits.
fn shown(figure: f64) -> String {
    match figure {
        figure if figure.is_nan() => String::from("-"),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

fn ratio(count: usize, other: usize) -> f64 {
    ratio_of(count, other.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn ratio_of(count: usize, other: usize) -> f64 {
    count as f64 / other as f64
}
