//! The summary as text and JSON.

mod sentences;

use crate::json::line;
use crate::output::{WIDTH, display_width, wrap};
use keepalive_engine::trace::ending::{Cause, Direction};
use keepalive_engine::trace::summary::{Cure, Group, Meaning, Range, Report};
use keepalive_policy::protocol::CONFIG;
use sentences::sentence;
use serde::Serialize;
use std::fmt::Write as _;

/// The summary as a JSON object.
#[derive(Serialize)]
struct Object {
    summary: Vec<GroupEntry>,
    ended: u64,
    others: u64,
}

#[derive(Serialize)]
struct GroupEntry {
    peer: String,
    direction: Option<&'static str>,
    ended: u64,
    causes: Vec<CauseEntry>,
    shortest_lost_s: Option<f64>,
    longest_survived_s: Option<f64>,
    meanings: Vec<&'static str>,
    text: String,
    helps: Option<bool>,
    idle_s: Option<u32>,
    interval_s: Option<u32>,
    count: Option<u32>,
    presets: Vec<&'static str>,
    command: Option<String>,
    config: Option<String>,
    unit: Option<String>,
}

#[derive(Serialize)]
struct CauseEntry {
    cause: &'static str,
    count: u64,
    shortest_idle_s: f64,
    longest_idle_s: f64,
}

/// Returns the summary as a JSON object on one line.
pub(super) fn json(report: &Report) -> String {
    let object = Object {
        summary: report.groups.iter().map(GroupEntry::new).collect(),
        ended: report.ended,
        others: report.others,
    };
    line(&object) + "\n"
}

impl GroupEntry {
    fn new(group: &Group) -> Self {
        let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        let cause = |(cause, range): &(Cause, Range)| CauseEntry {
            cause: cause.name(),
            count: range.count,
            shortest_idle_s: round(range.shortest),
            longest_idle_s: round(range.longest),
        };
        let timings = group.cure.as_ref().map(|cure| cure.timings);
        let cure = group.cure.as_ref().map(|cure| Remedy::new(group, cure));
        let sentences: Vec<String> = group.meanings.iter().map(|meaning| sentence(meaning, group)).collect();
        Self {
            peer: group.with_port(),
            direction: group.is_direction_seen.then_some(group.direction.name()),
            ended: group.count(),
            causes: group.causes.iter().map(cause).collect(),
            shortest_lost_s: group.shortest_lost.map(round),
            longest_survived_s: group.longest_survived.map(round),
            meanings: group.meanings.iter().map(name).collect(),
            text: sentences.join(" "),
            helps: group.helps,
            idle_s: timings.map(|(idle, _, _)| idle),
            interval_s: timings.map(|(_, interval, _)| interval),
            count: timings.map(|(_, _, count)| count),
            presets: group.meanings.iter().flat_map(presets).copied().collect(),
            command: cure.as_ref().map(|cure| cure.command.join(" ")),
            config: cure.as_ref().map(|cure| cure.config.clone()),
            unit: cure.map(|cure| cure.unit.join(" ")),
        }
    }
}

/// Returns the word for a meaning in JSON.
fn name(meaning: &Meaning) -> &'static str {
    match meaning {
        Meaning::Forgotten(_) => "forgotten",
        Meaning::LostBetweenProbes(_) => "lost-between-probes",
        Meaning::NoTimeout { .. } => "no-timeout",
        Meaning::EndedByTimer(_) => "ended-by-timer",
        Meaning::EndedByPeer { .. } => "ended-by-peer",
        Meaning::DeadPeer { .. } => "dead-peer",
    }
}

/// Returns the presets with the timeout that was seen.
fn presets(meaning: &Meaning) -> &[&'static str] {
    match meaning {
        Meaning::Forgotten(forgotten) => &forgotten.presets,
        Meaning::EndedByTimer(timer) => &timer.presets,
        _ => &[],
    }
}

