//! seccomp(2), which has no function in the C libraries: the other way to a filter (see [`super::prctl`]).

use super::syscall::Call;
use crate::state;
use core::ffi::c_long;

/// # Safety
/// As the system call asks.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    /// Both of the first two operations, strict mode and a filter, restrict this process.
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 8;
    // The kernel takes the lower half of each.
    let [operation, flags, _] = call.arguments.map(|argument| argument as u32);
    let installs = operation <= SECCOMP_SET_MODE_FILTER;
    if installs {
        state::before_filter();
    }
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    // With this flag a descriptor is returned. Another positive number is the thread that could not have the filter
    // (`SECCOMP_FILTER_FLAG_TSYNC`): then nobody has it.
    let gives_listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    let was_installed = returned == 0 || (returned > 0 && gives_listener);
    if installs && !was_installed {
        state::filter_refused();
    }
    returned
}
