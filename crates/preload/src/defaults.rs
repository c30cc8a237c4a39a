//! The kernel's values of the options that belong to a network namespace (tcp(7), `/proc/sys/net/ipv4`): what a socket has
//! when nobody has set anything.
//!
//! A fresh socket would tell them at any time, but a descriptor of ours, even for an instant, is one that another thread
//! does not get or that a forked child keeps. So they are read from the program's own sockets, before ours are set.

use crate::{own, sys};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};
use keepalive_policy::SocketOption;
use keepalive_policy::option::{KernelDefault, WITH_SYSCTL};

/// A value for each of [`WITH_SYSCTL`], 16 bits each; 0 where it is not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults(pub(crate) u64);

/// What the kernel is built with.
const BUILT_IN: Defaults = {
    let mut built_in = Defaults::NONE;
    let mut index = 0;
    while index < WITH_SYSCTL.len() {
        if let Some(value) = WITH_SYSCTL[index].row().kernel_default.built_in() {
            built_in = built_in.with_field(index as u32, value as u16);
        }
        index += 1;
    }
    built_in
};

/// Four values fit into a [`Defaults`].
const _: () = assert!(WITH_SYSCTL.len() <= 4, "`Defaults` needs more room");

/// The values of the sockets that were read last.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Defaults {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self(0);

    const fn with_field(self, index: u32, value: u16) -> Self {
        Self(self.0 | (value as u64) << (16 * index))
    }

    fn index(option: SocketOption) -> Option<u32> {
        (0..)
            .zip(WITH_SYSCTL)
            .find_map(|(index, of)| (of == option).then_some(index))
    }

    /// These, and `value` for `option`, of which nothing must be known yet.
    pub(crate) fn with(self, option: SocketOption, value: u32) -> Self {
        match Self::index(option) {
            Some(index) => self.with_field(index, settable(option, value) as u16),
            None => self,
        }
    }

    fn get(self, option: SocketOption) -> Option<u32> {
        let value = (self.0 >> (16 * Self::index(option)?)) as u16;
        (value != 0).then_some(value.into())
    }

    /// These, and what only `others` know.
    pub(crate) fn or(self, others: Self) -> Self {
        WITH_SYSCTL.into_iter().fold(Self::NONE, |all, option| {
            self.get(option)
                .or(others.get(option))
                .map_or(all, |value| all.with(option, value))
        })
    }
}

/// The number closest to `value` that setsockopt(2) takes: a sysctl has a wider range.
fn settable(option: SocketOption, value: u32) -> u32 {
    let (least, most) = option.row().range;
    value.max(least).min(most)
}

/// Reads them from the socket `fd`, on which nobody has set anything yet: those of the `wanted` bits in the order of
/// [`WITH_SYSCTL`], and all of them where no socket was read before. Gives what is known of the socket now.
pub(crate) fn learn(fd: c_int, wanted: u8) -> Defaults {
    let last = Defaults(LAST.load(Ordering::Relaxed));
    let wanted = if last == Defaults::NONE { !0 } else { wanted };
    let mut bits = wanted;
    let mut read = Defaults::NONE;
    for option in WITH_SYSCTL {
        let row = option.row();
        if bits & 1 != 0
            && let Some(value) = sys::option(fd, row.level, row.optname)
        {
            read = read.with(option, value);
        }
        bits >>= 1;
    }
    let read = read.or(last);
    LAST.store(read.0, Ordering::Relaxed);
    read
}

/// Whether a socket has been read.
#[inline(always)]
pub(crate) fn are_known() -> bool {
    LAST.load(Ordering::Relaxed) != 0
}

/// The kernel's value of `option` for the socket `fd`: what it had before us, else what the socket that was read last had,
/// else what the kernel is built with. `None` for an option that belongs to a connection's route.
pub(crate) fn value(fd: c_int, option: SocketOption) -> Option<u32> {
    match option.row().kernel_default {
        KernelDefault::Fixed(number) => Some(number),
        KernelDefault::Route => None,
        KernelDefault::Sysctl { .. } => own::defaults(fd)
            .get(option)
            .or(Defaults(LAST.load(Ordering::Relaxed)).get(option))
            .or(BUILT_IN.get(option)),
    }
}

/// Whether `current` is the kernel's value; `None` where that cannot be told.
pub(crate) fn is_default(fd: c_int, option: SocketOption, current: u32) -> Option<bool> {
    value(fd, option).map(|default| default == current || default == settable(option, current))
}
