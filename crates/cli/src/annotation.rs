//! The annotation of a container or pod that contains its policy.

use crate::output::sanitize;
use keepalive_engine::Error;
use keepalive_policy::Settings;
use keepalive_policy::parse::{Item, parse};

/// The key of the annotation.
pub(crate) const POLICY: &str = "keepalive.io/policy";

/// The largest value in bytes. All settings together are shorter.
const LARGEST: usize = 4096;

/// Returns the settings of an annotation, as [`settings`].
///
/// # Errors
/// The first mistake.
pub(crate) fn read(value: &str) -> Result<Option<Settings>, Error> {
    settings(value).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::new(format!("annotation {POLICY}: {error}")).with_hint(hint)
    })
}

/// Returns settings as they follow `default` in a rules file. `None` stands for the default policy, which an empty value or
/// `default` selects.
///
/// # Errors
/// The first mistake.
pub(crate) fn settings(value: &str) -> Result<Option<Settings>, Error> {
    let words: Vec<&str> = value.split_whitespace().collect();
    if matches!(words.as_slice(), [] | ["default"]) {
        return Ok(None);
    }
    if value.len() > LARGEST {
        return Err(Error::new(format!("the value has more than {LARGEST} bytes")).with_hint(SHAPE));
    }
    if value.contains([';', '#']) {
        return Err(Error::new("the value contains more than settings").with_hint(SHAPE));
    }
    let line = format!("default {}", words.join(" "));
    match parse(line.as_bytes()).next() {
        Some(Ok(Item::Default(settings))) => Ok(Some(settings)),
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

    #[test]
    fn settings_of_a_rule_are_read() {
        let settings = read(" idle=30s interval=10s\n count=4\n").unwrap().unwrap();
        assert_eq!(settings.to_string(), "idle=30s interval=10s count=4");
        let off = read("off").unwrap().unwrap();
        assert_eq!(off, Settings::NONE.with_keepalive(Keepalive::Off));
        assert!(read("preset=aws-nlb mode=cap").unwrap().is_some());
        for value in ["", " \n", "default"] {
            assert_eq!(read(value), Ok(None), "{value:?}");
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
