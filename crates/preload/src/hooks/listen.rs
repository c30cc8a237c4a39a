//! Hooks listen(2).

use super::syscall::Call;
use crate::apply::Undo;
use crate::next::next;
use crate::sys::number;
use crate::{apply, state};
use core::ffi::{c_int, c_long};

next! {
    fn listen(fd: c_int, backlog: c_int) -> c_int = number::LISTEN, [fd, backlog, 0, 0, 0];
}

#[unsafe(no_mangle)]
extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let undo = before_listen(fd);
    // SAFETY: listen(2) accepts any two numbers.
    let returned = unsafe { next::listen(fd, backlog) };
    after_listen(fd, returned as _, &undo);
    returned
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    let fd = call.fd();
    let undo = before_listen(fd);
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    after_listen(fd, returned, &undo);
    returned
}

/// Sets the options that must be set before the first handshake. Returns the values to restore if listen(2) fails.
fn before_listen(fd: c_int) -> Undo {
    let prepares = |policy: &crate::policy::Policy| policy.has_user_timeout || policy.has_early_options;
    if let Some(policy) = state::policy()
        && (prepares(policy) || apply::is_foreign(policy, fd))
        && let Some(work) = state::work()
    {
        apply::adopt_if_foreign(&work, fd);
        if prepares(&work) {
            return apply::before_listen(&work, fd);
        }
    }
    Undo::default()
}

/// Restores the previous values if listen(2) failed.
fn after_listen(fd: c_int, returned: c_long, undo: &Undo) {
    if returned != 0
        && !undo.is_empty()
        && let Some(_work) = state::work()
    {
        apply::not_listening(fd, undo);
    }
}
