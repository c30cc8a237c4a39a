//! The command line: one definition for parsing, help, manual pages and completions.

use crate::cmd::attach::Attach;
use crate::cmd::cgroup::Cgroup;
use crate::cmd::check::Check;
use crate::cmd::doctor::Doctor;
use crate::cmd::explain::Explain;
use crate::cmd::list::List;
use crate::cmd::presets::Presets;
use crate::cmd::probe::Probe;
use crate::cmd::system::System;
use crate::cmd::unit::Unit;
use crate::output::write_stderr;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Parser, Subcommand, ValueEnum};
use keepalive_policy::preset::{self, PRESETS, Remedy};
use keepalive_policy::{Mode, Settings, SocketOption};
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

/// Run a program with TCP keepalive on every connection
///
/// The command takes the place of this one: it keeps the process id, the terminal and the signals, and its exit status is
/// its own. Where Yama lets a process look into its descendants alone, one of keepalive's stands in for it. What cannot be
/// reached is refused before it starts.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive run [OPTIONS] [--] COMMAND [ARG]...", after_help = RUN_NOTES)]
pub(crate) struct Run {
    /// How to reach the program
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub(crate) engine: EngineChoice,

    /// Run the command under this very process id, or fail
    #[arg(long)]
    pub(crate) in_place: bool,

    /// What becomes of io_uring, whose connections no engine sees
    #[arg(
        long,
        value_name = "allow|deny",
        default_value = "allow",
        hide_possible_values = true
    )]
    pub(crate) io_uring: IoUringChoice,

    /// Say on standard error which engine is used, why, and what is set
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

const RUN_NOTES: &str = "\
Options come before the environment (KEEPIDLE, ...; see libkeepalive(7)), that
before /etc/keepalive.conf, and that before the kernel's sysctls. Without any
policy option, rule or file: --idle 60 --interval 15 --count 5.

Exit status: that of COMMAND; 125 when keepalive itself fails, 126 when COMMAND
is found but cannot be executed, 127 when COMMAND is not found.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// Those that reach the program and what it starts, or a refusal
    Auto,
    /// The library, by LD_PRELOAD, even where it will have no effect
    Preload,
    /// A supervisor of system calls, which reaches static and Go programs too
    Seccomp,
    /// A program of the kernel for a cgroup of the command's own, which reaches everything; takes root
    Cgroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoUringChoice {
    /// The program may use it
    Allow,
    /// The program is told that the kernel has none, and falls back
    Deny,
}

/// What to set.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    /// Idle time before the first probe: 1 to 32767 seconds, as in 90, 90s, 5m or 2h
    #[arg(long, value_name = "TIME", value_parser = value_of(SocketOption::Idle), allow_hyphen_values = true)]
    idle: Option<Settings>,

    /// Time between probes that are not answered: 1 to 32767 seconds
    #[arg(long, value_name = "TIME", value_parser = value_of(SocketOption::Interval), allow_hyphen_values = true)]
    interval: Option<Settings>,

    /// Unanswered probes that end the connection: 1 to 127
    #[arg(long, value_name = "N", value_parser = value_of(SocketOption::Count), allow_hyphen_values = true)]
    count: Option<Settings>,

    /// How long sent data may stay unacknowledged: off, a time, or auto (idle + interval x count)
    #[arg(long, value_name = "TIME", value_parser = value_of(SocketOption::UserTimeout), allow_hyphen_values = true)]
    user_timeout: Option<Settings>,

    /// Who wins when the program sets keepalive itself: fill (the program), cap (the shorter), floor (the longer), enforce
    /// (this policy)
    #[arg(long, value_name = "MODE", value_parser = Named::MODE, hide_possible_values = true)]
    mode: Option<Settings>,

    /// The timings for a middlebox, as 'keepalive presets' lists them; the options above come first
    #[arg(long, value_name = "NAME", value_parser = Named::PRESET, hide_possible_values = true)]
    preset: Option<Settings>,

    /// A rule, as in 'connect 10.0.0.0/8:5432 idle=30s' or 'program sshd off'; the first that matches counts
    #[arg(long = "rule", value_name = "RULE", allow_hyphen_values = true)]
    pub(crate) rules: Vec<OsString>,

    /// A file of rules to read instead of /etc/keepalive.conf
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl PolicyFlags {
    /// What the flags say for all connections, together.
    pub(crate) fn settings(&self) -> Settings {
        self.said()
            .fold(Settings::default(), |settings, (_, flag)| settings.or(flag))
    }

    /// Each flag that says something for all connections, in the order of precedence.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&'static str, Settings)> {
        [
            ("--idle", self.idle),
            ("--interval", self.interval),
            ("--count", self.count),
            ("--user-timeout", self.user_timeout),
            ("--mode", self.mode),
            ("--preset", self.preset),
        ]
        .into_iter()
        .filter_map(|(flag, settings)| Some((flag, settings?)))
    }

    /// Whether no flag was given.
    pub(crate) fn are_empty(&self) -> bool {
        self.settings() == Settings::NONE && self.rules.is_empty() && self.config.is_none()
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
                    Mode::Fill => "the program",
                    Mode::Cap => "the shorter",
                    Mode::Floor => "the longer",
                    Mode::Enforce => "this policy",
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
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
