//! The settings of a connection, as an array of numbers that programs pass to each other.

use crate::assembler::{Assembler, Condition, Helper, Label, Map, Operation, Register, Size};
use keepalive_policy::option::{BY_EBPF, ByEbpf};
use keepalive_policy::{Keepalive, Mode, Number, Settings, SocketOption};

/// The length of [`SockSettings`]: the mode and one value for each option, rounded up to an even number.
const NUMBERS: usize = (1 + BY_EBPF.len()).next_multiple_of(2);

/// The settings of a connection: the mode, and the value of each option or [`UNSET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SockSettings(pub(crate) [u32; NUMBERS]);

/// The option has no value.
pub const UNSET: u32 = u32::MAX;
/// The user timeout is computed from the connection's times.
pub(crate) const AUTO: u32 = u32::MAX - 1;

/// The size of `SockSettings`, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "it is a few dozen")]
pub const SOCK_SETTINGS_SIZE: u32 = 4 * NUMBERS as u32;
/// The size of [`SockSettings`], as an offset.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "it is a few dozen"
)]
pub(crate) const SOCK_SETTINGS_LENGTH: i16 = 4 * NUMBERS as i16;

/// The numbers of the modes.
pub(crate) const FILL: u32 = 0;
pub(crate) const CAP: u32 = 1;
pub(crate) const FLOOR: u32 = 2;
pub(crate) const ENFORCE: u32 = 3;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub(crate) const CREATE: i32 = 1;

/// Returns the persistent settings of a connection with these settings and times (seconds, seconds, probes),
/// in the form that the programs store.
pub fn persistent(settings: &Settings, idle: u32, interval: u32, count: u32) -> [u8; SOCK_SETTINGS_SIZE as usize] {
    let mut kept = SockSettings::of(settings).unwrap_or(SockSettings::NOTHING);
    if kept.is_automatic() {
        kept.0[1 + index(SocketOption::UserTimeout)] = settings.user_timeout_ms(idle, interval, count).unwrap_or(UNSET);
    }
    let mut bytes = [0; SOCK_SETTINGS_SIZE as usize];
    for (to, number) in bytes.as_chunks_mut().0.iter_mut().zip(kept.0) {
        *to = number.to_ne_bytes();
    }
    bytes
}

impl SockSettings {
    /// Empty settings: no option is set, and none is persistent.
    pub(crate) const NOTHING: Self = {
        let mut numbers = [UNSET; NUMBERS];
        numbers[0] = FILL;
        Self(numbers)
    };

    /// Returns `None` if no option is to be set.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        if settings.keepalive == Some(Keepalive::Off) {
            return None;
        }
        let mut numbers = Self::NOTHING;
        for option in BY_EBPF {
            numbers.0[1 + index(option)] = match settings.written(option) {
                Number::Auto => AUTO,
                _ => settings.number(option).unwrap_or(UNSET),
            };
        }
        if numbers == Self::NOTHING {
            return None;
        }
        numbers.0[0] = match settings.mode.unwrap_or_default() {
            Mode::Fill => FILL,
            Mode::Cap => CAP,
            Mode::Floor => FLOOR,
            Mode::Enforce => ENFORCE,
        };
        Some(numbers)
    }

    /// Returns whether the settings stay in effect after the connection is established.
    pub(crate) fn is_persistent(&self) -> bool {
        self.0[0] != FILL
    }

    /// Returns whether the user timeout is computed from the connection's times.
    pub(crate) fn is_automatic(&self) -> bool {
        self.0[1 + index(SocketOption::UserTimeout)] == AUTO
    }

    /// Returns whether the values to set depend on values that the program has set.
    pub(crate) fn reads(&self) -> bool {
        let mut compared = BY_EBPF
            .into_iter()
            .filter(|option| matches!(option.row().by_ebpf, ByEbpf::Unless(_)));
        let is_set = |option| self.0[1 + index(option)] != UNSET;
        self.is_automatic() || self.0[0] != ENFORCE && compared.any(is_set)
    }
}

/// Returns the index of `option` in [`BY_EBPF`].
pub(crate) const fn index(option: SocketOption) -> usize {
    let mut index = 0;
    while BY_EBPF[index] as usize != option as usize {
        index += 1;
    }
    index
}

/// Returns the offset of `option` in [`SockSettings`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "there are a few options"
)]
pub(crate) const fn place(option: SocketOption) -> i16 {
    4 * (1 + index(option)) as i16
}

/// Stores the settings at `from` + `offset` in the storage of the socket in R2, from which [`crate::clamp`]
/// reads them. Settings with the mode fill create no entry, and end an existing one. Goes to `end` if there
/// is no entry.
pub(crate) fn store_settings(code: &mut Assembler, sock_settings: Map, from: Register, offset: i16, end: Label) {
    use Register::{R0, R1, R3, R4};
    let get = code.label();
    code.load(Size::Word, R4, from, offset);
    code.jump_if(R4, Condition::Equal, FILL.cast_signed(), get);
    code.set(R4, CREATE);
    code.place(get);
    code.map(R1, sock_settings);
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Condition::Equal, 0, end);
    for word in (0..).step_by(4).take(1 + BY_EBPF.len()) {
        code.load(Size::Word, R1, from, offset + word);
        code.store(Size::Word, R0, word, R1);
    }
}
