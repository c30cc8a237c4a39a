//! Hooks getsockopt(2): programs read `SO_ERROR` to get the result of a non-blocking connect(2).

use super::syscall::Call;
use crate::next::next;
use crate::sys::number;
use crate::sys::{SO_ERROR, SOL_SOCKET};
use crate::{apply, own, state};
use core::ffi::{c_int, c_long, c_void};

next! {
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int
        = number::GETSOCKOPT, [fd, level, name, value, length];
}

/// # Safety
/// As getsockopt(2) requires.
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    let returned = unsafe { next::getsockopt(fd, level, name, value, length) };
    on_getsockopt(fd, level, name);
    returned
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    let [_, level, name] = call.arguments;
    on_getsockopt(call.fd(), level as c_int, name as c_int);
    returned
}

/// Sets the user timeout if the connection is established.
fn on_getsockopt(fd: c_int, level: c_int, name: c_int) {
    if level == SOL_SOCKET
        && name == SO_ERROR
        && state::policy().is_some_and(|policy| policy.has_user_timeout)
        && let Some(work) = state::work()
    {
        own::forget_if_replaced(fd);
        apply::established(&work, fd);
    }
}
