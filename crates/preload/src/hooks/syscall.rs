//! Hooks syscall(2) of the C library. Some programs make hooked calls with it: libuv accepts connections, libseccomp
//! installs filters. All other calls go directly to the next definition.

use super::{by_number, is_hooked, socketcall};
use crate::next;
use crate::sys::number;
use core::ffi::{c_int, c_long};

/// # Safety
/// As syscall(2) and the system call `n` require. The function is variadic; the C libraries read six arguments for
/// every call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let is_hooked = is_hooked(n) || Some(n) == number::SOCKETCALL;
    let function = if is_hooked { hooked } else { next::syscall() };
    // SAFETY: the caller's promise.
    unsafe { function(n, a, b, c, d, e, f) }
}

/// # Safety
/// As the system call `n` requires.
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
    /// The number of the system call, decoded from socketcall(2).
    pub(super) meant: c_long,
    /// The first arguments of the system call.
    pub(super) arguments: [c_long; 3],
    /// The arguments of syscall(2).
    made: [c_long; 7],
}

impl Call {
    /// Makes the call.
    ///
    /// # Safety
    /// As the system call requires.
    pub(super) unsafe fn make(&self) -> c_long {
        let [n, a, b, c, d, e, f] = self.made;
        // SAFETY: the caller's promise.
        unsafe { next::syscall()(n, a, b, c, d, e, f) }
    }

    /// Returns the first argument as a descriptor.
    pub(super) fn fd(&self) -> c_int {
        let [fd, ..] = self.arguments;
        fd as c_int
    }
}

/// Returns the number and the first arguments of a system call. Decodes i386's socketcall(2), which makes another call.
fn meaning(n: c_long, arguments: [c_long; 3]) -> (c_long, [c_long; 3]) {
    if Some(n) == number::SOCKETCALL
        && let Some(meant) = socketcall::meaning(arguments[0], arguments[1] as _)
    {
        return meant;
    }
    (n, arguments)
}
