//! `keepalive presets`: lists the middleboxes with known timeouts, and the remedy for each.

use crate::error::Error;
use crate::help::{Json, Notes};
use crate::json::pretty;
use crate::output::{WIDTH, print, wrap};
use clap::Args;
use keepalive_policy::preset::{PRESETS, Preset, Remedy, Timings, WhenIdle};
use serde::Serialize;
use std::fmt::Write as _;

/// List the presets: known middleboxes, their timeouts, and settings that help
#[derive(Debug, Args)]
pub(crate) struct Presets {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) const NOTES: Notes = Notes {
    command: "presets",
    paragraphs: &[
        "Use a preset with --preset NAME, or with preset=NAME in a rule. A timeout is the middlebox's default: if yours \
         differs, use --idle, --interval and --count. A date is that of the source, or of the day on which it was read.",
    ],
    json: Some(Json {
        heading: "The JSON objects have",
        fields: &[
            ("name", "string", ""),
            ("what", "string", "the middlebox"),
            (
                "timeout_s",
                "number",
                "after which it forgets an idle connection, seconds",
            ),
            (
                "when_idle",
                "string",
                "how: rst, silence, silence-or-rst, close or unknown",
            ),
            ("idle_s", "number", "settings that help: idle time, seconds"),
            ("interval_s", "number", "seconds"),
            ("count", "number", ""),
            ("useless", "string", "why keepalive cannot help"),
            ("source", "string", "URL"),
            ("date", "string", "of the source"),
        ],
        null: "Null means unknown, or does not apply.",
    }),
    examples: &[(
        "A table; JSON for another program:",
        &["keepalive presets", "keepalive presets --json"],
    )],
    ..Notes::DEFAULT
};

/// Prints the presets.
///
/// # Errors
/// The output could not be written.
pub(crate) fn run(presets: &Presets) -> Result<(), Error> {
    print(&if presets.json { json() } else { table() })
}

/// A preset as a JSON object.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    what: &'static str,
    timeout_s: Option<u32>,
    when_idle: &'static str,
    idle_s: Option<u16>,
    interval_s: Option<u8>,
    count: Option<u8>,
    useless: Option<&'static str>,
    source: &'static str,
    date: &'static str,
}

impl From<&Preset> for Entry {
    fn from(preset: &Preset) -> Self {
        let (timings, useless) = parts(preset.remedy);
        Self {
            name: preset.name,
            what: preset.what,
            timeout_s: preset.timeout,
            when_idle: match preset.when_idle {
                WhenIdle::Reset => "rst",
                WhenIdle::Silence => "silence",
                WhenIdle::Either => "silence-or-rst",
                WhenIdle::Close => "close",
                WhenIdle::Unknown => "unknown",
            },
            idle_s: timings.map(|timings| timings.idle),
            interval_s: timings.map(|timings| timings.interval),
            count: timings.map(|timings| timings.count),
            useless,
            source: preset.source,
            date: preset.date,
        }
    }
}

fn json() -> String {
    let entries = PRESETS.each_ref().map(Entry::from);
    pretty(&entries)
}

fn table() -> String {
    let mut text = String::new();
    row(
        &mut text,
        ["PRESET", "TIMEOUT", "THEN", "IDLE", "INTERVAL", "COUNT", "DATE"],
    );
    for preset in &PRESETS {
        if let (Some(timings), _) = parts(preset.remedy) {
            entry(&mut text, preset, Some(timings), preset.what);
        }
    }
    text.push_str("\nKeepalive cannot help with these; they are refused:\n\n");
    row(&mut text, ["PRESET", "TIMEOUT", "THEN", "", "", "", "DATE"]);
    for preset in &PRESETS {
        if let (_, Some(why)) = parts(preset.remedy) {
            entry(&mut text, preset, None, &format!("{}: {why}", preset.what));
        }
    }
    text.push_str("\nUse one with --preset NAME, or with preset=NAME in a rule.\n");
    text
}

/// Appends one preset: its numbers, its description, and the source of its timeout.
fn entry(text: &mut String, preset: &Preset, timings: Option<Timings>, what: &str) {
    let seconds = |number: Option<u32>| number.map_or_else(String::new, |number| format!("{number}s"));
    row(
        text,
        [
            preset.name,
            &preset
                .timeout
                .map_or_else(|| String::from("-"), |timeout| format!("{timeout}s")),
            preset.when_idle.describe(),
            &seconds(timings.map(|timings| timings.idle.into())),
            &seconds(timings.map(|timings| timings.interval.into())),
            &timings.map_or_else(String::new, |timings| timings.count.to_string()),
            preset.date,
        ],
    );
    let source = preset.source.strip_prefix("https://").unwrap_or(preset.source);
    text.push_str(&wrap(&format!("  {what}"), WIDTH, 2));
    text.push_str(&wrap(&format!("  {source}"), WIDTH, 2));
}

fn row(text: &mut String, [name, timeout, then, idle, interval, count, date]: [&str; 7]) {
    let _ = writeln!(
        text,
        "{name:<14}  {timeout:>7}  {then:<20}  {idle:>4}  {interval:>8}  {count:>5}  {date}"
    );
}

/// Returns one of the two kinds of remedies.
fn parts(remedy: Remedy<Timings, &'static str>) -> (Option<Timings>, Option<&'static str>) {
    match remedy {
        Remedy::Settings(timings) => (Some(timings), None),
        Remedy::Useless(why) => (None, Some(why)),
    }
}
