//! Reads the policy of an invocation from its sources: the command line and the environment, then the
//! configuration file.

use crate::error::{Error, describe};
use crate::flags::{PolicyFlags, has_statements};
use crate::mistake::mistakes;
use crate::output::{WIDTH, sanitize, wrap, write_stderr};
pub(crate) use keepalive_engine::policy::{Part, Policy, Text};
use keepalive_policy::environment as variable;
use keepalive_policy::parse::without_mark;
use keepalive_policy::protocol::{CONFIG, LARGEST_RULES};
use keepalive_policy::{Environment, Settings};
use keepalive_sys::regular::{self, Unfit};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of rules from the command line.
pub(crate) const RULE: &str = "--rule";

/// The limit of a rules file's size in bytes: the library reads no more.
pub(crate) const LARGEST: u64 = LARGEST_RULES as u64;

/// The time limit for reading a pipe as a rules file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the policy from options, environment and configuration file. If no option sets times and there are no rules and
/// no file, those of `fallback` are used.
///
/// # Errors
/// Any mistake in the policy, with this exit status. The library would ignore the mistake, but this command
/// reports it to the user.
pub(crate) fn read(
    flags: &PolicyFlags,
    environment: &[(OsString, OsString)],
    fallback: Settings,
    status: u8,
) -> Result<Policy, Error> {
    let entries: Vec<Vec<u8>> = environment
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let mut notes = Vec::new();
    let variables = read_variables(&entries, status, &mut notes)?;
    let mut rules = number_lines(flags.rules.iter().map(|rule| rule.as_bytes()));
    rules.extend(variables.rules.map(|rules| text(variable::RULES, rules)));

    let named = flags
        .config
        .clone()
        .or_else(|| variables.config.map(|path| PathBuf::from(OsStr::from_bytes(path))));
    let (config, is_config_pipe) = read_config(named.as_deref(), status)?;
    refuse_mistakes(rules.iter().chain(&config), status)?;
    let is_explicit = flags.have_times() || variables.rules.is_some_and(has_statements) || config.is_some();
    let settings = flags.settings().or(variables.settings());
    let fallback = (!is_explicit).then_some(fallback);
    let settings = settings.or(fallback.unwrap_or(Settings::NONE));
    let mut explicit: Vec<(String, Settings)> = flags.explicit().collect();
    explicit.extend(each_variable(&entries));
    let config_path = named.map(|path| std::path::absolute(&path).unwrap_or(path));
    Ok(Policy {
        settings,
        explicit,
        fallback,
        rules,
        config,
        config_path,
        notes,
        is_config_pipe,
        owner: None,
    })
}

/// Reads the policy from options alone, with the default times if they set none; `None` if there are no options.
///
/// # Errors
/// Any mistake in the policy, with this exit status.
pub(crate) fn from_flags(flags: &PolicyFlags, status: u8) -> Result<Option<Policy>, Error> {
    if flags.are_empty() {
        return Ok(None);
    }
    let rules = number_lines(flags.rules.iter().map(|rule| rule.as_bytes()));
    let (config, is_config_pipe) = match &flags.config {
        Some(named) => read_config(Some(named), status)?,
        None => (None, false),
    };
    refuse_mistakes(rules.iter().chain(&config), status)?;
    let fallback = (!flags.have_times()).then_some(Settings::EVERYWHERE);
    Ok(Some(Policy {
        settings: flags.settings().or(fallback.unwrap_or(Settings::NONE)),
        explicit: flags.explicit().collect(),
        fallback,
        rules,
        config,
        config_path: flags.config.clone(),
        notes: Vec::new(),
        is_config_pipe,
        owner: None,
    }))
}

/// # Errors
/// The mistakes in the texts, if any.
fn refuse_mistakes<'a>(texts: impl Iterator<Item = &'a Text>, status: u8) -> Result<(), Error> {
    let refused: Vec<String> = texts
        .filter_map(|text| mistakes(&text.name, text.first_line, &text.text))
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Error::placed(status, refused.join("\n")))
    }
}

/// Returns the policy with settings that take precedence over all its sources: what a container's annotation contains is
/// treated as options.
pub(crate) fn with_precedence(policy: Policy, name: &str, settings: Settings) -> Policy {
    let mut explicit = vec![(name.to_owned(), settings)];
    explicit.extend(policy.explicit);
    // As with options, a mode or a user timeout alone amends the default times.
    let fallback = policy.fallback.filter(|_| !crate::flags::has_times(&settings));
    let all = explicit.iter().map(|(_, settings)| *settings).chain(fallback);
    Policy {
        settings: all.fold(Settings::NONE, Settings::or),
        explicit,
        fallback,
        ..policy
    }
}

