//! The command line: one definition for parsing, help, manual pages and completions.

use crate::cmd::attach::{self, Attach};
use crate::cmd::cgroup::{self, Cgroup};
use crate::cmd::check::{self, Check};
use crate::cmd::doctor::{self, Doctor};
use crate::cmd::explain::{self, Explain};
use crate::cmd::list::{self, List};
use crate::cmd::presets::{self, Presets};
use crate::cmd::probe::{self, Probe};
use crate::cmd::system::{self, System};
use crate::cmd::unit::{self, Unit};
use crate::help::Notes;
use crate::output::write_stderr;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use keepalive_engine::choice::Wanted;
use keepalive_policy::preset::{self, PRESETS, Remedy};
use keepalive_policy::{Mode, OPTIONS, Settings, SocketOption};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
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
    Probe(Probe),
    Doctor(Doctor),
    Explain(Explain),
    Check(Check),
    Presets(Presets),
}

impl Cli {
    /// Parses the command line of this process.
    ///
    /// # Errors
    /// Why it cannot be used, or the help or version that it requests.
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

/// Run a program with TCP keepalive on every connection
///
/// COMMAND keeps the process id, the terminal and the signals of keepalive, and its exit status is its own. Where Yama
/// restricts ptrace(2) to descendants, a keepalive process takes its place. If no engine can reach COMMAND, keepalive fails
/// before COMMAND starts.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive run [OPTIONS] [--] COMMAND [ARG]...")]
pub(crate) struct Run {
    /// Engine that reaches COMMAND
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub(crate) engine: EngineChoice,

    /// Run COMMAND under the process id of keepalive, or fail
    ///
    /// Without this option, a keepalive process takes the place of COMMAND where Yama restricts ptrace(2) to descendants,
    /// and where keepalive is executed in a running container. It forwards signals, stops and ends as COMMAND does.
    #[arg(long)]
    pub(crate) in_place: bool,

    /// Whether COMMAND may use io_uring
    ///
    /// The engines preload and seccomp do not see connections that COMMAND opens by io_uring.
    #[arg(
        long,
        value_name = "allow|deny",
        default_value = "allow",
        hide_possible_values = true
    )]
    pub(crate) io_uring: IoUringChoice,

    /// Print the engine, the reason for it and the policy on standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
}

/// The notes on each subcommand that does something.
pub(crate) const NOTES: [&Notes; 18] = [
    &RUN_NOTES,
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
    &probe::NOTES,
    &doctor::NOTES,
    &explain::NOTES,
    &check::NOTES,
    &presets::NOTES,
];

const RUN_NOTES: Notes = Notes {
    command: "run",
    precedence: "Options override the environment (KEEPIDLE, ...; see libkeepalive(7)), which overrides \
                 /etc/keepalive.conf, which overrides the kernel's sysctls. Without any policy option, rule or file: \
                 --idle 60 --interval 15 --count 5.",
    statuses: &[
        ("125", "keepalive itself failed."),
        ("126", "COMMAND was found but cannot be executed."),
        ("127", "COMMAND was not found."),
        ("else", "The exit status of COMMAND."),
    ],
    examples: &[
        (
            "The defaults: 60 s idle time, then up to 5 probes, 15 s apart:",
            &["keepalive run -- ssh host"],
        ),
        (
            "A known middlebox, and a program that sets keepalive itself. It may probe sooner than the \
             policy, not later, and cannot switch keepalive off:",
            &["keepalive run --preset aws-nlb --mode cap -- node server.js"],
        ),
        (
            "A Go program; prints the engine and the reason:",
            &["keepalive run -v -- kubectl port-forward svc/db 5432"],
        ),
        (
            "A rule for databases:",
            &["keepalive run --rule 'connect *:5432 idle=30s' -- ./job"],
        ),
        (
            "What the kernel has on each socket of a program:",
            &["KEEPALIVE_LOG=stderr keepalive run --idle 2m -- ssh host"],
        ),
    ],
    ..Notes::DEFAULT
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// Choose automatically; fail if no engine can reach the program
    Auto,
    /// The library, by LD_PRELOAD, even if it has no effect
    Preload,
    /// A supervisor of system calls; also reaches static and Go programs
    Seccomp,
    /// An eBPF program for a cgroup of its own; reaches every program; requires root
    Cgroup,
}

impl From<EngineChoice> for Wanted {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Auto => Self::Auto,
            EngineChoice::Preload => Self::Preload,
            EngineChoice::Seccomp => Self::Seccomp,
            EngineChoice::Cgroup => Self::Cgroup,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoUringChoice {
    /// COMMAND may use it
    Allow,
    /// io_uring_setup(2) fails with ENOSYS, so that COMMAND uses ordinary calls
    Deny,
}

/// What to set.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    #[command(flatten)]
    options: OptionFlags,

    /// Precedence where the program sets keepalive itself
    ///
    /// fill: the program's values stay, unset values are filled in. cap: the program's values may be lower, not higher, and
    /// keepalive cannot be off. floor: they may be higher, not lower. enforce: exactly this policy. Default: fill. Example:
    /// --mode cap
    #[arg(long, value_name = "MODE", value_parser = Named::MODE, hide_possible_values = true)]
    mode: Option<Settings>,

