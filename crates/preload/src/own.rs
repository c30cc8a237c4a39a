//! What a program has set itself on which of its sockets, and what they had before us. Kept only where it matters
//! (`Policy::is_watching`), in memory that is mapped then.

use crate::defaults::Defaults;
use crate::sys;
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use keepalive_policy::{OPTIONS, SocketOption};

/// Descriptors from this number on are not kept; their values are judged by what they are.
const KEPT: usize = 65_536;
/// The bit that says that the socket was accepted; below it and the next are the options' bits.
const ACCEPTED: u16 = 1 << 15;
/// The bit that says that the marks are the whole truth: what else is on the socket, a decision of ours has put there.
const SETTLED: u16 = 1 << 14;

/// The bit that says that the socket is known to be TCP.
const TCP: u16 = 1 << 13;

/// The bit that says that a connect(2) of the socket has begun, and has not been seen to end.
const CONNECTING: u16 = 1 << 12;

/// The bit that says that a user timeout of the socket, if it has one, may be ours.
const LIMITED: u16 = 1 << 11;

// The bits of the options are below all of these.
const _: () = assert!(OPTIONS.len() <= LIMITED.trailing_zeros() as usize);

/// The bits that would be wrong of another socket with the same number.
const IDENTIFYING: u16 = !(ACCEPTED | TCP | CONNECTING);

static MARKS: AtomicPtr<AtomicU16> = AtomicPtr::new(core::ptr::null_mut());
static DEFAULTS: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
/// The cookies of the sockets that the marks are of; 0 where no mark says anything that would be wrong of another socket.
static COOKIES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

/// Maps the memory. Without it every socket is judged by its values.
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

/// What is kept at `start` for the number `fd`.
///
/// # Safety
/// `start` must be null or point to `KEPT` of them, for good.
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
    // SAFETY: `open` mapped `KEPT` of them, all zero, for good.
    unsafe { kept(MARKS.load(Ordering::Acquire), fd) }
}

fn kept_defaults(fd: c_int) -> Option<&'static AtomicU64> {
    // SAFETY: `open` mapped `KEPT` of them, all zero, for good.
    unsafe { kept(DEFAULTS.load(Ordering::Acquire), fd) }
}

fn cookie(fd: c_int) -> Option<&'static AtomicU64> {
    // SAFETY: `open` mapped `KEPT` of them, all zero, for good.
    unsafe { kept(COOKIES.load(Ordering::Acquire), fd) }
}

/// Forgets what was known of the number `fd` if it is another socket than the one whose marks are kept: close(2), dup2(2) and
/// recvmsg(2) are not seen. Returns whether it is.
pub(crate) fn forget_if_replaced(fd: c_int) -> bool {
    let known = cookie(fd).map_or(0, |cookie| cookie.load(Ordering::Relaxed));
    let is_replaced = known != 0 && sys::cookie(fd).is_some_and(|now| now != known);
    if is_replaced {
        forget(fd);
    }
    is_replaced
}

/// Keeps which socket `fd` is, so that what is known of it is not taken for another's.
fn identify(fd: c_int) {
    if let Some(cookie) = cookie(fd)
        && cookie.load(Ordering::Relaxed) == 0
    {
        cookie.store(sys::cookie(fd).unwrap_or(0), Ordering::Relaxed);
    }
}

/// Forgets what was known of the number `fd`: it is another socket now.
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

/// Keeps what the socket `fd` had before us.
pub(crate) fn keep_defaults(fd: c_int, defaults: Defaults) {
    if let Some(kept) = kept_defaults(fd) {
        kept.store(defaults.0, Ordering::Relaxed);
    }
}

/// What the socket `fd` had before us, as far as it was kept.
pub(crate) fn defaults(fd: c_int) -> Defaults {
    kept_defaults(fd).map_or(Defaults::NONE, |kept| Defaults(kept.load(Ordering::Relaxed)))
}

/// Notes that the socket `fd` is TCP.
pub(crate) fn tcp(fd: c_int) {
    raise(fd, TCP);
}

/// Whether the socket `fd` is known to be TCP; the kernel has to be asked about others.
pub(crate) fn is_tcp(fd: c_int) -> bool {
    has(fd, TCP) == Some(true)
}

/// The accepted socket `fd` begins with what the program has set on its listener.
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

/// Notes that the socket `fd` was accepted, by whoever started this process.
pub(crate) fn accepted(fd: c_int) {
    raise(fd, ACCEPTED);
}

/// Whether the socket `fd` was accepted.
pub(crate) fn is_accepted(fd: c_int) -> bool {
    has(fd, ACCEPTED) == Some(true)
}

/// Notes whether a decision for its peer, rather than the one for new sockets, has been carried out on `fd`.
pub(crate) fn settled(fd: c_int, is_settled: bool) {
    if is_settled {
        raise(fd, SETTLED);
    } else if let Some(marks) = marks(fd) {
        marks.fetch_and(!SETTLED, Ordering::Relaxed);
    }
}

/// Whether a decision for its peer has been carried out on `fd`.
pub(crate) fn is_settled(fd: c_int) -> bool {
    has(fd, SETTLED) == Some(true)
}

/// Notes that a connect(2) of `fd` has begun; gives whether that was known.
pub(crate) fn connecting(fd: c_int) -> bool {
    marks(fd).is_some_and(|marks| marks.fetch_or(CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Notes that no connect(2) of `fd` is under way; gives whether one was.
pub(crate) fn connected(fd: c_int) -> bool {
    has(fd, CONNECTING) == Some(true)
        && marks(fd).is_some_and(|marks| marks.fetch_and(!CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Notes that a user timeout of `fd` may be ours from now on.
pub(crate) fn limited(fd: c_int) {
    raise(fd, LIMITED);
}

/// Whether the user timeout of `fd`, which has `current`, was set by somebody else than us. The program may have set it
/// without a call that we see, or through a duplicate.
pub(crate) fn has_own_user_timeout(fd: c_int, current: u32) -> bool {
    is_marked(fd, SocketOption::UserTimeout) == Some(true) || (current != 0 && has(fd, LIMITED) != Some(true))
}

/// Notes that somebody else than we has set `option` on `fd`.
pub(crate) fn mark(fd: c_int, option: SocketOption) {
    raise(fd, 1 << option as u16);
}

/// Whether somebody else than we has set `option` on `fd`; `None` where that is not known.
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
