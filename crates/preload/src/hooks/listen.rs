//! listen(2)

use crate::{apply, next, state};
use core::ffi::c_int;

#[unsafe(no_mangle)]
extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let set = before_listen(fd);
    // SAFETY: listen(2) takes any two numbers.
    let returned = unsafe { next::listen(fd, backlog) };
    after_listen(fd, returned as _, set);
    returned
}

/// The settings must be there before the first handshake. Gives whether a user timeout was set.
pub(super) fn before_listen(fd: c_int) -> bool {
    let Some(policy) = state::policy() else { return false };
    apply::adopt_if_foreign(policy, fd);
    apply::before_listen(policy, fd)
}

/// Takes back what was set for nothing.
pub(super) fn after_listen(fd: c_int, returned: core::ffi::c_long, set: bool) {
    if set && returned != 0 {
        apply::not_listening(fd);
    }
}
