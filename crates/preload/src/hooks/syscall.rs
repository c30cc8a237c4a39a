//! syscall(2) of the C library, by which some programs make the calls that are hooked (libuv accepts with it, libseccomp
//! installs its filters). Every other call goes straight on.

use super::{by_number, is_hooked, socketcall};
use crate::next;
use crate::sys::number;
use core::ffi::{c_int, c_long};

/// # Safety
/// As syscall(2) and the system call `n` ask. It is variadic; the C libraries read six arguments whatever the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let is_hooked = is_hooked(n) || Some(n) == number::SOCKETCALL;
    let function = if is_hooked { hooked } else { next::syscall() };
    // SAFETY: the caller's promise.
    unsafe { function(n, a, b, c, d, e, f) }
}

/// # Safety
/// As the system call `n` asks.
#[inline(never)]
unsafe extern "C" fn hooked(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let (meant, arguments) = meaning(n, [a, b, c]);
    let call = Call {
        meant,
        arguments,
        made: [n, a, b, c, d, e, f],
    };
    // SAFETY: the caller's promise.
    unsafe { by_number(&call) }
}

/// A call of syscall(2).
pub(super) struct Call {
    /// The number of the system call that is made in the end.
    pub(super) meant: c_long,
    /// Its first arguments.
    pub(super) arguments: [c_long; 3],
    /// What syscall(2) was called with.
    made: [c_long; 7],
}

impl Call {
    /// Makes the call.
    ///
    /// # Safety
    /// As the system call asks.
    pub(super) unsafe fn make(&self) -> c_long {
        let [n, a, b, c, d, e, f] = self.made;
        // SAFETY: the caller's promise.
        unsafe { next::syscall()(n, a, b, c, d, e, f) }
    }

    /// The first argument of those that take a descriptor.
    pub(super) fn fd(&self) -> c_int {
        let [fd, ..] = self.arguments;
        fd as c_int
    }
}

/// The call that is made, with its first arguments: i386's socketcall(2) makes another one.
fn meaning(n: c_long, arguments: [c_long; 3]) -> (c_long, [c_long; 3]) {
    if Some(n) == number::SOCKETCALL
        && let Some(meant) = socketcall::meaning(arguments[0], arguments[1] as _)
    {
        return meant;
    }
    (n, arguments)
}
