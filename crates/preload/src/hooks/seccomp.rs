//! Hooks seccomp(2), the other call that installs a filter (see [`super::prctl`]). The C libraries have no function for
//! it.

use super::syscall::Call;
use crate::state;
use core::ffi::c_long;

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    /// The first two operations, strict mode (0) and a filter (1), restrict this process.
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 8;
    // The kernel uses the lower half of each argument.
    let [operation, flags, _] = call.arguments.map(|argument| argument as u32);
    let installs = operation <= SECCOMP_SET_MODE_FILTER;
    if installs {
        state::before_filter();
    }
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    // With this flag the call returns a descriptor. Otherwise a positive result is the id of a thread that cannot get
    // the filter (`SECCOMP_FILTER_FLAG_TSYNC`); then no thread has the filter.
    let gives_listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    let was_installed = returned == 0 || (returned > 0 && gives_listener);
    if installs && !was_installed {
        state::filter_refused();
    }
    returned
}
