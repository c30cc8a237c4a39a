//! The settings of a connection, each optional, and how a single one is read from text.

use crate::duration;
use crate::option::{OPTIONS, SocketOption, Unit};
use core::fmt;

/// Whether keepalive is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// `SO_KEEPALIVE` is set.
    On,
    /// `SO_KEEPALIVE` stays as it is; the other options are set all the same. Written `leave`, or `skip` as in
    /// libkeepalive 0.3.
    Leave,
    /// The connection is left alone altogether: nothing is set.
    Off,
}

/// `TCP_USER_TIMEOUT` as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserTimeout {
    /// None.
    Off,
    /// idle + interval × count of the connection: the moment at which keepalive alone would give a dead peer up.
    Auto,
    /// This many milliseconds, 1 to 2147483647.
    After(u32),
}

/// What to set on a connection. What is `None` is left to the kernel's sysctls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether to switch keepalive on; on where nothing is said.
    pub keepalive: Option<Keepalive>,
    /// Seconds before the first probe, 1 to 32767.
    pub idle: Option<u16>,
    /// Seconds between probes, 1 to 32767.
    pub interval: Option<u16>,
    /// Unanswered probes, 1 to 127.
    pub count: Option<u8>,
    /// The user timeout.
    pub user_timeout: Option<UserTimeout>,
}

/// Why a text is no value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no text.
    Empty,
    /// It does not begin with a number, or goes on after it where no unit may follow.
    NotANumber,
    /// What follows the number is not `ms`, `s`, `m` or `h`.
    UnknownUnit,
    /// Whole seconds are counted here, and this is not a number of them.
    NotWholeSeconds,
    /// It is none of the words that may stand here.
    UnknownWord,
    /// Below what the kernel accepts.
    TooSmall,
    /// Above what the kernel accepts.
    TooLarge,
}

/// A text that is no value of an option, with the reason. Its `Display` is the reason and the range in one phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The option that was to be set.
    pub option: SocketOption,
    /// What is wrong.
    pub problem: Problem,
}

impl Settings {
    /// What keeps a connection through every common layer-4 middlebox: 60 s, 15 s, 5 probes.
    pub const EVERYWHERE: Self = Self {
        keepalive: Some(Keepalive::On),
        idle: Some(60),
        interval: Some(15),
        count: Some(5),
        user_timeout: None,
    };

    /// These settings, and where they say nothing, those of `fallback`.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            keepalive: self.keepalive.or(fallback.keepalive),
            idle: self.idle.or(fallback.idle),
            interval: self.interval.or(fallback.interval),
            count: self.count.or(fallback.count),
            user_timeout: self.user_timeout.or(fallback.user_timeout),
        }
    }

    /// The number for `setsockopt(2)`, or `None` where the option is to be left alone. A user timeout of
    /// [`UserTimeout::Auto`] is no number yet: see [`Settings::user_timeout_ms`].
    pub fn number(&self, option: SocketOption) -> Option<u32> {
        match option {
            _ if self.keepalive == Some(Keepalive::Off) => None,
            SocketOption::Keepalive => (self.keepalive != Some(Keepalive::Leave)).then_some(1),
            SocketOption::Idle => self.idle.map(u32::from),
            SocketOption::Interval => self.interval.map(u32::from),
            SocketOption::Count => self.count.map(u32::from),
            SocketOption::UserTimeout => match self.user_timeout? {
                UserTimeout::Off => Some(0),
                UserTimeout::After(milliseconds) => Some(milliseconds),
                UserTimeout::Auto => None,
            },
        }
    }

    /// The user timeout in milliseconds for a connection with these effective times; 0 for none. `idle` and `interval`
    /// are seconds. An automatic one that would be over the kernel's limit is that limit.
    pub fn user_timeout_ms(&self, idle: u32, interval: u32, count: u32) -> u32 {
        match self.user_timeout {
            None | Some(UserTimeout::Off) => 0,
            Some(UserTimeout::After(milliseconds)) => milliseconds,
            Some(UserTimeout::Auto) => {
                let largest = SocketOption::UserTimeout.row().range.1;
                interval
                    .saturating_mul(count)
                    .saturating_add(idle)
                    .saturating_mul(1000)
                    .min(largest)
            }
        }
    }

    /// Reads `text` as the value of `option`, with or without white space around it.
    ///
    /// # Errors
    /// [`Invalid`], and nothing is changed.
    pub fn set(&mut self, option: SocketOption, text: &[u8]) -> Result<(), Invalid> {
        self.try_set(option, text)
            .map_err(|problem| Invalid { option, problem })
    }

    // The table's range lies within the types that are cast to.
    #[expect(clippy::cast_possible_truncation)]
    fn try_set(&mut self, option: SocketOption, text: &[u8]) -> Result<(), Problem> {
        let word = text.trim_ascii();
        match option {
            SocketOption::Keepalive => self.keepalive = Some(Keepalive::parse(word)?),
            SocketOption::UserTimeout if is_word(word, b"auto") => self.user_timeout = Some(UserTimeout::Auto),
            SocketOption::UserTimeout if is_word(word, b"off") => self.user_timeout = Some(UserTimeout::Off),
            _ => {
                let number = number(option, word)?;
                match option {
                    SocketOption::Keepalive => {}
                    SocketOption::Idle => self.idle = Some(number as u16),
                    SocketOption::Interval => self.interval = Some(number as u16),
                    SocketOption::Count => self.count = Some(number as u8),
                    SocketOption::UserTimeout if number == 0 => self.user_timeout = Some(UserTimeout::Off),
                    SocketOption::UserTimeout => self.user_timeout = Some(UserTimeout::After(number)),
                }
            }
        }
        Ok(())
    }
}

