//! The explanation as text.

use super::decision::{Decision, Origin};
use super::{Explanation, Place};
use crate::output::{WIDTH, sanitize, wrap};
use keepalive_engine::timeline::{spell, spell_roughly};
use keepalive_policy::{Direction, Keepalive, Mode, SocketOption, Unit};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Returns the explanation in paragraphs of at most 80 columns.
pub(super) fn show(explanation: &Explanation<'_>) -> String {
    let mut text = String::new();
    heading(&mut text, explanation);
    settings(&mut text, &explanation.decision);
    timeline(&mut text, explanation);
    middleboxes(&mut text, explanation);
    if !explanation.warnings.is_empty() {
        text.push_str("\nUnwise\n");
        for warning in &explanation.warnings {
            text.push_str(&wrap(&format!("  - {warning}"), WIDTH, 4));
        }
    }
    text
}

fn heading(text: &mut String, explanation: &Explanation<'_>) {
    let mut subject = explanation
        .place
        .map_or_else(|| String::from("A new socket"), Place::describe);
    if let Some(program) = explanation.program {
        let _ = write!(subject, ", of {}", sanitize(&String::from_utf8_lossy(program)));
    }
    text.push_str(&wrap(&subject, WIDTH, 2));
    for rule in &explanation.decision.rules {
        text.push_str(&wrap(&format!("  {}: {}", rule.line, rule.text), WIDTH, 4));
    }
    let mut notes = Vec::new();
    if explanation.is_fallback {
        notes.push("no option, rule or file sets a time: unset values are those of 'keepalive run'");
    }
    if explanation.has_rules_for_peers {
        notes.push("rules for connect and accept count later: name a connection with --for");
    }
    if explanation.has_rules_for_programs {
        notes.push("rules for programs were passed over: name one with --program");
    }
    notes.extend(explanation.notes.iter().map(String::as_str));
    for note in notes {
        text.push_str(&wrap(&format!("  ({note})"), WIDTH, 3));
    }
    text.push('\n');
}

impl Place {
    fn describe(&self) -> String {
        let (address, port) = (self.address, self.port);
        match (self.direction, address, port) {
            (Direction::Connect, Some(address), Some(port)) => {
                format!("A connection to {}", SocketAddr::new(address, port))
            }
            (Direction::Connect, Some(address), None) => format!("A connection to {address}"),
            (Direction::Connect, None, Some(port)) => format!("A connection to port {port}"),
            (Direction::Connect, None, None) => String::from("A connection that the program opens"),
            (Direction::Accept, address, port) => {
                let from = address.map_or_else(String::new, |address: IpAddr| format!(" from {address}"));
                let on = port.map_or_else(String::new, |port| format!(" on port {port}"));
                format!("A connection{from} that the program accepts{on}")
            }
        }
    }
}

fn settings(text: &mut String, decision: &Decision) {
    let keepalive = super::json::name(decision.keepalive.value);
    row(text, "keepalive", keepalive, &decision.keepalive.origin, "");
    if decision.keepalive.value == Keepalive::Off {
        return;
    }
    for (option, value) in [
        (SocketOption::Idle, &decision.idle),
        (SocketOption::Interval, &decision.interval),
        (SocketOption::Count, &decision.count),
        (SocketOption::UserTimeout, &decision.user_timeout),
    ] {
        let is_automatic = option == SocketOption::UserTimeout && decision.is_automatic;
        let comment = if is_automatic {
            "auto: idle + interval x count"
        } else {
            ""
        };
        row(
            text,
            option.row().name,
            &written(option, value.value),
            &value.origin,
            comment,
        );
    }
    let comment = match decision.mode.value {
        Mode::Fill => "what the program sets itself stays",
        Mode::Cap => "the program may go lower, not higher",
        Mode::Floor => "the program may go higher, not lower",
        Mode::Enforce => "the program cannot set others",
    };
    row(text, "mode", decision.mode.value.name(), &decision.mode.origin, comment);
    for (option, value) in &decision.others {
        if let Some(value) = value {
            row(
                text,
                option.row().name,
                &written(*option, value.value),
                &value.origin,
                "",
            );
        }
    }
}

