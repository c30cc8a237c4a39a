//! `keepalive check`: checks a rules file before it is used.

use crate::error::{Error, REFUSED};
use crate::help::Notes;
use crate::mistake;
use crate::output::{print, write_stderr};
use crate::policy::{LARGEST, read_rules, unreadable};
use clap::Args;
use keepalive_engine::timeline::Times;
use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Direction, Network, Number, Rule, Settings, SocketOption};
use keepalive_sys::regular;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
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
    let mut earlier: Vec<&Rule<'_>> = Vec::new();
    for item in &items {
        match item {
            Item::Default(settings) => note(&mut notes, &format!("{name}: default"), about_settings(settings)),
            Item::Rule(rule) => {
                let place = format!("{name}:{}", rule.line);
                note(&mut notes, &place, about_rule(rule, &earlier));
                note(&mut notes, &place, about_settings(&rule.settings));
                earlier.push(rule);
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

fn about_rule(rule: &Rule<'_>, earlier: &[&Rule<'_>]) -> Option<String> {
    if let Some(program) = rule.program.filter(|program| program.contains(&b'/')) {
        let last = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return Some(format!(
            "it never matches: a program is named by the last part of its path, '{}'",
            String::from_utf8_lossy(last)
        ));
    }
    if let Some(first) = earlier.iter().find(|first| covers(first, rule)) {
        return Some(format!(
            "it never matches: line {} comes first for all of it",
            first.line
        ));
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

/// Returns whether `first` matches everything that `rule` matches.
fn covers(first: &Rule<'_>, rule: &Rule<'_>) -> bool {
    (first.program.is_none() || first.program == rule.program)
        && (first.direction.is_none() || first.direction == rule.direction)
        && (first.ports.first <= rule.ports.first && rule.ports.last <= first.ports.last)
        && (rule.network != Network::ANY || first.network == Network::ANY)
        && ends(&rule.network).is_some_and(|ends| ends.into_iter().all(|end| first.network.contains(end)))
}

/// Returns the first and the last address of a network.
fn ends(network: &Network) -> Option<[IpAddr; 2]> {
    let written = network.to_string();
    if *network == Network::ANY {
        return Some([Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()]);
    }
    let written = written.trim_matches(['[', ']']);
    let (address, length) = written.split_once('/').unwrap_or((written, ""));
    let first: IpAddr = address.parse().ok()?;
    let (bits, width) = match first {
        IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let length: u32 = if length.is_empty() { width } else { length.parse().ok()? };
    let free = u128::MAX.checked_shr(128 - (width - length)).unwrap_or(0);
    Some([Ipv6Addr::from(bits).into(), Ipv6Addr::from(bits | free).into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the first of these two rules covers the second.
    fn covered(text: &str) -> bool {
        let items: Vec<_> = parse(text.as_bytes()).map(Result::unwrap).collect();
        match items.as_slice() {
            [Item::Rule(first), Item::Rule(second)] => covers(first, second),
            items => panic!("{items:?}"),
        }
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one() {
        for text in [
            "connect * off; connect 10.0.0.0/8:5432 off",
            "connect 10.0.0.0/8 off; connect 10.1.2.3 off",
            "connect 10.0.0.0/8:1-9 off; connect 10.0.0.0/8:2-9 off",
            "connect [::ffff:10.0.0.0/104] off; connect 10.255.255.255 off",
            "connect [2001:db8::/32]:443 off; connect [2001:db8:1::/48]:443 off",
            "connect 0.0.0.0/0 off; connect 10.0.0.0/8 off",
            "connect * off; connect * off",
            "program a off; program a connect *:80 off",
            "connect *:80 off; program a connect *:80 off",
        ] {
            assert!(covered(text), "{text}");
        }
    }

    #[test]
    fn another_rule_does_not() {
        for text in [
            "connect 10.1.0.0/16 off; connect 10.0.0.0/8 off",
            "connect 10.0.0.0/8:5432 off; connect 10.0.0.0/8 off",
            "connect * off; accept * off",
            "connect * off; program a off",
            "program a off; program b off",
            "program a off; connect * off",
            "connect 0.0.0.0/0 off; connect [2001:db8::]:1 off",
            "connect 0.0.0.0/0 off; connect * off",
            "connect [::/0] off; connect * off",
            "connect [::/0] off; connect 10.0.0.1 off",
            "connect [2001:db8::/32] off; connect [2001:db9::/32] off",
        ] {
            assert!(!covered(text), "{text}");
        }
    }
}