impl Keepalive {
    fn parse(word: &[u8]) -> Result<Self, Problem> {
        match word {
            _ if is_word(word, b"on") => Ok(Self::On),
            _ if is_word(word, b"off") => Ok(Self::Off),
            _ if is_word(word, b"skip") || is_word(word, b"leave") => Ok(Self::Leave),
            b"" => Err(Problem::Empty),
            _ => Err(Problem::UnknownWord),
        }
    }
}

/// Whether `text` is `word`, in capitals or not.
fn is_word(text: &[u8], word: &[u8]) -> bool {
    text.len() == word.len()
        && text
            .iter()
            .zip(word)
            .all(|(letter, expected)| letter.to_ascii_lowercase() == *expected)
}

/// The number of an option in the unit that the kernel wants, within its range.
fn number(option: SocketOption, text: &[u8]) -> Result<u32, Problem> {
    let row = option.row();
    let number = match row.unit {
        Unit::Probes | Unit::Switch => duration::parse_number(text)?,
        Unit::Milliseconds => duration::parse(text)?,
        Unit::Seconds => {
            let milliseconds = duration::parse(text)?;
            if !milliseconds.is_multiple_of(1000) {
                return Err(Problem::NotWholeSeconds);
            }
            milliseconds / 1000
        }
    };
    let (smallest, largest) = row.range;
    match u32::try_from(number) {
        Ok(number) if number < smallest => Err(Problem::TooSmall),
        Ok(number) if number <= largest => Ok(number),
        _ => Err(Problem::TooLarge),
    }
}

impl Problem {
    /// The reason in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "there is no value",
            Self::NotANumber => "not a whole number",
            Self::UnknownUnit => "unknown unit after the number",
            Self::NotWholeSeconds => "not a whole number of seconds",
            Self::UnknownWord => "unknown word",
            Self::TooSmall => "too small",
            Self::TooLarge => "too large",
        }
    }
}

impl Invalid {
    /// What may stand here instead, in a few words.
    pub const fn expected(self) -> &'static str {
        match self.option {
            SocketOption::Keepalive => "on, off or skip",
            SocketOption::Idle | SocketOption::Interval => "1 to 32767 seconds, such as 90, 90s, 5m or 2h",
            SocketOption::Count => "1 to 127 probes, such as 5",
            SocketOption::UserTimeout => "off, auto, or up to 2147483647ms, such as 30, 1500ms, 30s or 2m",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.problem.reason())
    }
}

/// Each option that is set, as `name=value`, in the table's order; an empty text when nothing is.
impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for option in OPTIONS {
            let text = match (option, self.number(option)) {
                (SocketOption::Keepalive, _) => match self.keepalive {
                    None => continue,
                    Some(Keepalive::On) => Text::Word("on"),
                    Some(Keepalive::Leave) => Text::Word("leave"),
                    Some(Keepalive::Off) => Text::Word("off"),
                },
                (SocketOption::UserTimeout, Some(0)) => Text::Word("off"),
                (SocketOption::UserTimeout, None) if self.user_timeout.is_some() => Text::Word("auto"),
                (_, Some(number)) => Text::Number(number, option.row().unit),
                (_, None) => continue,
            };
            write!(formatter, "{separator}{}={text}", option.row().name)?;
            separator = " ";
        }
        Ok(())
    }
}