fn row(text: &mut String, name: &str, value: &str, origin: &Origin, comment: &str) {
    let origin = match origin {
        Origin::Said(name) => name.clone(),
        Origin::Line(line) => line.to_string(),
        Origin::Fallback => String::from("the default of 'keepalive run'"),
        Origin::Sysctl(name) => format!("the kernel's {name}"),
        Origin::BuiltIn => String::from("built in"),
    };
    let what = if comment.is_empty() {
        origin
    } else {
        format!("{origin} ({comment})")
    };
    columns(text, &format!("  {name:<13} {value:>9}   "), &what);
}

/// Returns the value as a rule contains it.
fn written(option: SocketOption, number: u32) -> String {
    match (option.row().unit, number) {
        (Unit::Milliseconds, 0) => String::from("off"),
        (Unit::Milliseconds, number) if number % 1000 != 0 => format!("{number}ms"),
        (Unit::Milliseconds, number) => format!("{}s", number / 1000),
        (Unit::Seconds, number) => format!("{number}s"),
        (_, number) => number.to_string(),
    }
}

/// The width of the timeline's first column.
const MOMENT: usize = 24;

fn timeline(text: &mut String, explanation: &Explanation<'_>) {
    let decision = &explanation.decision;
    let times = decision.times();
    let is_probed = decision.keepalive.value != Keepalive::Off;
    if is_probed {
        text.push_str("\nTimeline, from the last answer of the peer\n");
        let first = spell(1000 * u64::from(times.idle));
        entry(text, &format!("after {first}"), "first probe");
        let lost = times.lost_probes();
        if lost > 1 {
            let every = spell(1000 * u64::from(times.interval));
            let until = if times.dead_after() == times.natural_user_timeout() {
                "as long as none is answered"
            } else {
                "until the user timeout is over"
            };
            entry(
                text,
                &format!("then every {every}"),
                &format!("another, {lost} in all, {until}"),
            );
        }
        let dead = spell(1000 * times.dead_after());
        entry(
            text,
            &format!("after {dead}"),
            "dead: the program's calls fail with ETIMEDOUT",
        );
    } else {
        text.push_str("\nTimeline\n");
        entry(
            text,
            "while idle",
            "no probe, unless the program asks for keepalive itself",
        );
    }
    match times.user_timeout {
        0 => {
            let retries = explanation.sysctls.retries;
            let after = spell_roughly(keepalive_engine::timeline::data_in_flight(retries));
            entry(
                text,
                "while data is in flight",
                &format!("given up after about {after} (tcp_retries2 = {retries})"),
            );
        }
        timeout => entry(
            text,
            "while data is in flight",
            &format!("given up after {} (user timeout)", spell(timeout.into())),
        ),
    }
    if explanation.may_connect() {
        let after = spell_roughly(explanation.connecting());
        let retries = match decision.syn_count() {
            Some(count) => format!("syn-count={}", count.value),
            None => format!("tcp_syn_retries = {}", explanation.sysctls.syn_retries),
        };
        let mut what = format!("given up after about {after} ({retries})");
        if times.user_timeout != 0 {
            what.push_str("; the user timeout does not count yet");
        }
        entry(text, "while connecting", &what);
    }
}

/// Appends a time and the event at that time.
fn entry(text: &mut String, moment: &str, what: &str) {
    columns(text, &format!("  {moment:<MOMENT$}  "), what);
}

/// Appends `what` after `start`, and indents its further lines to the same column.
fn columns(text: &mut String, start: &str, what: &str) {
    let width = start.chars().count();
    let wrapped = wrap(what, WIDTH.saturating_sub(width), 0);
    let mut lines = wrapped.lines();
    let _ = writeln!(text, "{start}{}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "{:width$}{line}", "");
    }
}

fn middleboxes(text: &mut String, explanation: &Explanation<'_>) {
    let middleboxes = &explanation.middleboxes;
    text.push_str("\nMiddleboxes that forget idle connections (see keepalive presets)\n");
    for (moment, names) in [
        ("two probes may be lost", &middleboxes.kept),
        ("lost probes may be fatal", &middleboxes.at_risk),
        ("forgotten before a probe", &middleboxes.forgotten),
        ("no keepalive can help", &middleboxes.no_remedy),
    ] {
        if !names.is_empty() {
            entry(text, moment, &names.join(", "));
        }
    }
}
