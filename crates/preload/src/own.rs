//! Records which options the program has set on its sockets, and which values this library has found and set. The records
//! exist only if the policy needs them (`Policy::is_watching`), in memory that [`open`] receives.

use crate::defaults::Defaults;
use crate::sys;
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering};
use keepalive_policy::{OPTIONS, SocketOption};

/// The number of descriptors with records. For descriptors from this number on, the library decides by the current
/// values alone.
const KEPT: usize = 65_536;
/// The bit of accepted sockets. The bits of the options are the lowest bits.
const ACCEPTED: u16 = 1 << 15;
/// The bit of sockets to which a decision for the peer was applied. All values without a mark are then from that
/// decision.
const DECIDED: u16 = 1 << 14;

/// The bit of sockets that are known to be TCP.
const TCP: u16 = 1 << 13;

/// The bit of sockets on which a connect(2) has begun and whose result is still unknown.
const CONNECTING: u16 = 1 << 12;

// The bits of the options are below all of these.
const _: () = assert!(OPTIONS.len() <= CONNECTING.trailing_zeros() as usize);

/// The bits that would be wrong for another socket with the same number.
const IDENTIFYING: u16 = !(ACCEPTED | TCP | CONNECTING);

/// What is known of the socket with one number. All zero for a socket of which nothing is known.
struct Record {
    /// The cookie of the socket to which the record belongs; 0 if nothing in it would be wrong for another socket.
    cookie: AtomicU64,
    /// The values before this library changed them ([`Defaults`]).
    defaults: AtomicU64,
    /// The user timeout that this library set last, in milliseconds.
    user_timeout: AtomicU32,
    /// The bits above, and one for each option with a foreign value.
    marks: AtomicU16,
}

static RECORDS: AtomicPtr<Record> = AtomicPtr::new(core::ptr::null_mut());

/// The size of all records. Pages of records that are never used use no memory.
pub(crate) const SIZE: usize = KEPT * size_of::<Record>();

/// Puts the records at the end of `room`, unless they exist. Without room, the library decides by the current values of
/// each socket alone.
pub(crate) fn open(room: &mut sys::Room) {
    if let Some(memory) = room.take_end(SIZE) {
        let nothing = core::ptr::null_mut();
        let _ = RECORDS.compare_exchange(nothing, memory.cast(), Ordering::AcqRel, Ordering::Acquire);
    }
}

fn record(fd: c_int) -> Option<&'static Record> {
    let records = RECORDS.load(Ordering::Acquire);
    let index = usize::try_from(fd)
        .ok()
        .filter(|index| *index < KEPT && !records.is_null())?;
    // SAFETY: `open` has received `KEPT` records, which are never unmapped; the index is below `KEPT`.
    let record = unsafe { records.add(index) };
    // SAFETY: as above; all zero is a valid record.
    Some(unsafe { &*record })
}

/// Clears the records of the number `fd` if the number now refers to another socket. The library does not see close(2),
/// dup2(2) and recvmsg(2). Returns whether the socket was replaced.
#[inline(never)]
pub(crate) fn forget_if_replaced(fd: c_int) -> bool {
    let known = record(fd).map_or(0, |record| record.cookie.load(Ordering::Relaxed));
    let is_replaced = known != 0 && sys::cookie(fd).is_some_and(|now| now != known);
    if is_replaced {
        forget(fd);
    }
    is_replaced
}

/// Stores the cookie of the socket `fd`, so that its record is not used for another socket.
fn identify(fd: c_int, record: &Record) {
    if record.cookie.load(Ordering::Relaxed) == 0 {
        record.cookie.store(sys::cookie(fd).unwrap_or(0), Ordering::Relaxed);
    }
}

/// Clears the record of the number `fd`, which now refers to another socket.
pub(crate) fn forget(fd: c_int) {
    if let Some(record) = record(fd) {
        record.cookie.store(0, Ordering::Relaxed);
        record.marks.store(0, Ordering::Relaxed);
        record.user_timeout.store(0, Ordering::Relaxed);
        record.defaults.store(0, Ordering::Relaxed);
    }
}

