//! Who wins when a program sets an option itself.

use crate::option::SocketOption;

/// Who wins when a program sets an option itself. "Keepalive off" counts as an infinite idle time, and a user timeout of
/// 0 as an infinite one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The program: what it leaves unset gets ours.
    #[default]
    Fill,
    /// The smaller: the program's may be lower than ours, never higher, so that keepalive cannot be off.
    Cap,
    /// The larger: the program's may be higher than ours, never lower; off is allowed.
    Floor,
    /// We: exactly ours.
    Enforce,
}

impl Mode {
    /// All modes, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Fill, Self::Cap, Self::Floor, Self::Enforce];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Cap => "cap",
            Self::Floor => "floor",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of this name, in capitals or not.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mode| crate::settings::is_word(name, mode.name().as_bytes()))
    }

    /// The number that `option` gets where the program has set `theirs` and the policy says `ours`. Times and counts that are
    /// too large count as unset, except in mode fill: an MPTCP socket takes them, and negative ones, and its connections have
    /// the kernel's default instead (`net/mptcp/sockopt.c`).
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

/// How long the number makes a connection wait: off is for ever.
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
    fn every_mode_settles_as_the_manual_says() {
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
