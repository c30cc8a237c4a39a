//! The policy of an invocation, from its sources: flags, then environment, then what serves everywhere.

use crate::error::Error;
use keepalive_policy::{Environment, Settings};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The settings that result from the flags, the environment and the default.
///
/// # Errors
/// A variable of ours that cannot be used: the library would ignore it, but here somebody is there to be told.
pub(crate) fn settings(flags: Settings, environment: &[(OsString, OsString)], status: u8) -> Result<Settings, Error> {
    let fallback = if flags == Settings::default() {
        Settings::EVERYWHERE
    } else {
        Settings::default()
    };
    Ok(flags.or(from_environment(environment, status)?).or(fallback))
}

fn from_environment(environment: &[(OsString, OsString)], status: u8) -> Result<Settings, Error> {
    let entries: Vec<OsString> = environment
        .iter()
        .map(|(name, value)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            entry
        })
        .collect();
    let mut read = Environment::default();
    for entry in &entries {
        read.read(entry.as_bytes(), false).map_err(|variable| {
            let value = OsStr::from_bytes(variable.value).display();
            Error::new(status, format!("{}={value}: {}", variable.name, variable.invalid))
                .hint(format!("expected {}", variable.invalid.expected()))
        })?;
    }
    if let Some(log) = read
        .log
        .filter(|log| !matches!(*log, b"stderr" | b"syslog") && !log.starts_with(b"/"))
    {
        let log = OsStr::from_bytes(log).display();
        return Err(
            Error::new(status, format!("KEEPALIVE_LOG={log}: not a place to write to"))
                .hint("expected stderr, syslog or an absolute path"),
        );
    }
    Ok(read.settings)
}
