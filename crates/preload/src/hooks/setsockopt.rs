//! setsockopt(2): where a program has an opinion of its own. Its call goes through as it is, with the kernel's answer; what
//! the policy's mode does not allow is corrected afterwards.

use super::syscall::Call;
use crate::next::next;
use crate::sys::number;
use crate::{apply, state, sys};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::SocketOption;

next! {
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int
        = number::SETSOCKOPT, [fd, level, name, value, length];
}

/// # Safety
/// As setsockopt(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int {
    before_setsockopt(fd, level, name);
    // SAFETY: the caller's promise.
    let returned = unsafe { next::setsockopt(fd, level, name, value, length) };
    on_setsockopt(fd, level, name, returned as _);
    returned
}

/// # Safety
/// As the system call asks.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    let [_, level, name] = call.arguments;
    let (fd, level, name) = (call.fd(), level as c_int, name as c_int);
    before_setsockopt(fd, level, name);
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    on_setsockopt(fd, level, name, returned);
    returned
}

/// A socket that came from elsewhere, and has no peer yet, gets its settings before the program adds its own, which then
/// stay.
fn before_setsockopt(fd: c_int, level: c_int, name: c_int) {
    if SocketOption::from_number(level, name).is_some()
        && state::policy().is_some_and(|policy| apply::is_foreign(policy, fd))
        && let Some(work) = state::work()
        && sys::peer(fd).is_none()
    {
        apply::adopt_if_foreign(&work, fd);
    }
}

/// After a successful call, where it matters what the program sets.
fn on_setsockopt(fd: c_int, level: c_int, name: c_int, returned: c_long) {
    if returned == 0
        && state::policy().is_some_and(|policy| policy.is_watching)
        && SocketOption::from_number(level, name).is_some()
        && let Some(work) = state::work()
    {
        apply::corrected(&work, fd, level, name);
    }
}
