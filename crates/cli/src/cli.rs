//! The command line: one definition for parsing, help, manual pages and completions.

use crate::cmd::attach::{self, Attach};
use crate::cmd::cgroup::{self, Cgroup};
use crate::cmd::check::{self, Check};
use crate::cmd::doctor::{self, Doctor};
use crate::cmd::explain::{self, Explain};
use crate::cmd::list::{self, List};
use crate::cmd::nri::{self, Nri};
use crate::cmd::oci_hook::{self, OciHook};
use crate::cmd::presets::{self, Presets};
use crate::cmd::probe::{self, Probe};
use crate::cmd::run::{self, Run};
use crate::cmd::system::{self, System};
use crate::cmd::trace::{self, Trace};
use crate::cmd::unit::{self, Unit};
use crate::help::Notes;
use crate::output::write_stderr;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// TCP keepalive for programs you cannot change
#[derive(Debug, Parser)]
#[command(name = "keepalive", version, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Attach(Attach),
    Cgroup(Cgroup),
    System(System),
    Unit(Unit),
    List(List),
    Trace(Trace),
    Probe(Probe),
    Doctor(Doctor),
    Explain(Explain),
    Check(Check),
    Presets(Presets),
    OciHook(OciHook),
    Nri(Nri),
}

impl Cli {
    /// Parses the command line of this process.
    ///
    /// # Errors
    /// A mistake in the command line; or the requested help or version.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|refusal| match refusal.kind() {
            // Rendering the notes takes 0.2 ms, and only the help prints them.
            ErrorKind::DisplayHelp => command().try_get_matches().err().unwrap_or(refusal),
            _ => refusal,
        })
    }
}

/// Returns the definition of the command line, with the notes in the help of each subcommand.
pub(crate) fn command() -> clap::Command {
    NOTES.into_iter().fold(Cli::command(), |command, notes| {
        let mut words = notes.command.split(' ');
        with_notes(command, &mut words, notes)
    })
}

fn with_notes<'a>(command: clap::Command, words: &mut impl Iterator<Item = &'a str>, notes: &Notes) -> clap::Command {
    match words.next() {
        Some(word) => command.mut_subcommand(word, |subcommand| with_notes(subcommand, words, notes)),
        None => command.after_long_help(notes.help()),
    }
}

/// The notes on each subcommand that performs an action.
pub(crate) const NOTES: [&Notes; 21] = [
    &run::NOTES,
    &attach::NOTES,
    &cgroup::notes::ENABLE,
    &cgroup::notes::DISABLE,
    &cgroup::notes::STATUS,
    &system::ENABLE_NOTES,
    &system::REFRESH_NOTES,
    &system::DISABLE_NOTES,
    &system::STATUS_NOTES,
    &unit::ENABLE_NOTES,
    &unit::DISABLE_NOTES,
    &unit::STATUS_NOTES,
    &list::NOTES,
    &trace::NOTES,
    &probe::NOTES,
    &doctor::NOTES,
    &explain::NOTES,
    &check::NOTES,
    &presets::NOTES,
    &oci_hook::NOTES,
    &nri::NOTES,
];

/// Prints the mistake in the command line, or the requested help or version. Returns the exit status.
pub(crate) fn refuse(refusal: &clap::Error) -> ExitCode {
    // A closed pipe is not an error.
    if !refusal.use_stderr() {
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    let text = refusal.render().to_string();
    let text = match text.strip_prefix("error: ") {
        Some(text) => format!("keepalive: {text}"),
        None => text,
    };
    let subcommand = std::env::args_os()
        .skip(1)
        .find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    match subcommand.as_ref().and_then(|name| name.to_str()) {
        // 2 is reserved for the program that it runs.
        Some("run") => {
            write_stderr(&text);
            ExitCode::from(125)
        }
        // A runtime would start no container.
        Some("oci-hook") => {
            oci_hook::report(&text);
            ExitCode::SUCCESS
        }
        _ => {
            write_stderr(&text);
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_subcommand_without_subcommands_has_notes() {
        let mut left: Vec<(String, clap::Command)> = vec![(String::new(), command())];
        let mut number = 0;
        while let Some((words, command)) = left.pop() {
            let subcommands: Vec<&clap::Command> = command.get_subcommands().collect();
            for subcommand in &subcommands {
                let words = format!("{words} {}", subcommand.get_name());
                left.push((words.trim_start().to_owned(), (*subcommand).clone()));
            }
            if subcommands.is_empty() {
                assert!(NOTES.iter().any(|notes| notes.command == words), "{words}");
                number += 1;
            }
        }
        assert_eq!(number, NOTES.len(), "notes on a subcommand that does not exist");
    }
}
