//! Computes when the kernel acts on a connection: the arithmetic of `net/ipv4/tcp_timer.c`.

/// The effective times of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The idle time, in seconds.
    pub idle: u32,
    /// The interval, in seconds.
    pub interval: u32,
    /// The number of probes.
    pub count: u32,
    /// The user timeout, in milliseconds; 0 means none.
    pub user_timeout: u32,
}

/// What happens to a connection behind a middlebox with a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection is kept, even if two probes are lost: the third is sent before the timeout.
    Kept,
    /// The first probe is sent before the timeout, but not the third.
    AtRisk,
    /// The middlebox forgets the connection before the first probe.
    Forgotten,
}

impl Times {
    /// Returns how many unanswered probes end the connection: `count`, or with a user timeout as many as fit
    /// into it, and at least one (`tcp_keepalive_timer`).
    pub fn lost_probes(self) -> u32 {
        if self.user_timeout == 0 {
            return self.count;
        }
        let after_first = u64::from(self.user_timeout).saturating_sub(1000 * u64::from(self.idle));
        let intervals = after_first.div_ceil(1000 * u64::from(self.interval.max(1)));
        u32::try_from(intervals).unwrap_or(u32::MAX).max(1)
    }

    /// Returns the seconds of silence after which the kernel closes a connection without data in flight.
    pub fn dead_after(self) -> u64 {
        u64::from(self.idle) + u64::from(self.interval) * u64::from(self.lost_probes())
    }

    /// The same without the user timeout, which is the natural value of that.
    pub fn natural_user_timeout(self) -> u64 {
        Self {
            user_timeout: 0,
            ..self
        }
        .dead_after()
    }

    /// Returns the seconds of silence until the third probe, so that two probes may be lost.
    pub fn third_probe(self) -> u64 {
        u64::from(self.idle) + 2 * u64::from(self.interval)
    }

    /// Returns whether the user timeout is so short that one or two lost probes end a live connection.
    pub fn is_too_short(self) -> bool {
        self.user_timeout != 0 && u64::from(self.user_timeout) < 1000 * self.third_probe()
    }

    /// Returns what happens to the connection behind a middlebox with this timeout, in seconds.
    pub fn fate(self, timeout: u32) -> Fate {
        if self.third_probe() < u64::from(timeout) {
            Fate::Kept
        } else if self.idle < timeout {
            Fate::AtRisk
        } else {
            Fate::Forgotten
        }
    }
}

/// Returns the number of lost probes in words: `one lost probe`, `2 lost probes`.
pub fn lost_probes(count: u32) -> String {
    match count {
        1 => String::from("one lost probe"),
        2 => String::from("two lost probes"),
        count => format!("{count} lost probes"),
    }
}

/// The longest time between two retransmissions (`TCP_RTO_MAX`), in milliseconds.
const LONGEST: u64 = 120_000;

/// Returns the milliseconds until `retries` (`tcp_retries2`) are exhausted for unacknowledged data, as the
/// kernel counts them: starting with the shortest time between two retransmissions (`tcp_model_timeout`).
/// With a slow peer it takes longer.
pub fn data_in_flight(retries: u32) -> u64 {
    tries(200, u64::from(retries) + 1)
}

/// Returns the milliseconds until connecting fails (`tcp_write_timeout`): at the first retransmission that
/// comes as late as `retries` retransmissions would, each after twice the previous time. The first `linear`
/// retransmissions follow after a second each.
pub fn connecting(retries: u32, linear: u32) -> u64 {
    let limit = tries(1000, u64::from(retries) + 1);
    let (mut elapsed, mut wait) = (1000, 1000);
    let mut sent = 0;
    while elapsed < limit && sent < retries.saturating_add(linear) {
        sent += 1;
        if sent > linear {
            wait = (2 * wait).min(LONGEST);
        }
        elapsed += wait;
    }
    elapsed
}

/// Returns the sum of `count` waiting times. The first is `first` milliseconds, and each is twice the previous one.
fn tries(first: u64, count: u64) -> u64 {
    // Ten doublings reach the longest time from the shortest.
    let doubling: u64 = (0..count.min(10)).map(|doubled| (first << doubled).min(LONGEST)).sum();
    doubling + count.saturating_sub(10) * LONGEST
}

/// Returns a short form of a time, for a table: `2.1s`, `42s`, `2m15s`, `1h59m`.
pub fn brief(milliseconds: u64) -> String {
    let seconds = (milliseconds + 500) / 1000;
    match seconds {
        0..10 => {
            let tenths = (milliseconds + 50) / 100;
            match tenths % 10 {
                0 => format!("{}s", tenths / 10),
                tenth => format!("{}.{tenth}s", tenths / 10),
            }
        }
        10..60 => format!("{seconds}s"),
        60..3600 => pair(seconds / 60, "m", seconds % 60, "s"),
        3600..86400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => pair(seconds / 86400, "d", seconds % 86400 / 3600, "h"),
    }
}