    /// Idle time, interval and count for a known middlebox
    ///
    /// 'keepalive presets' lists the names. --idle, --interval and --count override the preset. Example: --preset aws-nlb
    #[arg(long, value_name = "NAME", value_parser = Named::PRESET, hide_possible_values = true)]
    preset: Option<Settings>,

    /// Rule for some connections; may be repeated
    ///
    /// The first rule that matches wins. keepalive.conf(5) specifies the syntax. Examples: 'connect 10.0.0.0/8:5432
    /// idle=30s', 'program sshd off'
    #[arg(long = "rule", value_name = "RULE", allow_hyphen_values = true)]
    pub(crate) rules: Vec<OsString>,

    /// Rules file to read instead of /etc/keepalive.conf
    ///
    /// A regular file of at most 256 KiB. Example: --config ./keepalive.conf
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl PolicyFlags {
    /// What the flags say for all connections, together.
    pub(crate) fn settings(&self) -> Settings {
        self.explicit()
            .fold(Settings::default(), |settings, (_, flag)| settings.or(flag))
    }

    /// Each flag that says something for all connections, in the order of precedence.
    pub(crate) fn explicit(&self) -> impl Iterator<Item = (String, Settings)> {
        let options = OPTIONS.into_iter().zip(self.options.0);
        let options = options.map(|(option, flag)| (option.row().name, flag));
        options
            .chain([("mode", self.mode), ("preset", self.preset)])
            .filter_map(|(name, settings)| Some((format!("--{name}"), settings?)))
    }

    /// Whether no flag was given.
    pub(crate) fn are_empty(&self) -> bool {
        self.settings() == Settings::NONE && self.rules.is_empty() && self.config.is_none()
    }
}

/// The flags of the table of options, in its order.
#[derive(Debug, Default)]
struct OptionFlags([Option<Settings>; OPTIONS.len()]);

impl Args for OptionFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(OPTIONS.into_iter().filter_map(|option| {
            let row = option.row();
            let flag = row.flag?;
            let argument = Arg::new(row.name).long(row.name).value_name(flag.value);
            Some(
                argument
                    .help(flag.short)
                    .long_help(format!("{}\n\n{}", flag.short, flag.long))
                    .value_parser(value_of(option))
                    .allow_hyphen_values(true),
            )
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (option, flag) in OPTIONS.into_iter().zip(&mut self.0) {
            let row = option.row();
            if row.flag.is_some() {
                *flag = matches.get_one(row.name).copied().or(*flag);
            }
        }
        Ok(())
    }
}

/// A parser of names, which completions can ask for them.
#[derive(Clone)]
struct Named {
    parse: fn(&str) -> Result<Settings, String>,
    names: fn() -> Vec<PossibleValue>,
}

impl Named {
    const MODE: Self = Self {
        parse: mode,
        names: || {
            let named = Mode::ALL.map(|mode| {
                PossibleValue::new(mode.name()).help(match mode {
                    Mode::Fill => "the program's values stay",
                    Mode::Cap => "never higher than the policy",
                    Mode::Floor => "never lower than the policy",
                    Mode::Enforce => "exactly the policy",
                })
            });
            named.into()
        },
    };
    /// Without those that are refused.
    const PRESET: Self = Self {
        parse: preset,
        names: || {
            let helpful = PRESETS
                .iter()
                .filter(|preset| matches!(preset.remedy, Remedy::Settings(_)));
            helpful
                .map(|preset| PossibleValue::new(preset.name).help(preset.what))
                .collect()
        },
    };
}

impl TypedValueParser for Named {
    type Value = Settings;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&Arg>, value: &OsStr) -> Result<Settings, clap::Error> {
        self.parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter()))
    }
}

fn mode(text: &str) -> Result<Settings, String> {
    let mode = Mode::from_name(text.as_bytes()).ok_or("unknown mode\nhint: expected fill, cap, floor or enforce")?;
    Ok(Settings::NONE.with_mode(mode))
}

fn preset(name: &str) -> Result<Settings, String> {
    let preset = preset::find(name.as_bytes()).ok_or("unknown preset\nhint: keepalive presets lists them")?;
    match preset.remedy {
        Remedy::Settings(timings) => Ok(timings.settings()),
        Remedy::Useless(why) => Err(format!("keepalive cannot help there\nhint: {why}")),
    }
}

/// A parser of one option's value into settings that say only that.
fn value_of(option: SocketOption) -> impl Fn(&str) -> Result<Settings, String> + Clone + Send + Sync + 'static {
    move |text| {
        let mut settings = Settings::default();
        settings
            .set(option, text.as_bytes())
            .map(|()| settings)
            .map_err(|invalid| format!("{invalid}\nhint: expected {}", invalid.expected()))
    }
}

/// Says what is wrong with the command line, or gives the help or version that was asked for, and the exit status.
pub(crate) fn refuse(refusal: &clap::Error) -> ExitCode {
    // A closed pipe is no error.
    if !refusal.use_stderr() {
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    let text = refusal.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => write_stderr(&format!("keepalive: {text}")),
        None => write_stderr(&text),
    }
    usage_status(std::env::args_os())
}

/// The exit status for a command line that cannot be used: `run` leaves 2 to the program that it runs.
fn usage_status(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let subcommand = arguments
        .skip(1)
        .find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    ExitCode::from(if subcommand.is_some_and(|name| name == "run") {
        125
    } else {
        2
    })
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
