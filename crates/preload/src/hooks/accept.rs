//! accept(2) and accept4(2)

use crate::{apply, next, state};
use core::ffi::{c_int, c_void};
use keepalive_policy::Moment;

/// # Safety
/// As accept(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(listener: c_int, address: *mut c_void, length: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    let fd = unsafe { next::accept(listener, address, length) };
    on_accept(fd, listener);
    fd
}

/// # Safety
/// As accept4(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(listener: c_int, address: *mut c_void, length: *mut u32, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let fd = unsafe { next::accept4(listener, address, length, flags) };
    on_accept(fd, listener);
    fd
}

/// `fd` is what the call gave: a new socket or −1. The kernel copies the listener's settings, so that there is something
/// to do only where the listener came from elsewhere.
#[inline]
pub(super) fn on_accept(fd: c_int, listener: c_int) {
    if fd < 0 || state::is_remembered(listener) {
        return;
    }
    if let Some(policy) = state::policy() {
        apply::adopt(policy, fd, Moment::Accept);
    }
}
