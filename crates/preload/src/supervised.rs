//! Cooperates with the supervisor of `keepalive run`, which stops calls that open connections until it has applied the
//! settings to their sockets. If this library has already applied the settings, it marks its calls, so that the
//! supervisor's filter lets them pass.

use crate::{libc, log, state, sys};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use keepalive_policy::protocol::{PASSING_LENGTH, TAKES_PRIVILEGES};

static IS_SUPERVISED: AtomicBool = AtomicBool::new(false);

/// Reports a program that runs without the privilege that its file would give it, once for all programs under the
/// supervisor. The loader has loaded this library into the program, so the program has no privilege. `value` is the
/// value of [`SUPERVISED`](keepalive_policy::protocol::SUPERVISED).
#[cold]
pub(crate) fn report_lost_privilege(value: &[u8]) {
    if value.starts_with(TAKES_PRIVILEGES.as_bytes()) && libc::would_be_privileged() && sys::is_first_to_speak() {
        log::lost_privilege(libc::program());
    }
}

/// Records that a supervisor is active.
#[cold]
pub(crate) fn note() {
    IS_SUPERVISED.store(true, Ordering::Relaxed);
}

/// Whether a supervisor is active.
#[inline(always)]
pub(crate) fn is_supervised() -> bool {
    IS_SUPERVISED.load(Ordering::Relaxed)
}

/// A buffer for an address that the filter lets pass.
pub(crate) struct Room([u8; PASSING_LENGTH as usize]);

impl Room {
    pub(crate) const fn new() -> Self {
        Self([0; PASSING_LENGTH as usize])
    }
}

/// Returns the address and the length for connect(2): those of the program, or under a supervisor a copy that the
/// filter lets pass.
#[inline(always)]
pub(crate) fn passing(fd: c_int, address: *const c_void, length: u32, room: &mut Room) -> (*const c_void, u32) {
    if is_supervised() {
        passing_copy(fd, address, length, room)
    } else {
        (address, length)
    }
}

#[cold]
fn passing_copy(fd: c_int, address: *const c_void, length: u32, room: &mut Room) -> (*const c_void, u32) {
    match acceptable(fd, address, length) {
        Some(bytes) => {
            room.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            (room.0.as_ptr().cast(), PASSING_LENGTH)
        }
        None => (address, length),
    }
}

/// Returns the bytes of the address if the kernel accepts it on this socket and treats the copy as the same address.
/// Returns `None` for other families, lengths, memory and protocols; then the call stays unchanged and the supervisor
/// handles it.
fn acceptable(fd: c_int, address: *const c_void, length: u32) -> Option<[u8; 28]> {
    // Without a policy, the library has not set any option.
    let _work = state::work()?;
    sys::try_read_bytes(sys::domain_of_plain_addresses(fd)?, address, length)
}
