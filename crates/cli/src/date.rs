//! Times in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns a time in seconds since 1970-01-01 as RFC 3339 has it, in UTC.
pub(crate) fn utc(seconds: u64) -> String {
    to_the_second(UNIX_EPOCH + Duration::from_secs(seconds)) + "Z"
}

/// Returns the time in UTC, with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let milliseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    format!("{}.{milliseconds:03}Z", to_the_second(time))
}

fn to_the_second(time: SystemTime) -> String {
    let (year, month, day, seconds) = date(time);
    let [hours, minutes, seconds] = [seconds / 3600, seconds / 60 % 60, seconds % 60];
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}")
}

/// Returns year, month, day, and the seconds of the day, in UTC.
pub(crate) fn date(time: SystemTime) -> (u64, u64, u64, u64) {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Years that begin in March have their leap day at the end; 400 of them have 146,097 days, and 1970-01-01 is day
    // 719,468 of this calendar.
    let days = since / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year, month + 3)
    } else {
        (year + 1, month - 9)
    };
    (era * 400 + year, month, day, since % 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_time_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(1_709_210_096), "2024-02-29T12:34:56Z");
    }

    #[test]
    fn times_have_the_form_of_rfc_3339() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(milliseconds)), text);
        }
    }
}