enum Text {
    Word(&'static str),
    Number(u32, Unit),
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Word(word) => formatter.write_str(word),
            Self::Number(number, Unit::Seconds) => write!(formatter, "{number}s"),
            Self::Number(number, Unit::Milliseconds) if number % 1000 == 0 => write!(formatter, "{}s", number / 1000),
            Self::Number(number, Unit::Milliseconds) => write!(formatter, "{number}ms"),
            Self::Number(number, Unit::Switch | Unit::Probes) => write!(formatter, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn set(option: SocketOption, text: &str) -> Result<Option<u32>, Problem> {
        let mut settings = Settings::default();
        settings
            .set(option, text.as_bytes())
            .map_err(|invalid| invalid.problem)?;
        Ok(settings.number(option))
    }

    #[test]
    fn the_limits_are_the_kernels() {
        for option in [SocketOption::Idle, SocketOption::Interval, SocketOption::Count] {
            let (smallest, largest) = option.row().range;
            assert_eq!(set(option, &smallest.to_string()), Ok(Some(smallest)), "{option:?}");
            assert_eq!(set(option, &largest.to_string()), Ok(Some(largest)), "{option:?}");
            assert_eq!(
                set(option, &(smallest - 1).to_string()),
                Err(Problem::TooSmall),
                "{option:?}"
            );
            assert_eq!(
                set(option, &(largest + 1).to_string()),
                Err(Problem::TooLarge),
                "{option:?}"
            );
        }
        assert_eq!(set(SocketOption::UserTimeout, "2147483647ms"), Ok(Some(2_147_483_647)));
        assert_eq!(set(SocketOption::UserTimeout, "2147483648ms"), Err(Problem::TooLarge));
    }

    #[test]
    fn seconds_are_whole_and_milliseconds_belong_to_the_user_timeout() {
        assert_eq!(set(SocketOption::Idle, "1500ms"), Err(Problem::NotWholeSeconds));
        assert_eq!(set(SocketOption::Idle, "2000ms"), Ok(Some(2)));
        assert_eq!(set(SocketOption::UserTimeout, "1500ms"), Ok(Some(1500)));
        assert_eq!(set(SocketOption::UserTimeout, "0"), Ok(Some(0)));
        assert_eq!(set(SocketOption::UserTimeout, "auto"), Ok(None));
        assert_eq!(set(SocketOption::Idle, " 60 "), Ok(Some(60)));
    }

    #[test]
    fn an_invalid_value_changes_nothing() {
        let mut settings = Settings::EVERYWHERE;
        assert!(settings.set(SocketOption::Idle, b"0").is_err());
        assert_eq!(settings, Settings::EVERYWHERE);
    }

    #[test]
    fn an_automatic_user_timeout_is_when_keepalive_gives_up() {
        let settings = Settings {
            user_timeout: Some(UserTimeout::Auto),
            ..Settings::default()
        };
        assert_eq!(settings.user_timeout_ms(60, 10, 5), 110_000);
        assert_eq!(settings.user_timeout_ms(32_767, 32_767, 127), 2_147_483_647);
    }

    #[test]
    fn settings_print_as_they_are_written() {
        let settings = Settings {
            user_timeout: Some(UserTimeout::After(1500)),
            ..Settings::EVERYWHERE
        };
        assert_eq!(
            settings.to_string(),
            "keepalive=on idle=60s interval=15s count=5 user-timeout=1500ms"
        );
        assert_eq!(Settings::default().to_string(), "");
        let auto = Settings {
            keepalive: Some(Keepalive::Leave),
            user_timeout: Some(UserTimeout::Auto),
            ..Settings::default()
        };
        assert_eq!(auto.to_string(), "keepalive=leave user-timeout=auto");
    }

    #[test]
    fn earlier_settings_win_over_their_fallback() {
        let flags = Settings {
            idle: Some(30),
            ..Settings::default()
        };
        assert_eq!(flags.or(Settings::EVERYWHERE).idle, Some(30));
        assert_eq!(flags.or(Settings::EVERYWHERE).count, Some(5));
    }
}
