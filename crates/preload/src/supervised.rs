//! The supervisor of `keepalive run`, which stops the calls that open connections until it has given their sockets their
//! settings. Where this library has done so already, its calls tell the supervisor's filter to let them pass.

use crate::{state, sys};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

static IS_SUPERVISED: AtomicBool = AtomicBool::new(false);

/// `sizeof(struct sockaddr_un)`: the filter lets connect(2) pass with this length, since local sockets have it. The kernel
/// takes any length from that of the address up to 128 (`net/socket.c`, `move_addr_to_kernel`).
const PASSING_LENGTH: usize = 110;

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
            (room.0.as_ptr().cast(), PASSING_LENGTH as u32)
        }
        None => (address, length),
    }
}

/// The address, where the kernel takes this one on this socket and would take the copy for the same. All else goes to the
/// kernel as it is, by way of the supervisor: other families, lengths and memory, and sockets that are not TCP, on which
/// the library has set nothing.
fn acceptable(fd: c_int, address: *const c_void, length: u32) -> Option<[u8; 28]> {
    // Without a policy nothing has been set.
    let _work = state::work()?;
    sys::try_read_bytes(sys::tcp_domain(fd)?, address, length)
}
