//! connect(2)

use crate::policy::connection;
use crate::{apply, libc, next, state, supervised, sys};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::Moment;

/// # Safety
/// As connect(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const c_void, length: u32) -> c_int {
    before_connect(fd, address, length);
    let mut room = supervised::Room::new();
    let (given, given_length) = supervised::passing(address, length, &mut room);
    // SAFETY: the caller's promise; or a copy of what it promises, in room that lives through the call.
    let returned = unsafe { next::connect(fd, given, given_length) };
    // SAFETY: the arguments are those of the call that returned this.
    unsafe { after_connect(fd, address, length, returned as _) };
    returned
}

/// A socket that came from elsewhere gets its settings now, and any socket those that act on the handshake. The address
/// may be anything yet.
pub(super) fn before_connect(fd: c_int, address: *const c_void, length: u32) {
    let Some(policy) = state::policy() else { return };
    apply::adopt_if_foreign(policy, fd);
    if policy.has_early_options
        && policy.has_rules
        && let Some((peer, port)) = sys::try_read_address(address, length)
    {
        apply::settle_for(policy, fd, &connection(Moment::Connect, peer, port));
    }
}

/// Whatever the call returned: it may have completed the connection, found it complete (EISCONN), or only begun it. A
/// connection that is under way is seen again by getsockopt(2), or here by another connect(2).
///
/// # Safety
/// The arguments must be those of a call of connect(2), and `returned` what it gave.
pub(super) unsafe fn after_connect(fd: c_int, address: *const c_void, length: u32, returned: c_long) {
    let Some(policy) = state::policy() else { return };
    if policy.is_watching && (returned == 0 || is_under_way()) {
        // SAFETY: the kernel has read the address, so that it is there.
        if let Some((peer, port)) = unsafe { sys::read_address(address, length) } {
            apply::settle_for(policy, fd, &connection(Moment::Connect, peer, port));
        }
    }
    apply::established(policy, fd);
}

/// Whether connect(2), which has failed, goes on all the same.
fn is_under_way() -> bool {
    const EINTR: c_int = 4;
    const EINPROGRESS: c_int = 115;
    matches!(libc::errno(), EINTR | EINPROGRESS)
}