/// Stores the values that the socket `fd` had before this library changed it.
pub(crate) fn keep_defaults(fd: c_int, defaults: Defaults) {
    if let Some(record) = record(fd) {
        record.defaults.store(defaults.0, Ordering::Relaxed);
    }
}

/// Returns the stored values that the socket `fd` had before this library changed it.
pub(crate) fn defaults(fd: c_int) -> Defaults {
    record(fd).map_or(Defaults::NONE, |record| {
        Defaults(record.defaults.load(Ordering::Relaxed))
    })
}

/// Records that the socket `fd` is TCP.
pub(crate) fn tcp(fd: c_int) {
    raise(fd, TCP);
}

/// Whether the socket `fd` is known to be TCP. If not, only the kernel knows.
pub(crate) fn is_tcp(fd: c_int) -> bool {
    has(fd, TCP) == Some(true)
}

/// Copies the record of `listener` to the accepted socket `fd`, which inherits the listener's options.
pub(crate) fn inherit(fd: c_int, listener: c_int) {
    if let (Some(new), Some(listener)) = (record(fd), record(listener)) {
        let inherited = listener.marks.load(Ordering::Relaxed);
        let user_timeout = listener.user_timeout.load(Ordering::Relaxed);
        new.marks
            .store((inherited & !(DECIDED | CONNECTING)) | ACCEPTED, Ordering::Relaxed);
        new.user_timeout.store(user_timeout, Ordering::Relaxed);
        new.defaults
            .store(listener.defaults.load(Ordering::Relaxed), Ordering::Relaxed);
        new.cookie.store(0, Ordering::Relaxed);
        if inherited & IDENTIFYING != 0 || user_timeout != 0 {
            identify(fd, new);
        }
    }
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
pub(crate) fn decided(fd: c_int, is_decided: bool) {
    if is_decided {
        raise(fd, DECIDED);
    } else if let Some(record) = record(fd) {
        record.marks.fetch_and(!DECIDED, Ordering::Relaxed);
    }
}

/// Whether a decision for the peer was applied to `fd`.
pub(crate) fn is_decided(fd: c_int) -> bool {
    has(fd, DECIDED) == Some(true)
}

/// Records that a connect(2) of `fd` is in progress. Returns whether that was already recorded.
pub(crate) fn connecting(fd: c_int) -> bool {
    record(fd).is_some_and(|record| record.marks.fetch_or(CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Records that no connect(2) of `fd` is in progress. Returns whether one was recorded before.
pub(crate) fn connected(fd: c_int) -> bool {
    has(fd, CONNECTING) == Some(true)
        && record(fd).is_some_and(|record| record.marks.fetch_and(!CONNECTING, Ordering::Relaxed) & CONNECTING != 0)
}

/// Records that this library has set the user timeout of `fd` to `milliseconds`; 0 if it has set none.
pub(crate) fn keep_user_timeout(fd: c_int, milliseconds: u32) {
    if let Some(record) = record(fd) {
        record.user_timeout.store(milliseconds, Ordering::Relaxed);
        if milliseconds != 0 {
            identify(fd, record);
        }
    }
}

/// Returns the user timeout that this library has set last on `fd`, in milliseconds; 0 if it has set none.
pub(crate) fn user_timeout(fd: c_int) -> u32 {
    record(fd).map_or(0, |record| record.user_timeout.load(Ordering::Relaxed))
}

/// Whether the user timeout `current` of `fd` is foreign. The program may have set it with a call that the library does
/// not see, or through a duplicate.
pub(crate) fn has_own_user_timeout(fd: c_int, current: u32) -> bool {
    is_marked(fd, SocketOption::UserTimeout) == Some(true) || (current != 0 && current != user_timeout(fd))
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
    if let Some(record) = record(fd) {
        record.marks.fetch_or(bit, Ordering::Relaxed);
        if bit & IDENTIFYING != 0 {
            identify(fd, record);
        }
    }
}

fn has(fd: c_int, bit: u16) -> Option<bool> {
    record(fd).map(|record| record.marks.load(Ordering::Relaxed) & bit != 0)
}
