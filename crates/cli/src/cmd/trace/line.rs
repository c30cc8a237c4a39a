//! The end of a connection, as a line for people and as a JSON object.

use crate::output::{display_width, sanitize};
use keepalive_engine::trace::ending::{Cause, Direction, Ending};
use keepalive_sys::errno;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The widths of the columns but the last, for IPv4 on a terminal of 80 columns.
const WIDTHS: [usize; 5] = [8, 15, 23, 5, 9];

/// The headings of the columns.
pub(super) const HEADINGS: &str = "UTC      PROGRAM/PID       PEER                   IDLE KEEPALIVE ENDED\n";

/// Returns the line for an end.
pub(super) fn row(ending: &Ending) -> String {
    let (_, _, _, time) = date(ending.time);
    let [hours, minutes, seconds] = [time / 3600, time / 60 % 60, time % 60];
    let settings = ending.settings;
    let keepalive = if settings.is_on {
        format!("{}/{}/{}", settings.idle, settings.interval, settings.count)
    } else {
        String::from("off")
    };
    let arrow = match ending.direction {
        Some(Direction::Connect) => '>',
        Some(Direction::Accept) => '<',
        None => '?',
    };
    let cells = [
        format!("{hours:02}:{minutes:02}:{seconds:02}"),
        owner(ending),
        format!("{arrow} {}", ending.peer),
        short(ending.idle),
        keepalive,
    ];
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        let padding = " ".repeat(width.saturating_sub(display_width(cell)));
        // Numbers are on the right.
        if index == 3 {
            line.extend([&*padding, cell, " "]);
        } else {
            line.extend([cell, &*padding, " "]);
        }
    }
    line + &words(ending) + "\n"
}

/// Returns the name of the program, shortened, and the number of its process.
fn owner(ending: &Ending) -> String {
    let Some(owner) = &ending.owner else {
        return String::from("?");
    };
    let pid = format!("/{}", owner.pid);
    let mut name = sanitize(&owner.program.to_string_lossy());
    let room = WIDTHS[1].saturating_sub(pid.len()).max(1);
    if display_width(&name) > room {
        while display_width(&name) >= room && name.pop().is_some() {}
        name.push('…');
    }
    name + &pid
}

/// Returns a time in at most five columns.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds}.{}s", time.subsec_millis() / 100),
        100..10_000 => format!("{seconds}s"),
        10_000..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Returns what ended the connection in at most 15 columns.
fn words(ending: &Ending) -> String {
    let words = match ending.cause {
        Cause::DeadPeer => "dead peer",
        Cause::ResetOnProbe => "reset on probe",
        Cause::ResetOnSend => "reset on send",
        Cause::TimeoutOnSend => "timeout on send",
        Cause::Reset => "reset",
        Cause::ClosedByPeer => "closed by peer",
        Cause::Closed => "closed",
        Cause::Other => return ending.errno.map_or_else(|| String::from("other"), errno::name),
    };
    words.to_owned()
}

/// The JSON object of an end. `None` becomes null.
#[derive(Serialize)]
pub(super) struct Entry {
    time: String,
    pid: Option<u32>,
    program: Option<String>,
    cgroup: Option<String>,
    container: Option<String>,
    local: String,
    peer: String,
    direction: Option<&'static str>,
    cause: &'static str,
    idle_s: f64,
    lived_s: Option<f64>,
    keepalive: bool,
    idle_setting_s: u32,
    interval_setting_s: u32,
    count_setting: u32,
    unanswered_probes: u32,
    retransmits: u32,
    errno: Option<String>,
}

impl Entry {
    pub(super) fn new(ending: &Ending) -> Self {
        let owner = ending.owner.as_ref();
        Self {
            time: rfc3339(ending.time),
            pid: owner.map(|owner| owner.pid),
            program: owner.map(|owner| owner.program.to_string_lossy().into_owned()),
            cgroup: ending.cgroup.clone(),
            container: ending.container.clone(),
            local: ending.local.to_string(),
            peer: ending.peer.to_string(),
            direction: ending.direction.map(Direction::name),
            cause: ending.cause.name(),
            idle_s: rounded(ending.idle),
            lived_s: ending.lived.map(rounded),
            keepalive: ending.settings.is_on,
            idle_setting_s: ending.settings.idle,
            interval_setting_s: ending.settings.interval,
            count_setting: ending.settings.count,
            unanswered_probes: ending.unanswered_probes,
            retransmits: ending.retransmits,
            errno: ending.errno.map(errno::name),
        }
    }
}

/// Returns seconds, rounded to milliseconds: jiffies are no more precise.
fn rounded(time: Duration) -> f64 {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}

/// Returns the time in UTC, with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let (year, month, day, seconds) = date(time);
    let milliseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    let [hours, minutes, seconds] = [seconds / 3600, seconds / 60 % 60, seconds % 60];
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z")
}

/// Returns year, month, day, and the seconds of the day, in UTC.
fn date(time: SystemTime) -> (u64, u64, u64, u64) {
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
    use keepalive_engine::trace::ending::{Owner, Settings};

    fn ending() -> Ending {
        Ending {
            time: UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
            owner: Some(Owner {
                pid: 4_194_304,
                program: "postgres".into(),
            }),
            cgroup: None,
            container: None,
            local: "192.168.100.100:54321".parse().unwrap(),
            peer: "192.168.100.200:54321".parse().unwrap(),
            direction: Some(Direction::Connect),
            cause: Cause::TimeoutOnSend,
            idle: Duration::from_secs(9_999),
            lived: None,
            settings: Settings {
                is_on: true,
                idle: 7200,
                interval: 75,
                count: 9,
                user_timeout: 0,
            },
            unanswered_probes: 0,
            retransmits: 6,
            errno: Some(110),
        }
    }

    #[test]
    fn lines_of_ipv4_fit_80_columns_under_their_headings() {
        let line = row(&ending());
        assert_eq!(
            line,
            "12:34:56 postgr…/4194304 > 192.168.100.200:54321 9999s 7200/75/9 timeout on send\n"
        );
        assert_eq!(display_width(line.trim_end()), 80);
        for (heading, cell) in [
            ("PROGRAM", "postgr"),
            ("PEER", "192"),
            ("KEEPALIVE", "7200"),
            ("ENDED", "timeout"),
        ] {
            let column = line[..line.find(cell).unwrap()].chars().count();
            assert_eq!(HEADINGS.find(heading), Some(column), "{heading}");
        }
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

    #[test]
    fn times_have_at_most_five_columns() {
        for (seconds, text) in [
            (0, "0.0s"),
            (99, "99.0s"),
            (9_999, "9999s"),
            (36_060, "10h01"),
            (900_000, "10d10"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
