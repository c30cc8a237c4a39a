//! connect(2)

use crate::{apply, next, state};
use core::ffi::{c_int, c_void};
use keepalive_policy::Moment;

/// # Safety
/// As connect(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const c_void, length: u32) -> c_int {
    before_connect(fd);
    // SAFETY: the caller's promise.
    let returned = unsafe { next::connect(fd, address, length) };
    after_connect(fd);
    returned
}

/// A socket that came from elsewhere gets its settings now.
#[inline]
pub(super) fn before_connect(fd: c_int) {
    if let Some(policy) = state::policy() {
        apply::adopt_if_foreign(policy, fd, Moment::Connect);
    }
}

/// Whatever the call returned: it may have completed the connection, found it complete (EISCONN), or only begun it. A
/// connection that is under way is seen again by getsockopt(2), or here by another connect(2).
#[inline]
pub(super) fn after_connect(fd: c_int) {
    if let Some(policy) = state::policy() {
        apply::established(policy, fd);
    }
}
