//! Defines the settings of a connection, and parses the values of single options. Every setting is optional.

use crate::duration;
use crate::mode::Mode;
use crate::option::{OPTIONS, SocketOption, Unit};
use crate::preset;
use core::fmt;

/// Whether to enable keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// Enables `SO_KEEPALIVE`.
    On,
    /// Leaves `SO_KEEPALIVE` unchanged; the other options are still set. Written `leave`, or `skip` as in libkeepalive
    /// 0.2.
    Leave,
    /// Leaves the connection unchanged: no option is set.
    Off,
}

/// The options to set on a connection. The kernel's sysctls determine unset options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether to enable keepalive. `None` enables it.
    pub keepalive: Option<Keepalive>,
    /// Whose value wins when the program sets an option itself.
    pub mode: Option<Mode>,
    /// Packed by [`Number::pack`].
    numbers: [u32; OPTIONS.len()],
}

/// The value of an option: a number in the kernel's unit, or a state without a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Number {
    /// Unset. A fallback may set the option.
    #[default]
    Unset,
    /// The kernel's default, which a fallback does not replace. Only the variables of other libraries can request it.
    Default,
    /// Only for the user timeout: idle + interval × count of the connection, the time after which keepalive alone
    /// detects a dead peer.
    Auto,
    /// This number, within the option's range.
    Is(u32),
}

/// Why a text is not a valid value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text is empty.
    Empty,
    /// The text does not begin with a number, or other characters follow the number where no unit is allowed.
    NotANumber,
    /// The unit after the number is not `ms`, `s`, `m` or `h`.
    UnknownUnit,
    /// The option requires whole seconds, and the duration is not a multiple of a second.
    NotWholeSeconds,
    /// The word is not one of the valid words.
    UnknownWord,
    /// The number is below the option's range.
    TooSmall,
    /// The number is above the option's range, or does not fit 64 bits.
    TooLarge,
}

/// An invalid value of an option, with the reason. `Display` writes the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The option that the text was to set.
    pub option: SocketOption,
    /// The reason.
    pub problem: Problem,
}

impl Default for Settings {
    fn default() -> Self {
        Self::NONE
    }
}

impl Number {
    // These numbers are outside every option's range.
    const UNSET: u32 = u32::MAX;
    const DEFAULT: u32 = u32::MAX - 1;
    const AUTO: u32 = u32::MAX - 2;

    const fn pack(self) -> u32 {
        match self {
            Self::Unset => Self::UNSET,
            Self::Default => Self::DEFAULT,
            Self::Auto => Self::AUTO,
            Self::Is(number) => number,
        }
    }

    const fn unpack(packed: u32) -> Self {
        match packed {
            Self::UNSET => Self::Unset,
            Self::DEFAULT => Self::Default,
            Self::AUTO => Self::Auto,
            number => Self::Is(number),
        }
    }
}

impl Settings {
    /// Settings without any value.
    pub const NONE: Self = Self {
        keepalive: None,
        mode: None,
        numbers: [Number::UNSET; OPTIONS.len()],
    };

    /// Enables keepalive with the timings of [`preset::DEFAULT`].
    pub const EVERYWHERE: Self = preset::DEFAULT.settings().with_keepalive(Keepalive::On);

    /// Returns settings with only these timings (seconds, seconds, probes). The timings must be within the options'
    /// ranges.
    pub const fn timings(idle: u32, interval: u32, count: u32) -> Self {
        Self::NONE
            .with(SocketOption::Idle, Number::Is(idle))
            .with(SocketOption::Interval, Number::Is(interval))
            .with(SocketOption::Count, Number::Is(count))
    }

    /// Returns these settings with `number` for `option`. The number must be within the option's range.
    #[must_use]
    pub const fn with(mut self, option: SocketOption, number: Number) -> Self {
        self.numbers[option as usize] = number.pack();
        self
    }

