//! Records which options the program has set on its sockets, and the values of the sockets before this library changed
//! them. The records exist only if the policy needs them (`Policy::is_watching`), in memory that [`open`] maps.

use crate::defaults::Defaults;
use crate::sys;
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use keepalive_policy::{OPTIONS, SocketOption};

/// The number of descriptors with records. For descriptors from this number on, the library decides by the current
/// values alone.
const KEPT: usize = 65_536;
/// The bit of accepted sockets. The bits of the options are the lowest bits.
const ACCEPTED: u16 = 1 << 15;
/// The bit of sockets to which a decision for the peer was applied. All values without a mark are then from that
/// decision.
const SETTLED: u16 = 1 << 14;

/// The bit of sockets that are known to be TCP.
const TCP: u16 = 1 << 13;

/// The bit of sockets on which a connect(2) has begun and whose result is still unknown.
const CONNECTING: u16 = 1 << 12;

/// The bit of sockets whose user timeout, if set, may be from this library.
const LIMITED: u16 = 1 << 11;

// The bits of the options are below all of these.
const _: () = assert!(OPTIONS.len() <= LIMITED.trailing_zeros() as usize);

/// The bits that would be wrong for another socket with the same number.
const IDENTIFYING: u16 = !(ACCEPTED | TCP | CONNECTING);

static MARKS: AtomicPtr<AtomicU16> = AtomicPtr::new(core::ptr::null_mut());
static DEFAULTS: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
/// The cookies of the sockets to which the marks belong; 0 if no mark would be wrong for another socket.
static COOKIES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

/// Maps the memory of the records. Without the memory, the library decides by the current values of each socket alone.
pub(crate) fn open() {
    if let Some(memory) = sys::map(KEPT * size_of::<AtomicU16>()) {
        MARKS.store(memory.cast(), Ordering::Release);
    }
    if let Some(memory) = sys::map(KEPT * size_of::<AtomicU64>()) {
        DEFAULTS.store(memory.cast(), Ordering::Release);
    }
    if let Some(memory) = sys::map(KEPT * size_of::<AtomicU64>()) {
        COOKIES.store(memory.cast(), Ordering::Release);
    }
}

/// Returns the record at `start` for the number `fd`.
///
/// # Safety
/// `start` must be null or point to `KEPT` records that are never unmapped.
unsafe fn kept<T>(start: *const T, fd: c_int) -> Option<&'static T> {
    let index = usize::try_from(fd)
        .ok()
        .filter(|index| *index < KEPT && !start.is_null())?;
    // SAFETY: the index is below `KEPT`.
    let kept = unsafe { start.add(index) };
    // SAFETY: as above; the caller's promise.
    Some(unsafe { &*kept })
}

fn marks(fd: c_int) -> Option<&'static AtomicU16> {
    // SAFETY: `open` mapped `KEPT` of them, all zero, and they are never unmapped.
    unsafe { kept(MARKS.load(Ordering::Acquire), fd) }
}

fn kept_defaults(fd: c_int) -> Option<&'static AtomicU64> {
    // SAFETY: `open` mapped `KEPT` of them, all zero, and they are never unmapped.
    unsafe { kept(DEFAULTS.load(Ordering::Acquire), fd) }
}

fn cookie(fd: c_int) -> Option<&'static AtomicU64> {
    // SAFETY: `open` mapped `KEPT` of them, all zero, and they are never unmapped.
    unsafe { kept(COOKIES.load(Ordering::Acquire), fd) }
}

/// Clears the records of the number `fd` if the number now refers to another socket. The library does not see close(2),
/// dup2(2) and recvmsg(2). Returns whether the socket was replaced.
pub(crate) fn forget_if_replaced(fd: c_int) -> bool {
    let known = cookie(fd).map_or(0, |cookie| cookie.load(Ordering::Relaxed));
    let is_replaced = known != 0 && sys::cookie(fd).is_some_and(|now| now != known);
    if is_replaced {
        forget(fd);
    }
    is_replaced
}

/// Stores the cookie of the socket `fd`, so that its records are not used for another socket.
fn identify(fd: c_int) {
    if let Some(cookie) = cookie(fd)
        && cookie.load(Ordering::Relaxed) == 0
    {
        cookie.store(sys::cookie(fd).unwrap_or(0), Ordering::Relaxed);
    }
}

