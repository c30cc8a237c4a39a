//! Hooks prctl(2), with which a program installs a seccomp filter. The filter may kill the program at a system call
//! that the program does not make itself. So the library makes no system calls after that.

use super::syscall::Call;
use crate::next::next;
use crate::state;
use crate::sys::number;
use core::ffi::{c_int, c_long};

next! {
    fn prctl(operation: c_int, b: c_long, c: c_long, d: c_long, e: c_long) -> c_int = number::PRCTL, [operation, b, c, d, e];
}

/// # Safety
/// As prctl(2) requires. The function is variadic; the C libraries also read its arguments as five words.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(operation: c_int, b: c_long, c: c_long, d: c_long, e: c_long) -> c_int {
    let installs = installs_filter(operation);
    if installs {
        state::before_filter();
    }
    // SAFETY: the caller's promise.
    let returned = unsafe { next::prctl(operation, b, c, d, e) };
    if installs && returned != 0 {
        state::filter_refused();
    }
    returned
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    let [operation, ..] = call.arguments;
    let installs = installs_filter(operation as c_int);
    if installs {
        state::before_filter();
    }
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    if installs && returned != 0 {
        state::filter_refused();
    }
    returned
}

/// Whether a successful prctl(2) with this `operation` installs a filter.
fn installs_filter(operation: c_int) -> bool {
    const PR_SET_SECCOMP: c_int = 22;
    operation == PR_SET_SECCOMP
}