fn pair(large: u64, unit: &str, small: u64, smaller_unit: &str) -> String {
    match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{smaller_unit}"),
    }
}

/// Returns a time in words: `2 h 11 min 15 s`, `1.5 s`.
pub fn spell(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let fraction = match format!("{rest:03}").trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    let parts = [
        (seconds / 3600, "", "h"),
        (seconds / 60 % 60, "", "min"),
        (seconds % 60, fraction.as_str(), "s"),
    ];
    let shown = parts
        .iter()
        .filter(|(number, fraction, _)| *number != 0 || !fraction.is_empty());
    let words: Vec<String> = shown
        .map(|(number, fraction, unit)| format!("{number}{fraction} {unit}"))
        .collect();
    if words.is_empty() {
        String::from("0 s")
    } else {
        words.join(" ")
    }
}

/// Returns a time in words, with the precision of a time that depends on a path: whole seconds, and from two
/// minutes whole minutes.
pub fn spell_roughly(milliseconds: u64) -> String {
    let unit = if milliseconds < 120_000 { 1000 } else { 60_000 };
    spell(milliseconds.saturating_add(unit / 2) / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(idle: u32, interval: u32, count: u32, user_timeout: u32) -> Times {
        Times {
            idle,
            interval,
            count,
            user_timeout,
        }
    }

    #[test]
    fn a_dead_peer_is_noticed_when_it_was_measured() {
        for (times, probes, dead_after) in [
            (times(2, 2, 3, 0), 3, 8),
            (times(2, 2, 3, 20_000), 9, 20),
            (times(2, 2, 3, 3000), 1, 4),
            (times(2, 2, 3, 1), 1, 4),
            (times(2, 2, 3, 4001), 2, 6),
            (times(60, 15, 5, 0), 5, 135),
            (times(60, 15, 5, 135_000), 5, 135),
            (times(7200, 75, 9, 0), 9, 7875),
            (times(32_767, 32_767, 127, 2_147_483_647), 65, 2_162_622),
        ] {
            assert_eq!(
                (times.lost_probes(), times.dead_after()),
                (probes, dead_after),
                "{times:?}"
            );
        }
    }

    #[test]
    fn an_automatic_user_timeout_changes_nothing_of_it() {
        for idle in [1, 2, 59, 60, 32_767] {
            for interval in [1, 7, 60, 32_767] {
                for count in [1, 2, 5] {
                    let plain = times(idle, interval, count, 0);
                    let automatic = times(idle, interval, count, 1000 * (idle + interval * count));
                    assert_eq!(plain.dead_after(), automatic.dead_after(), "{plain:?}");
                    assert_eq!(plain.dead_after(), automatic.natural_user_timeout(), "{plain:?}");
                    assert_eq!(automatic.is_too_short(), count < 2, "{plain:?}");
                }
            }
        }
    }

    #[test]
    fn a_middlebox_is_outlived_when_the_third_probe_comes_in_time() {
        for (times, timeout, fate) in [
            (times(60, 15, 5, 0), 91, Fate::Kept),
            (times(60, 15, 5, 0), 90, Fate::AtRisk),
            (times(60, 15, 5, 0), 61, Fate::AtRisk),
            (times(60, 15, 5, 0), 60, Fate::Forgotten),
        ] {
            assert_eq!(times.fate(timeout), fate, "{timeout}");
        }
    }

    #[test]
    fn retries_take_as_long_as_the_kernels_manual_says() {
        // Documentation/networking/ip-sysctl.rst: 924.6 s; 127 s, or 131 s with four linear timeouts.
        assert_eq!(data_in_flight(15), 924_600);
        assert_eq!(data_in_flight(0), 200);
        assert_eq!(data_in_flight(8), 102_200);
        assert_eq!(connecting(6, 0), 127_000);
        assert_eq!(connecting(6, 4), 131_000);
        assert_eq!(connecting(8, 0), 127_000 + 2 * 120_000);
        // Measured on Linux 6.18 with TCP_SYNCNT 1 to 4: 3.1, 7.1, 19.5 and 35.6 s.
        for (retries, seconds) in [(1, 3), (2, 7), (3, 19), (4, 35)] {
            assert_eq!(connecting(retries, 4), 1000 * seconds, "{retries}");
        }
    }

    #[test]
    fn times_omit_zero_units() {
        for (milliseconds, exactly, roughly) in [
            (0, "0 s", "0 s"),
            (500, "0.5 s", "1 s"),
            (1050, "1.05 s", "1 s"),
            (60_000, "1 min", "1 min"),
            (135_000, "2 min 15 s", "2 min"),
            (924_600, "15 min 24.6 s", "15 min"),
            (7_200_000, "2 h", "2 h"),
            (7_875_000, "2 h 11 min 15 s", "2 h 11 min"),
            (3_600_001, "1 h 0.001 s", "1 h"),
        ] {
            assert_eq!(
                (spell(milliseconds).as_str(), spell_roughly(milliseconds).as_str()),
                (exactly, roughly)
            );
        }
    }
}