/// Clears the records of the number `fd`, which now refers to another socket.
pub(crate) fn forget(fd: c_int) {
    if let Some(cookie) = cookie(fd) {
        cookie.store(0, Ordering::Relaxed);
    }
    if let Some(marks) = marks(fd) {
        marks.store(0, Ordering::Relaxed);
    }
    if let Some(defaults) = kept_defaults(fd) {
        defaults.store(0, Ordering::Relaxed);
    }
}

/// Stores the values that the socket `fd` had before this library changed it.
pub(crate) fn keep_defaults(fd: c_int, defaults: Defaults) {
    if let Some(kept) = kept_defaults(fd) {
        kept.store(defaults.0, Ordering::Relaxed);
    }
}

/// Returns the stored values that the socket `fd` had before this library changed it.
pub(crate) fn defaults(fd: c_int) -> Defaults {
    kept_defaults(fd).map_or(Defaults::NONE, |kept| Defaults(kept.load(Ordering::Relaxed)))
}

/// Records that the socket `fd` is TCP.
pub(crate) fn tcp(fd: c_int) {
    raise(fd, TCP);
}

/// Whether the socket `fd` is known to be TCP. If not, only the kernel knows.
pub(crate) fn is_tcp(fd: c_int) -> bool {
    has(fd, TCP) == Some(true)
}

/// Copies the records of `listener` to the accepted socket `fd`, which inherits the listener's options.
pub(crate) fn inherit(fd: c_int, listener: c_int) {
    if let Some(marks_of_new) = marks(fd) {
        let inherited = marks(listener).map_or(0, |marks| marks.load(Ordering::Relaxed));
        marks_of_new.store((inherited & !(SETTLED | CONNECTING)) | ACCEPTED, Ordering::Relaxed);
        if let Some(cookie) = cookie(fd) {
            cookie.store(0, Ordering::Relaxed);
        }
        if inherited & IDENTIFYING != 0 {
            identify(fd);
        }
    }
    keep_defaults(fd, defaults(listener));
}

/// Records that the socket `fd` was accepted, by the process that started this process.
pub(crate) fn accepted(fd: c_int) {
    raise(fd, ACCEPTED);
}

/// Whether the socket `fd` was accepted.
pub(crate) fn is_accepted(fd: c_int) -> bool {
    has(fd, ACCEPTED) == Some(true)
}

/// Records whether a decision for the peer, and not only the decision for new sockets, was applied to `fd`.
pub(crate) fn settled(fd: c_int, is_settled: bool) {
    if is_settled {
        raise(fd, SETTLED);
    } else if let Some(marks) = marks(fd) {
        marks.fetch_and(!SETTLED, Ordering::Relaxed);
    }
}

/// Whether a decision for the peer was applied to `fd`.
pub(crate) fn is_settled(fd: c_int) -> bool {
    has(fd, SETTLED) == Some(true)
}

/// Records that a connect(2) of `fd` is in progress. Returns whether that was already recorded.
pub(crate) fn connecting(fd: c_int) -> bool {
    marks(fd).is_some_and(|marks| marks.fetch_or(CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Records that no connect(2) of `fd` is in progress. Returns whether one was recorded before.
pub(crate) fn connected(fd: c_int) -> bool {
    has(fd, CONNECTING) == Some(true)
        && marks(fd).is_some_and(|marks| marks.fetch_and(!CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Records that a user timeout of `fd` may be from this library.
pub(crate) fn limited(fd: c_int) {
    raise(fd, LIMITED);
}

/// Whether the user timeout `current` of `fd` is foreign. The program may have set it with a call that the library does
/// not see, or through a duplicate.
pub(crate) fn has_own_user_timeout(fd: c_int, current: u32) -> bool {
    is_marked(fd, SocketOption::UserTimeout) == Some(true) || (current != 0 && has(fd, LIMITED) != Some(true))
}

/// Records that `option` on `fd` has a foreign value.
pub(crate) fn mark(fd: c_int, option: SocketOption) {
    raise(fd, 1 << option as u16);
}

/// Whether `option` on `fd` has a foreign value; `None` if that is unknown.
pub(crate) fn is_marked(fd: c_int, option: SocketOption) -> Option<bool> {
    has(fd, 1 << option as u16)
}

fn raise(fd: c_int, bit: u16) {
    if let Some(marks) = marks(fd) {
        marks.fetch_or(bit, Ordering::Relaxed);
    }
    if bit & IDENTIFYING != 0 {
        identify(fd);
    }
}

fn has(fd: c_int, bit: u16) -> Option<bool> {
    marks(fd).map(|marks| marks.load(Ordering::Relaxed) & bit != 0)
}