    /// Returns these settings with `keepalive`.
    #[must_use]
    pub const fn with_keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = Some(keepalive);
        self
    }

    /// Returns these settings with `mode`.
    #[must_use]
    pub const fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Returns these settings, with the values of `fallback` for unset settings.
    #[must_use]
    pub fn or(mut self, fallback: Self) -> Self {
        self.complete(&fallback);
        self
    }

    /// Sets the unset settings to the values of `fallback`.
    pub fn complete(&mut self, fallback: &Self) {
        self.keepalive = self.keepalive.or(fallback.keepalive);
        self.mode = self.mode.or(fallback.mode);
        for (number, fallback) in self.numbers.iter_mut().zip(&fallback.numbers) {
            if *number == Number::UNSET {
                *number = *fallback;
            }
        }
    }

    /// Returns the value of `option` as it was set. For [`SocketOption::Keepalive`] see [`Settings::keepalive`].
    pub fn written(&self, option: SocketOption) -> Number {
        Number::unpack(self.numbers[option as usize])
    }

    /// Returns the number for `setsockopt(2)`, or `None` if the option must stay unchanged. A user timeout of
    /// [`Number::Auto`] has no number here; [`Settings::user_timeout_ms`] computes it.
    pub fn number(&self, option: SocketOption) -> Option<u32> {
        match (option, self.keepalive) {
            (_, Some(Keepalive::Off)) | (SocketOption::Keepalive, Some(Keepalive::Leave)) => None,
            (SocketOption::Keepalive, _) => Some(1),
            _ => match self.written(option) {
                Number::Is(number) => Some(number),
                Number::Unset | Number::Default | Number::Auto => None,
            },
        }
    }

    /// Returns the user timeout in milliseconds for a connection with these effective timings, or `None` if the user
    /// timeout must stay unchanged. `idle` and `interval` are in seconds. An automatic user timeout is limited to the
    /// option's range.
    pub fn user_timeout_ms(&self, idle: u32, interval: u32, count: u32) -> Option<u32> {
        let option = SocketOption::UserTimeout;
        if self.written(option) != Number::Auto || self.keepalive == Some(Keepalive::Off) {
            return self.number(option);
        }
        let automatic = interval.saturating_mul(count).saturating_add(idle).saturating_mul(1000);
        Some(automatic.min(option.row().range.1))
    }

    /// Sets `option` to the value in `text`. Ignores white space around the value.
    ///
    /// # Errors
    /// [`Invalid`] if the value is invalid; then the settings are unchanged.
    pub fn set(&mut self, option: SocketOption, text: &[u8]) -> Result<(), Invalid> {
        self.try_set(option, text.trim_ascii())
            .map_err(|problem| Invalid { option, problem })
    }

    fn try_set(&mut self, option: SocketOption, text: &[u8]) -> Result<(), Problem> {
        if option == SocketOption::Keepalive {
            self.keepalive = Some(Keepalive::parse(text)?);
        } else {
            let number = match option {
                SocketOption::UserTimeout if is_word(text, b"auto") => Number::Auto,
                SocketOption::UserTimeout if is_word(text, b"off") => Number::Is(0),
                _ => Number::Is(number(option, text)?),
            };
            // `OPTIONS` contains every option, so the index is always valid.
            if let Some(slot) = self.numbers.get_mut(option as usize) {
                *slot = number.pack();
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

/// Whether `text` is `word`, ignoring case. `word` must be lower case.
pub(crate) fn is_word(text: &[u8], word: &[u8]) -> bool {
    text.len() == word.len()
        && text
            .iter()
            .zip(word)
            .all(|(letter, expected)| letter.to_ascii_lowercase() == *expected)
}

/// Parses the number of an option in the kernel's unit, and checks its range.
fn number(option: SocketOption, text: &[u8]) -> Result<u32, Problem> {
    let row = option.row();
    let number = match row.unit {
        Unit::Count | Unit::Switch => duration::parse_number(text)?,
        Unit::Milliseconds => duration::parse(text)?,
        Unit::Seconds => {
            let milliseconds = duration::parse(text)?;
            if !milliseconds.is_multiple_of(1000) {
                return Err(Problem::NotWholeSeconds);
            }
            milliseconds / 1000
        }
    };
    in_range(option, number)
}

/// Returns `number` if it is within the range of `option`.
///
/// # Errors
/// [`Problem::TooSmall`] or [`Problem::TooLarge`].
pub fn in_range(option: SocketOption, number: u64) -> Result<u32, Problem> {
    let (smallest, largest) = option.row().range;
    match u32::try_from(number) {
        Ok(number) if number < smallest => Err(Problem::TooSmall),
        Ok(number) if number <= largest => Ok(number),
        _ => Err(Problem::TooLarge),
    }
}

impl Problem {
    /// Returns the reason in a few words.
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
    /// Returns the valid values, in a few words.
    pub const fn expected(self) -> &'static str {
        self.option.row().expected
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.problem.reason())
    }
}

/// Writes the settings as in a rule: `name=value` in the table's order, or `off`. Settings without any value become an
/// empty text.
impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(keepalive) = self.keepalive {
            formatter.write_str(match keepalive {
                Keepalive::On => "keepalive=on",
                Keepalive::Leave => "keepalive=leave",
                Keepalive::Off => "off",
            })?;
            separator = " ";
        }
        for option in OPTIONS {
            let row = option.row();
            match (self.written(option), row.unit) {
                (Number::Unset | Number::Default, _) => continue,
                (Number::Auto, _) => write!(formatter, "{separator}{}=auto", row.name)?,
                (Number::Is(0), Unit::Milliseconds) => write!(formatter, "{separator}{}=off", row.name)?,
                (Number::Is(number), Unit::Milliseconds) if number % 1000 == 0 => {
                    write!(formatter, "{separator}{}={}s", row.name, number / 1000)?;
                }
                (Number::Is(number), Unit::Milliseconds) => write!(formatter, "{separator}{}={number}ms", row.name)?,
                (Number::Is(number), Unit::Seconds) => write!(formatter, "{separator}{}={number}s", row.name)?,
                (Number::Is(number), _) => write!(formatter, "{separator}{}={number}", row.name)?,
            }
            separator = " ";
        }
        match self.mode {
            Some(mode) => write!(formatter, "{separator}mode={}", mode.name()),
            None => Ok(()),
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
        for option in OPTIONS
            .into_iter()
            .filter(|option| matches!(option.row().unit, Unit::Seconds | Unit::Count))
        {
            let (smallest, largest) = option.row().range;
            assert_eq!(set(option, &smallest.to_string()), Ok(Some(smallest)), "{option:?}");
            assert_eq!(set(option, &largest.to_string()), Ok(Some(largest)), "{option:?}");
            if let Some(below) = smallest.checked_sub(1) {
                assert_eq!(set(option, &below.to_string()), Err(Problem::TooSmall), "{option:?}");
            }
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
        let settings = Settings::NONE.with(SocketOption::UserTimeout, Number::Auto);
        assert_eq!(settings.user_timeout_ms(60, 10, 5), Some(110_000));
        assert_eq!(settings.user_timeout_ms(32_767, 32_767, 127), Some(2_147_483_647));
        assert_eq!(Settings::EVERYWHERE.user_timeout_ms(60, 10, 5), None);
        let off = settings.with_keepalive(Keepalive::Off);
        assert_eq!(off.user_timeout_ms(60, 10, 5), None);
    }

    #[test]
    fn settings_print_as_they_are_written() {
        let settings = Settings::EVERYWHERE.with(SocketOption::UserTimeout, Number::Is(1500));
        assert_eq!(
            settings.to_string(),
            "keepalive=on idle=60s interval=15s count=5 user-timeout=1500ms"
        );
        assert_eq!(Settings::NONE.to_string(), "");
        let auto = Settings::NONE
            .with(SocketOption::UserTimeout, Number::Auto)
            .with_mode(Mode::Cap);
        assert_eq!(auto.to_string(), "user-timeout=auto mode=cap");
    }

    #[test]
    fn earlier_settings_win_over_their_fallback() {
        let flags = Settings::NONE.with(SocketOption::Idle, Number::Is(30));
        assert_eq!(flags.or(Settings::EVERYWHERE).number(SocketOption::Idle), Some(30));
        assert_eq!(flags.or(Settings::EVERYWHERE).number(SocketOption::Count), Some(5));
    }

    #[test]
    fn every_option_is_found_by_name_and_by_number() {
        for option in OPTIONS {
            let row = option.row();
            assert_eq!(SocketOption::from_name(row.name.as_bytes()), Some(option));
            assert_eq!(SocketOption::from_number(row.level, row.optname), Some(option));
            assert_eq!(OPTIONS[option as usize], option);
        }
    }
}
