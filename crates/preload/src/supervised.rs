//! The supervisor of `keepalive run`, which stops the calls that open connections until it has given their sockets their
//! settings. Where this library has done so already, its calls tell the supervisor's filter to let them pass.

use crate::{libc, log, state, sys};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use keepalive_policy::protocol::{PASSING_LENGTH, TAKES_PRIVILEGES};

static IS_SUPERVISED: AtomicBool = AtomicBool::new(false);

/// Says once for all programs under the supervisor that one runs without the privilege that its file would give it. That the
/// loader has taken this library into it shows that it has none. `value` is that of
/// [`SUPERVISED`](keepalive_policy::protocol::SUPERVISED).
#[cold]
pub(crate) fn report_lost_privilege(value: &[u8]) {
    if value.starts_with(TAKES_PRIVILEGES.as_bytes()) && libc::would_be_privileged() && sys::is_first_to_speak() {
        log::lost_privilege(libc::program());
    }
}

/// There is a supervisor.
#[cold]
pub(crate) fn note() {
    IS_SUPERVISED.store(true, Ordering::Relaxed);
}

/// Whether there is a supervisor.
#[inline(always)]
pub(crate) fn is_supervised() -> bool {
    IS_SUPERVISED.load(Ordering::Relaxed)
}

/// Room for an address that passes.
pub(crate) struct Room([u8; PASSING_LENGTH as usize]);

impl Room {
    pub(crate) const fn new() -> Self {
        Self([0; PASSING_LENGTH as usize])
    }
}

/// The address and the length to call connect(2) with: those of the program, or under a supervisor a copy that passes.
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

/// The address, where the kernel takes this one on this socket and would take the copy for the same. All else goes to the
/// kernel as it is, by way of the supervisor: other families, lengths, memory and protocols.
fn acceptable(fd: c_int, address: *const c_void, length: u32) -> Option<[u8; 28]> {
    // Without a policy nothing has been set.
    let _work = state::work()?;
    sys::try_read_bytes(sys::domain_of_plain_addresses(fd)?, address, length)
}
