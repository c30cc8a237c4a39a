//! Hooks setsockopt(2), with which a program sets options itself. The call and its result stay unchanged. The hook
//! corrects values that the policy's mode does not allow afterwards.

use super::syscall::Call;
use crate::next::next;
use crate::sys::number;
use crate::{apply, log, state, sys};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::SocketOption;

next! {
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int
        = number::SETSOCKOPT, [fd, level, name, value, length];
}

/// # Safety
/// As setsockopt(2) requires.
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int {
    before_setsockopt(fd, level, name);
    // SAFETY: the caller's promise.
    let returned = unsafe { next::setsockopt(fd, level, name, value, length) };
    on_setsockopt(fd, level, name, returned as _);
    returned
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    let [_, level, name] = call.arguments;
    let (fd, level, name) = (call.fd(), level as c_int, name as c_int);
    before_setsockopt(fd, level, name);
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    on_setsockopt(fd, level, name, returned);
    returned
}

/// Adopts a foreign socket without a peer before the program sets its option, so that the program's value stays.
fn before_setsockopt(fd: c_int, level: c_int, name: c_int) {
    if SocketOption::from_number(level, name).is_some()
        && state::policy().is_some_and(|policy| apply::is_foreign(policy, fd))
        && let Some(work) = state::work()
        && sys::peer(fd).is_none()
    {
        apply::adopt_if_foreign(&work, fd);
    }
}

/// Corrects and logs the program's value after a successful call, if policy or log depend on the program's values.
fn on_setsockopt(fd: c_int, level: c_int, name: c_int, returned: c_long) {
    if returned == 0
        && state::policy().is_some_and(|policy| policy.is_watching || log::is_on())
        && let Some(option) = SocketOption::from_number(level, name)
        && let Some(work) = state::work()
    {
        apply::changed(&work, fd, option);
    }
}
