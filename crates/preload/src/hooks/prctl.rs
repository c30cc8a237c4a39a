//! prctl(2): where a program gives itself a seccomp filter. What that filter does to a system call which the program does
//! not make itself is unknown, and may be to kill; so we make none from then on.

use super::syscall::Call;
use crate::next::next;
use crate::state;
use crate::sys::number;
use core::ffi::{c_int, c_long};

next! {
    fn prctl(operation: c_int, b: c_long, c: c_long, d: c_long, e: c_long) -> c_int = number::PRCTL, [operation, b, c, d, e];
}

/// # Safety
/// As prctl(2) asks. It is variadic; the C libraries read its arguments as five words too.
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
/// As the system call asks.
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

/// Whether prctl(2) of this `operation` installs a filter, where it succeeds.
fn installs_filter(operation: c_int) -> bool {
    const PR_SET_SECCOMP: c_int = 22;
    operation == PR_SET_SECCOMP
}
