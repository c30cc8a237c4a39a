//! Parses durations such as `90`, `90s`, `1500ms`, `5m`, `2h`. A number without a unit is in seconds.

use crate::settings::Problem;

/// Parses a duration into milliseconds. The whole text must be a number with at most one unit. As in `atoi(3)`, a
/// leading `+` is allowed.
///
/// # Errors
/// [`Problem::Empty`], [`Problem::NotANumber`], [`Problem::UnknownUnit`], or [`Problem::TooLarge`] when the number of
/// milliseconds does not fit 64 bits.
pub fn parse(text: &[u8]) -> Result<u64, Problem> {
    let (number, unit) = split_number(text)?;
    let scale = match unit {
        b"" | b"s" => 1000,
        b"ms" => 1,
        b"m" => 60 * 1000,
        b"h" => 60 * 60 * 1000,
        _ => return Err(Problem::UnknownUnit),
    };
    number.checked_mul(scale).ok_or(Problem::TooLarge)
}

/// Parses a whole number without a unit. As in [`parse`], a leading `+` is allowed.
///
/// # Errors
/// [`Problem::Empty`], [`Problem::NotANumber`] or [`Problem::TooLarge`].
pub fn parse_number(text: &[u8]) -> Result<u64, Problem> {
    match split_number(text)? {
        (number, b"") => Ok(number),
        _ => Err(Problem::NotANumber),
    }
}

fn split_number(text: &[u8]) -> Result<(u64, &[u8]), Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    let mut rest = text.strip_prefix(b"+").unwrap_or(text);
    let mut number: Option<u64> = None;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        let larger = number
            .unwrap_or(0)
            .checked_mul(10)
            .and_then(|n| n.checked_add(u64::from(digit - b'0')));
        number = Some(larger.ok_or(Problem::TooLarge)?);
        rest = tail;
    }
    number.map(|number| (number, rest)).ok_or(Problem::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("1500ms", 1500),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("0", 0),
            ("007", 7000),
            ("+60", 60_000),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (text, problem) in [
            ("", Problem::Empty),
            ("x", Problem::NotANumber),
            ("-1", Problem::NotANumber),
            ("60x", Problem::UnknownUnit),
            ("60 s", Problem::UnknownUnit),
            ("1e9", Problem::UnknownUnit),
            ("1.5s", Problem::UnknownUnit),
            ("18446744073709551676", Problem::TooLarge),
            ("18446744073709551615h", Problem::TooLarge),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(problem), "{text}");
        }
        assert_eq!(parse_number(b"5s"), Err(Problem::NotANumber));
    }
}
