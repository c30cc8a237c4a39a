//! Finds the kernel's defaults of the options that depend on the network namespace (tcp(7), `/proc/sys/net/ipv4`): the
//! values of a socket on which no option was set.
//!
//! A new socket would always show the defaults. But a descriptor of this library, even for an instant, takes a number
//! from another thread, and a forked child may keep the descriptor. So the library reads the defaults from the
//! program's own sockets, before it sets options.

use crate::{own, sys};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};
use keepalive_policy::SocketOption;
use keepalive_policy::option::{KernelDefault, WITH_SYSCTL};

/// The values of the options in [`WITH_SYSCTL`], 16 bits each; 0 if a value is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults(pub(crate) u64);

/// The kernel's built-in defaults.
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

/// A [`Defaults`] has room for four values.
const _: () = assert!(WITH_SYSCTL.len() <= 4, "`Defaults` needs more room");

/// The most recently read values.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Defaults {
    /// Defaults without known values.
    pub(crate) const NONE: Self = Self(0);

    const fn with_field(self, index: u32, value: u16) -> Self {
        Self(self.0 | (value as u64) << (16 * index))
    }

    fn index(option: SocketOption) -> Option<u32> {
        (0..)
            .zip(WITH_SYSCTL)
            .find_map(|(index, of)| (of == option).then_some(index))
    }

    /// Returns these values and `value` for `option`. The value of `option` must be unknown before.
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

    /// Returns these values; unknown values come from `others`.
    pub(crate) fn or(self, others: Self) -> Self {
        WITH_SYSCTL.into_iter().fold(Self::NONE, |all, option| {
            self.get(option)
                .or(others.get(option))
                .map_or(all, |value| all.with(option, value))
        })
    }
}

/// Returns the number closest to `value` that setsockopt(2) accepts. The range of a sysctl is wider.
fn settable(option: SocketOption, value: u32) -> u32 {
    let (least, most) = option.row().range;
    value.max(least).min(most)
}

/// Reads the defaults from the socket `fd`, on which no option was set yet. Reads the options of the `wanted` bits, in
/// the order of [`WITH_SYSCTL`]; the first call reads all options. Returns the known defaults of the socket.
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

/// Returns the kernel's default of `option` for the socket `fd`. This is the value before this library changed the
/// socket; if unknown, the most recently read value; otherwise the kernel's built-in default. Returns `None` if the
/// default depends on the connection's route.
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

/// Whether `current` is the kernel's default; `None` if the default is unknown.
pub(crate) fn is_default(fd: c_int, option: SocketOption, current: u32) -> Option<bool> {
    value(fd, option).map(|default| default == current || default == settable(option, current))
}
