//! The options of a policy, which several subcommands share.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, ArgMatches, Args, FromArgMatches};
use keepalive_policy::parse::statements;
use keepalive_policy::preset::{self, PRESETS, Remedy};
use keepalive_policy::{Mode, Number, OPTIONS, Settings, SocketOption};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

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
    /// Returns the settings of all options for all connections.
    pub(crate) fn settings(&self) -> Settings {
        self.explicit()
            .fold(Settings::default(), |settings, (_, flag)| settings.or(flag))
    }

    /// Returns each option with settings for all connections, in the order of precedence.
    pub(crate) fn explicit(&self) -> impl Iterator<Item = (String, Settings)> {
        let options = OPTIONS.into_iter().zip(self.options.0);
        let options = options.map(|(option, flag)| (option.row().name, flag));
        options
            .chain([("mode", self.mode), ("preset", self.preset)])
            .filter_map(|(name, settings)| Some((format!("--{name}"), settings?)))
    }

    /// Returns whether options set a time of probes or their count, for all connections or by rules. A mode and a user
    /// timeout alone amend the default times.
    pub(crate) fn have_times(&self) -> bool {
        let has_rules = self.rules.iter().any(|rule| has_statements(rule.as_bytes()));
        has_times(&self.settings()) || has_rules || self.config.is_some()
    }

    /// Returns whether no option was given.
    pub(crate) fn are_empty(&self) -> bool {
        self.settings() == Settings::NONE && self.rules.is_empty() && self.config.is_none()
    }
}

/// Returns whether a text of rules contains more than comments and white space.
pub(crate) fn has_statements(text: &[u8]) -> bool {
    statements(text).next().is_some()
}

/// Returns whether settings contain a time of probes or their count.
pub(crate) fn has_times(settings: &Settings) -> bool {
    let times = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count];
    times.iter().any(|time| settings.written(*time) != Number::Unset)
}

/// The values of the options in the table, in its order.
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

/// A parser of names, which it lists for completions.
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
    /// Excludes the presets that are refused.
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

/// Returns a parser of one option's value into settings with only that value.
fn value_of(option: SocketOption) -> impl Fn(&str) -> Result<Settings, String> + Clone + Send + Sync + 'static {
    move |text| {
        let mut settings = Settings::default();
        settings
            .set(option, text.as_bytes())
            .map(|()| settings)
            .map_err(|invalid| format!("{invalid}\nhint: expected {}", invalid.expected()))
    }
}

#[cfg(test)]
mod tests {
    use super::has_statements;

    #[test]
    fn comments_and_white_space_are_no_rules() {
        for (text, expected) in [("", false), (" \n;# connect off\n", false), ("# a\nconnect off", true)] {
            assert_eq!(has_statements(text.as_bytes()), expected, "{text:?}");
        }
    }
}
