//! The supervisor of `keepalive run`, which stops the calls that open connections until it has given their sockets their
//! settings. Where this library has done so already, its calls tell the supervisor's filter to let them pass.

use crate::{state, sys};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

static IS_SUPERVISED: AtomicBool = AtomicBool::new(false);

/// `sizeof(struct sockaddr_un)`: the filter lets connect(2) pass with this length, since local sockets have it. The kernel
/// takes any length from that of the address up to 128 (`net/socket.c`, `move_addr_to_kernel`).
const PASSING_LENGTH: usize = 110;

/// `sizeof(struct sockaddr_in6)`, the longest address that the kernel takes here.
const ADDRESS: usize = 28;

/// What the entry of the environment looks like.
pub(crate) const VARIABLE: &[u8] = b"KEEPALIVE_SUPERVISED=1";

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
pub(crate) struct Room([u8; PASSING_LENGTH]);

impl Room {
    pub(crate) const fn new() -> Self {
        Self([0; PASSING_LENGTH])
    }
}

/// The address and the length to call connect(2) with: those of the program, or under a supervisor a copy that passes.
#[inline(always)]
pub(crate) fn passing(address: *const c_void, length: u32, room: &mut Room) -> (*const c_void, u32) {
    if is_supervised() {
        passing_copy(address, length, room)
    } else {
        (address, length)
    }
}

#[cold]
fn passing_copy(address: *const c_void, length: u32, room: &mut Room) -> (*const c_void, u32) {
    // Without a policy nothing has been set. What the kernel cannot read it shall refuse itself.
    if state::policy().is_none() || sys::try_read_address(address, length).is_none() {
        return (address, length);
    }
    for (index, to) in room.0.iter_mut().take((length as usize).min(ADDRESS)).enumerate() {
        // SAFETY: the byte is within the caller's `length` and the part that was read just now.
        let from = unsafe { address.cast::<u8>().add(index) };
        // SAFETY: as above.
        *to = unsafe { *from };
    }
    (room.0.as_ptr().cast(), PASSING_LENGTH as u32)
}
