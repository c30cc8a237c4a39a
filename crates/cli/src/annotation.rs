//! The annotation of a container or pod that contains its policy.

use crate::output::sanitize;
use crate::policy::{Policy, with_precedence};
use keepalive_engine::Error;
use keepalive_policy::Settings;
use keepalive_policy::parse::{Item, parse};

/// The key of the annotation.
pub(crate) const POLICY: &str = "keepalive.io/policy";

/// The largest value in bytes. All settings together are shorter.
const LARGEST: usize = 4096;

/// The policy that an annotation selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Selected {
    /// The policy of those without settings of their own.
    Default,
    /// These settings, with precedence over that policy.
    Settings(Settings),
}

impl Selected {
    /// Returns the policy that follows from the default one.
    pub(crate) fn apply(self, policy: Policy) -> Policy {
        match self {
            Self::Default => policy,
            Self::Settings(settings) => with_precedence(policy, POLICY, settings),
        }
    }
}

/// Returns what an annotation selects, as [`select`].
///
/// # Errors
/// The first mistake.
pub(crate) fn read(value: &str) -> Result<Selected, Error> {
    select(value).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::new(format!("annotation {POLICY}: {error}")).with_hint(hint)
    })
}

/// Reads settings as they follow `default` in a rules file. An empty value or `default` selects the default policy.
///
/// # Errors
/// The first mistake.
pub(crate) fn select(value: &str) -> Result<Selected, Error> {
    let words: Vec<&str> = value.split_whitespace().collect();
    if matches!(words.as_slice(), [] | ["default"]) {
        return Ok(Selected::Default);
    }
    if value.len() > LARGEST {
        return Err(Error::new(format!("the value has more than {LARGEST} bytes")).with_hint(SHAPE));
    }
    if value.contains([';', '#']) {
        return Err(Error::new("the value contains more than settings").with_hint(SHAPE));
    }
    let line = format!("default {}", words.join(" "));
    match parse(line.as_bytes()).next() {
        Some(Ok(Item::Default(settings))) => Ok(Selected::Settings(settings)),
        Some(Err(error)) => {
            let wrong = sanitize(line.get(error.start..error.end).unwrap_or_default());
            let message = format!("'{wrong}': {}", error.mistake.reason());
            Err(Error::new(message).with_hint(error.mistake.hint()))
        }
        _ => Err(Error::new("the value is no list of settings").with_hint(SHAPE)),
    }
}

const SHAPE: &str = "write settings, as in: idle=30s interval=10s count=4; or off";

#[cfg(test)]
mod tests {
    use super::*;
    use keepalive_policy::Keepalive;

    fn settings(value: &str) -> Settings {
        match read(value) {
            Ok(Selected::Settings(settings)) => settings,
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn settings_of_a_rule_are_read() {
        let three = settings(" idle=30s interval=10s\n count=4\n");
        assert_eq!(three.to_string(), "idle=30s interval=10s count=4");
        assert_eq!(settings("off"), Settings::NONE.with_keepalive(Keepalive::Off));
        assert_ne!(settings("preset=aws-nlb mode=cap"), Settings::NONE);
        for value in ["", " \n", "default"] {
            assert_eq!(read(value), Ok(Selected::Default), "{value:?}");
        }
    }

    #[test]
    fn mistakes_name_the_wrong_word() {
        for (value, message) in [
            (
                "idle=30x",
                "annotation keepalive.io/policy: 'idle=30x': unknown unit after the number",
            ),
            ("on", "annotation keepalive.io/policy: 'on': not a setting"),
            (
                "idle=30s idle=40s",
                "annotation keepalive.io/policy: 'idle=40s': set twice",
            ),
            (
                "idle=30s; connect * off",
                "annotation keepalive.io/policy: the value contains more than settings",
            ),
            (
                "\u{1b}[31m",
                "annotation keepalive.io/policy: '\u{fffd}[31m': not a setting",
            ),
        ] {
            assert_eq!(read(value).unwrap_err().to_string(), message);
        }
        let long = "x".repeat(5000);
        let error = read(&long).unwrap_err().to_string();
        assert_eq!(
            error,
            "annotation keepalive.io/policy: the value has more than 4096 bytes"
        );
    }
}
