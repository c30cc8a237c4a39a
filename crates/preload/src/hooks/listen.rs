//! listen(2)

use crate::apply::Undo;
use crate::{apply, next, state};
use core::ffi::{c_int, c_long};

#[unsafe(no_mangle)]
extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let undo = before_listen(fd);
    // SAFETY: listen(2) takes any two numbers.
    let returned = unsafe { next::listen(fd, backlog) };
    after_listen(fd, returned as _, &undo);
    returned
}

/// The settings must be there before the first handshake. Gives what is to be set back where there will be none.
pub(super) fn before_listen(fd: c_int) -> Undo {
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

/// Takes back what was set for nothing.
pub(super) fn after_listen(fd: c_int, returned: c_long, undo: &Undo) {
    if returned != 0
        && !undo.is_empty()
        && let Some(_work) = state::work()
    {
        apply::not_listening(fd, undo);
    }
}
