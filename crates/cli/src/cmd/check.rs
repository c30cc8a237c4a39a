//! `keepalive check`: checks a rules file before it is used.

mod cover;

use crate::error::{Error, REFUSED};
use crate::help::Notes;
use crate::mistake;
use crate::output::{print, write_stderr};
use crate::policy::{LARGEST, read_rules, unreadable};
use clap::Args;
use cover::Cover;
use keepalive_engine::timeline::Times;
use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Direction, Network, Number, Rule, Settings, SocketOption};
use keepalive_sys::regular;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Check a rules file
///
/// Prints every mistake with its line and column. Also notes rules that are valid but have no effect or are unwise.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A regular file of at most 256 KiB, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) const NOTES: Notes = Notes {
    command: "check",
    paragraphs: &["The grammar is in keepalive.conf(5)."],
    statuses: &[
        ("0", "The file can be used."),
        ("2", "The file or the command line cannot be used."),
    ],
    examples: &[(
        "The file for all programs; rules from standard input:",
        &[
            "keepalive check /etc/keepalive.conf",
            "echo 'connect 10.0.0.0/8:5432 idle=30s' | keepalive check -",
        ],
    )],
    ..Notes::DEFAULT
};

/// Checks the file.
///
/// # Errors
/// All its mistakes, or the reason why it could not be read.
pub(crate) fn run(check: &Check) -> Result<(), Error> {
    let (name, text) = read(&check.file)?;
    if let Some(mistakes) = mistake::mistakes(&name, 1, &text) {
        return Err(Error::placed(REFUSED, mistakes));
    }
    write_stderr(&notes(&name, &text));
    print(&format!("{name}: {}\n", summary(mistake::count(&text))))
}

fn read(file: &Path) -> Result<(String, Vec<u8>), Error> {
    let (name, read) = if file == Path::new("-") {
        (
            String::from("<stdin>"),
            regular::read_whole(io::stdin().lock(), LARGEST),
        )
    } else {
        (file.display().to_string(), read_rules(file).map(|(text, _)| text))
    };
    match read {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(unreadable(REFUSED, &name, &error)),
    }
}

pub(super) fn summary((rules, defaults): (usize, usize)) -> String {
    let rules = match rules {
        0 => String::from("no rules"),
        1 => String::from("1 rule"),
        rules => format!("{rules} rules"),
    };
    let default = if defaults == 0 { "no default" } else { "a default" };
    format!("{rules}, {default}")
}

/// Returns notes on rules that are valid but surely not intended.
fn notes(name: &str, text: &[u8]) -> String {
    let mut notes = String::new();
    let items: Vec<Item<'_>> = parse(text).flatten().collect();
    if items.is_empty() {
        let _ = writeln!(notes, "note: {name}: it says nothing");
    }
    let mut earlier = Cover::default();
    for item in &items {
        match item {
            Item::Default(settings) => note(&mut notes, &format!("{name}: default"), about_settings(settings)),
            Item::Rule(rule) => {
                let place = format!("{name}:{}", rule.line);
                note(&mut notes, &place, about_rule(rule, &earlier));
                note(&mut notes, &place, about_settings(&rule.settings));
                earlier.add(rule);
            }
        }
    }
    notes
}

fn note(notes: &mut String, place: &str, note: Option<String>) {
    if let Some(note) = note {
        let _ = writeln!(notes, "note: {place}: {note}");
    }
}

fn about_rule<'a>(rule: &Rule<'a>, earlier: &Cover<'a>) -> Option<String> {
    if let Some(program) = rule.program.filter(|program| program.contains(&b'/')) {
        let last = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return Some(format!(
            "it never matches: a program is named by the last part of its path, '{}'",
            String::from_utf8_lossy(last)
        ));
    }
    if let Some(line) = earlier.line(rule) {
        return Some(format!("it never matches: line {line} comes first for all of it"));
    }
    let is_set = |option| rule.settings.written(option) != Number::Unset;
    match rule.direction {
        Some(Direction::Connect) if is_set(SocketOption::DeferAccept) => Some(String::from(
            "defer-accept is for sockets that listen, not for those that connect",
        )),
        Some(Direction::Accept) if is_set(SocketOption::DeferAccept) && rule.network != Network::ANY => Some(
            String::from("a socket that listens has no peer: defer-accept has no effect beside an address"),
        ),
        Some(Direction::Accept) if is_set(SocketOption::SynCount) => Some(String::from(
            "syn-count is for sockets that connect, not for accepted ones",
        )),
        _ => None,
    }
}

fn about_settings(settings: &Settings) -> Option<String> {
    let number = |option| match settings.written(option) {
        Number::Is(number) => Some(number),
        _ => None,
    };
    let times = Times {
        idle: number(SocketOption::Idle)?,
        interval: number(SocketOption::Interval)?,
        count: number(SocketOption::Count).unwrap_or(1),
        user_timeout: number(SocketOption::UserTimeout)?,
    };
    times.is_too_short().then(|| {
        format!(
            "the user timeout is less than idle + 2 x interval = {}s: lost probes end live connections",
            times.third_probe()
        )
    })
}
