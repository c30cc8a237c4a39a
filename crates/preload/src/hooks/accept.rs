//! Hooks accept(2) and accept4(2).

use super::syscall::Call;
use crate::next::next;
use crate::sys::number;
use crate::{apply, own, state};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::Moment;

next! {
    fn accept(fd: c_int, address: *mut c_void, length: *mut u32) -> c_int = number::ACCEPT4, [fd, address, length, 0, 0];
    fn accept4(fd: c_int, address: *mut c_void, length: *mut u32, flags: c_int) -> c_int
        = number::ACCEPT4, [fd, address, length, flags, 0];
}

/// # Safety
/// As accept(2) requires.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(listener: c_int, address: *mut c_void, length: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    let fd = unsafe { next::accept(listener, address, length) };
    on_accept(fd, listener);
    fd
}

/// # Safety
/// As accept4(2) requires.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(listener: c_int, address: *mut c_void, length: *mut u32, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let fd = unsafe { next::accept4(listener, address, length, flags) };
    on_accept(fd, listener);
    fd
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    on_accept(returned as c_int, call.fd());
    returned
}

/// Applies the settings to an accepted socket. `fd` is the call's result: a new socket or −1. The kernel copies the
/// listener's options. So work remains only if the listener is foreign, or if a rule or a mode may require other
/// values.
fn on_accept(fd: c_int, listener: c_int) {
    if fd < 0 {
        return;
    }
    let Some(policy) = state::policy() else { return };
    let is_foreign = apply::is_foreign(policy, listener);
    if policy.is_watching {
        own::inherit(fd, listener);
    }
    state::remember(fd);
    if (is_foreign || policy.is_watching_accept)
        && let Some(work) = state::work()
    {
        if is_foreign {
            apply::adopt(&work, fd);
        }
        if work.is_watching_accept {
            apply::apply_to_connection(&work, fd, Moment::Accept);
        }
    }
}