/// Prints the ignored variables on standard error.
pub(crate) fn report_notes(policy: &Policy) {
    for note in &policy.notes {
        write_stderr(&wrap(&format!("keepalive: note: {note}"), WIDTH, 2));
    }
}

/// Checks that the path of the configuration file can be passed to a process that reads it later.
///
/// # Errors
/// The file is a pipe, with this exit status.
pub(crate) fn require_file(policy: &Policy, reader: &str, status: u8) -> Result<(), Error> {
    match &policy.config_path {
        Some(path) if policy.is_config_pipe => Err(Error::new(
            status,
            format!(
                "cannot use '{}': it is a pipe, and {reader} would read it again",
                path.display()
            ),
        )
        .hint("write the rules to a file, or give each with --rule")),
        _ => Ok(()),
    }
}

fn text(name: &str, text: &[u8]) -> Text {
    Text {
        name: name.to_owned(),
        // The library gets several texts as one, and only the first may begin with a byte order mark.
        text: without_mark(text).to_vec(),
        first_line: 1,
    }
}

/// Numbers the texts of `--rule`, so that `--rule:2` names the second one.
fn number_lines<'a>(rules: impl Iterator<Item = &'a [u8]>) -> Vec<Text> {
    let mut next_line = 1_u32;
    let numbered = rules.map(|rule| {
        let first_line = next_line;
        let lines = rule.split(|byte| *byte == b'\n').count();
        next_line = next_line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        Text {
            first_line,
            ..text(RULE, rule)
        }
    });
    numbered.collect()
}

/// Reads the variables. A mistake in a variable that other products share is added to `notes`, and the
/// variable is ignored.
///
/// # Errors
/// A mistake in any other variable.
fn read_variables<'a>(entries: &'a [Vec<u8>], status: u8, notes: &mut Vec<String>) -> Result<Environment<'a>, Error> {
    let mut read = Environment::default();
    for entry in entries {
        let Err(variable) = read.read(entry, false) else {
            continue;
        };
        let name = OsStr::from_bytes(variable.name).display();
        let value = OsStr::from_bytes(variable.value).display();
        let problem = format!("{name}={value}: {}", variable.reason);
        if variable.is_shared() {
            let expected = variable.expected;
            notes.push(sanitize(&format!(
                "{problem}: ignored, since other products use {name} too (expected {expected})"
            )));
        } else {
            return Err(Error::new(status, problem).hint(format!("expected {}", variable.expected)));
        }
    }
    if let Some(log) = read
        .log
        .filter(|log| !matches!(*log, b"stderr" | b"syslog") && !log.starts_with(b"/"))
    {
        let log = OsStr::from_bytes(log).display();
        return Err(
            Error::new(status, format!("{}={log}: not a place to write to", variable::LOG))
                .hint("expected stderr, syslog or an absolute path"),
        );
    }
    Ok(read)
}

/// Returns the settings of each variable: keepalive's own first, then those of other libraries, in the
/// precedence of [`Environment::settings`].
fn each_variable(entries: &[Vec<u8>]) -> Vec<(String, Settings)> {
    let mut explicit: Vec<(String, Settings)> = entries
        .iter()
        .filter_map(|entry| {
            let mut alone = Environment::default();
            alone.read(entry, false).ok()?;
            let settings = Some(alone.settings()).filter(|settings| *settings != Settings::NONE)?;
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            Some((String::from_utf8_lossy(name).into_owned(), settings))
        })
        .collect();
    let rank = |name: &str| [name.starts_with("TCP_"), name.starts_with("DD_")];
    explicit.sort_by_key(|(name, _)| rank(name));
    explicit
}

/// Returns the text of the named file, or of the default file if it exists and no file is named; and whether
/// it was a pipe.
fn read_config(named: Option<&Path>, status: u8) -> Result<(Option<Text>, bool), Error> {
    let path = named.unwrap_or(Path::new(CONFIG));
    match read_rules(path) {
        Ok((content, is_pipe)) => Ok((Some(text(&path.display().to_string(), &content)), is_pipe)),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok((None, false)),
        Err(error) => Err(unreadable(status, &path.display().to_string(), &error)),
    }
}

/// Reads a rules file, or an unnamed pipe in its place. Returns whether it was a pipe.
///
/// # Errors
/// [`Unfit`]; the errors of reading.
pub(crate) fn read_rules(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    regular::read_or_pipe(path, LARGEST, PATIENCE)
}

/// Returns the error for a rules file that could not be read.
pub(crate) fn unreadable(status: u8, name: &str, error: &io::Error) -> Error {
    let message = Error::new(status, format!("cannot read '{name}': {}", describe(error)));
    match Unfit::of(error) {
        Some(Unfit::Endless(_)) => message.hint("rules are used when the pipe has been closed by all who write to it"),
        Some(_) => message.hint("a rules file is a regular file of at most 256 KiB"),
        None => message,
    }
}
