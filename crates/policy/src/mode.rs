//! Defines whose value wins when a program sets an option itself.

use crate::option::SocketOption;

/// Whose value wins when a program sets an option itself. Disabled keepalive counts as an infinite idle time, and a
/// user timeout of 0 counts as infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The program's value wins. The policy sets only the options that the program leaves unset.
    #[default]
    Fill,
    /// The smaller value wins. The program may set a lower value than the policy, never a higher one, so keepalive
    /// cannot be disabled.
    Cap,
    /// The larger value wins. The program may set a higher value than the policy, never a lower one; it may disable
    /// keepalive.
    Floor,
    /// The policy's value wins.
    Enforce,
}

impl Mode {
    /// All modes, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Fill, Self::Cap, Self::Floor, Self::Enforce];

    /// Returns the name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Cap => "cap",
            Self::Floor => "floor",
            Self::Enforce => "enforce",
        }
    }

    /// Returns the mode with this name. Ignores case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mode| crate::settings::is_word(name, mode.name().as_bytes()))
    }

    /// Returns the number for `option` if the program has set `theirs` and the policy sets `ours`. Except in mode fill,
    /// a time or count above the option's range is treated as unset: an MPTCP socket accepts such values, and negative
    /// ones, but its connections keep the kernel's default (`net/mptcp/sockopt.c`).
    pub fn resolve(self, option: SocketOption, ours: u32, theirs: u32) -> u32 {
        let is_ours = match self {
            Self::Fill => false,
            _ if is_too_large(option, theirs) => true,
            Self::Cap => duration(option, ours) < duration(option, theirs),
            Self::Floor => duration(option, ours) > duration(option, theirs),
            Self::Enforce => true,
        };
        if is_ours { ours } else { theirs }
    }
}

fn is_too_large(option: SocketOption, number: u32) -> bool {
    let is_checked = matches!(
        option,
        SocketOption::Idle | SocketOption::Interval | SocketOption::Count
    );
    is_checked && number > option.row().range.1
}

/// Returns a value that orders the numbers of an option by waiting time. A disabled option waits for ever.
fn duration(option: SocketOption, number: u32) -> u32 {
    match (option, number) {
        (SocketOption::Keepalive | SocketOption::UserTimeout, 0) => u32::MAX,
        (SocketOption::Keepalive, _) => 0,
        (_, number) => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_resolves_as_documented() {
        use SocketOption::{Count, Idle, Keepalive, UserTimeout};
        for (option, ours, theirs, [fill, cap, floor, enforce]) in [
            (Idle, 60, 15, [15, 15, 60, 60]),
            (Idle, 60, 600, [600, 60, 600, 60]),
            (Count, 5, 9, [9, 5, 9, 5]),
            (Count, 5, 128, [128, 5, 5, 5]),
            (Idle, 60, 32_768, [32_768, 60, 60, 60]),
            (
                Idle,
                60,
                (-5_i32).cast_unsigned(),
                [(-5_i32).cast_unsigned(), 60, 60, 60],
            ),
            (Keepalive, 1, 0, [0, 1, 0, 1]),
            (Keepalive, 1, 1, [1, 1, 1, 1]),
            (UserTimeout, 30_000, 0, [0, 30_000, 0, 30_000]),
            (UserTimeout, 30_000, 5000, [5000, 5000, 30_000, 30_000]),
        ] {
            for (mode, expected) in Mode::ALL.into_iter().zip([fill, cap, floor, enforce]) {
                assert_eq!(
                    mode.resolve(option, ours, theirs),
                    expected,
                    "{mode:?} {option:?} {ours} {theirs}"
                );
            }
        }
    }
}
