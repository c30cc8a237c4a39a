//! The end of a connection, as a line for people and as a JSON object.

use crate::date::{date, rfc3339};
use crate::output::{display_width, sanitize};
use keepalive_engine::trace::ending::{Cause, Direction, Ending};
use keepalive_sys::errno;
use serde::Serialize;
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;
    use keepalive_engine::trace::ending::{Owner, Settings};
    use std::time::UNIX_EPOCH;

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
