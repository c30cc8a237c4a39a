//! What a connection is to get, as six numbers that programs pass on to each other.

use crate::assembler::{Assembler, Condition, Helper, Label, Map, Operation, Register, Size};
use keepalive_policy::{Keepalive, Mode, Number, Settings, SocketOption};

/// The options that programs set, in the order in which a running timer takes them up; then the user timeout, which may
/// be made of the others.
pub const SET_BY_PROGRAMS: [SocketOption; 5] = [
    SocketOption::Count,
    SocketOption::Interval,
    SocketOption::Keepalive,
    SocketOption::Idle,
    SocketOption::UserTimeout,
];

/// What a connection is to get: the mode, and the number of each option or [`UNSET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish(pub(crate) [u32; 1 + SET_BY_PROGRAMS.len()]);

/// Nothing is said of an option.
pub const UNSET: u32 = u32::MAX;
/// The user timeout is made of the connection's times.
pub(crate) const AUTO: u32 = u32::MAX - 1;

/// The bytes of a wish.
pub const WISH_SIZE: u32 = 24;

/// The numbers of the modes in a wish.
pub(crate) const FILL: u32 = 0;
pub(crate) const CAP: u32 = 1;
pub(crate) const FLOOR: u32 = 2;
pub(crate) const ENFORCE: u32 = 3;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
pub(crate) const CREATE: i32 = 1;

/// What goes on to count on a connection with these settings and times (seconds, seconds, probes), as the programs note it.
pub fn lasting(settings: &Settings, idle: u32, interval: u32, count: u32) -> [u8; WISH_SIZE as usize] {
    let mut wish = Wish::of(settings).unwrap_or(Wish::NOTHING);
    if let [.., user_timeout @ AUTO] = &mut wish.0 {
        *user_timeout = settings.user_timeout_ms(idle, interval, count).unwrap_or(UNSET);
    }
    let mut bytes = [0; WISH_SIZE as usize];
    for (to, number) in bytes.as_chunks_mut().0.iter_mut().zip(wish.0) {
        *to = number.to_ne_bytes();
    }
    bytes
}

impl Wish {
    /// Nothing is to be set, and nothing goes on to count.
    pub(crate) const NOTHING: Self = Self([FILL, UNSET, UNSET, UNSET, UNSET, UNSET]);

    /// `None` where nothing is to be set.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        if settings.keepalive == Some(Keepalive::Off) {
            return None;
        }
        let options = SET_BY_PROGRAMS.map(|option| match (option, settings.written(option)) {
            (SocketOption::UserTimeout, Number::Auto) => AUTO,
            _ => settings.number(option).unwrap_or(UNSET),
        });
        let mode = match settings.mode.unwrap_or_default() {
            Mode::Fill => FILL,
            Mode::Cap => CAP,
            Mode::Floor => FLOOR,
            Mode::Enforce => ENFORCE,
        };
        let [count, interval, keepalive, idle, user_timeout] = options;
        options.iter().any(|number| *number != UNSET).then_some(Self([
            mode,
            count,
            interval,
            keepalive,
            idle,
            user_timeout,
        ]))
    }

    /// Whether it goes on to count after the connection is established.
    pub(crate) fn is_lasting(&self) -> bool {
        self.0[0] != FILL
    }

    /// Whether its user timeout is made of the connection's times.
    pub(crate) fn is_automatic(&self) -> bool {
        let [.., user_timeout] = self.0;
        user_timeout == AUTO
    }

    /// Whether what is to be set depends on what the program has set before.
    pub(crate) fn reads(&self) -> bool {
        let [mode, count, interval, _, idle, user_timeout] = self.0;
        let is_set = |number: u32| number != UNSET;
        self.is_automatic() || mode != ENFORCE && [count, interval, idle, user_timeout].into_iter().any(is_set)
    }
}

/// Where the number of `option` stands in a wish.
pub(crate) fn place(option: SocketOption) -> i16 {
    match option {
        SocketOption::Count => 4,
        SocketOption::Interval => 8,
        SocketOption::Keepalive => 12,
        SocketOption::Idle => 16,
        _ => 20,
    }
}

/// Leaves the wish that stands `offset` bytes behind `from` with the socket in R2, where [`crate::clamp`] looks for it.
/// What has no mode but fill makes no new note, and ends one that is there. Goes to `end` where there is none.
pub(crate) fn note_wish(code: &mut Assembler, wishes: Map, from: Register, offset: i16, end: Label) {
    use Register::{R0, R1, R3, R4};
    let get = code.label();
    code.load(Size::Word, R4, from, offset);
    code.jump_if(R4, Condition::Equal, FILL.cast_signed(), get);
    code.set(R4, CREATE);
    code.place(get);
    code.map(R1, wishes);
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Condition::Equal, 0, end);
    for word in (0..).step_by(4).take(1 + SET_BY_PROGRAMS.len()) {
        code.load(Size::Word, R1, from, offset + word);
        code.store(Size::Word, R0, word, R1);
    }
}