/// Returns the summary for a terminal of 80 columns.
pub(super) fn text(report: &Report) -> String {
    /// More groups are for programs.
    const MOST: usize = 20;
    let (ordinary, notable): (Vec<&Group>, Vec<&Group>) = report.groups.iter().partition(|group| group.is_ordinary());
    let mut text = String::new();
    for group in notable.iter().take(MOST) {
        text.push_str(&section(group));
        text.push('\n');
    }
    let mut say = |line: String| text.push_str(&wrap(&line, WIDTH, 2));
    let more: u64 = notable.iter().skip(MOST).map(|group| group.count()).sum();
    if more > 0 {
        say(format!(
            "{} of further peers ended with losses: see --summary with --json.",
            connections(more)
        ));
    }
    let ordinary: u64 = ordinary.iter().map(|group| group.count()).sum();
    match (report.ended, ordinary) {
        (0, _) => say(String::from("No connection ended.")),
        (_, 0) => {}
        (ended, all) if ended == all => say(format!("{} ended, none by a loss.", connections(all))),
        (_, some) => say(format!(
            "{} of other peers or ports ended, none by a loss.",
            connections(some)
        )),
    }
    if report.others > 0 {
        say(format!(
            "{} are not in this summary: there are too many peers and ports.",
            connections(report.others)
        ));
    }
    text
}

/// Returns what is known of a group, and the remedy.
fn section(group: &Group) -> String {
    let causes: Vec<String> = group
        .causes
        .iter()
        .map(|(cause, range)| format!("{} {}", range.count, cause.name()))
        .collect();
    let mut text = wrap(&format!("{}: {}", peers(group), causes.join(", ")), WIDTH, 2);
    for meaning in &group.meanings {
        text.push_str(&wrap(&format!("  {}", sentence(meaning, group)), WIDTH, 4));
    }
    if let Some(cure) = &group.cure {
        text.push_str(&Remedy::new(group, cure).show(group, cure));
    }
    text
}

/// Returns the peers in words.
fn peers(group: &Group) -> String {
    let (port, is_any) = (group.port, group.peers.length == 0);
    match group.direction {
        Direction::Connect if is_any => format!("port {port} of many peers"),
        Direction::Connect => group.with_port(),
        Direction::Accept if is_any => format!("clients of local port {port}"),
        Direction::Accept => {
            let with_port = group.with_port();
            let clients = with_port.rsplit_once(':').map_or(&*with_port, |(clients, _)| clients);
            format!("{clients}, clients of local port {port}")
        }
    }
}

/// A remedy in the words of commands and files.
struct Remedy {
    command: Vec<String>,
    unit: Vec<String>,
    config: String,
}

impl Remedy {
    fn new(group: &Group, cure: &Cure) -> Self {
        let rule = format!("--rule '{} {}'", group.matching(), cure.settings());
        let unit = group.unit.as_deref().unwrap_or("UNIT");
        Self {
            command: vec![String::from("keepalive run"), rule.clone(), String::from("-- COMMAND")],
            unit: vec![format!("keepalive unit enable {unit}"), rule],
            config: format!("{}  {}", group.matching(), cure.settings()),
        }
    }

    fn show(&self, group: &Group, cure: &Cure) -> String {
        let are_kept = if group.helps == Some(true) {
            "To keep such connections, one of:"
        } else {
            "To try:"
        };
        let mut text = format!("  {are_kept}\n{}", folded(&self.command));
        if let Some(preset) = cure.preset {
            let mode = if cure.needs_cap { " --mode cap" } else { "" };
            let _ = writeln!(text, "    keepalive run --preset {preset}{mode} -- COMMAND");
        }
        text + &folded(&self.unit) + &format!("  or in {CONFIG}:\n    {}\n", self.config)
    }
}

/// Returns a command line, on several lines if it is wider than a terminal.
fn folded(parts: &[String]) -> String {
    let line = format!("    {}", parts.join(" "));
    if display_width(&line) <= WIDTH {
        line + "\n"
    } else {
        format!("    {}\n", parts.join(" \\\n      "))
    }
}

fn connections(count: u64) -> String {
    match count {
        1 => String::from("1 connection"),
        count => format!("{count} connections"),
    }
}

#[cfg(test)]
mod tests;
