//! Decodes socketcall(2), the older system call of i386 for all socket calls. Programs make it with syscall(2). It
//! reads the arguments of the call from an array of words in the program's memory.

use crate::state;
use crate::sys::{self, number};
use core::ffi::c_long;

/// Returns the hooked system call that `socketcall(call, array)` makes, with its first arguments; `None` if the call is
/// not hooked or the array is not readable.
///
/// The array may be invalid. Then the kernel returns EFAULT, and the program must receive that error. So the function
/// first asks the kernel whether the array is readable, and only if the library has work to do.
pub(super) fn meaning(call: c_long, array: *const c_long) -> Option<(c_long, [c_long; 3])> {
    // The numbers of `include/uapi/linux/net.h`.
    let n = match call {
        1 => number::SOCKET,
        3 => number::CONNECT,
        4 => number::LISTEN,
        5 | 18 => number::ACCEPT4,
        14 => number::SETSOCKOPT,
        15 => number::GETSOCKOPT,
        _ => return None,
    };
    let _work = state::work()?;
    // `listen` has two arguments, the other calls at least three.
    let [first, second] = words_at(array)?;
    let third = if n == number::LISTEN {
        0
    } else {
        words_at(array.wrapping_add(1))?[1]
    };
    Some((n, [first, second, third]))
}

/// Returns two words of the program's memory, or `None` if they are not readable.
fn words_at(array: *const c_long) -> Option<[c_long; 2]> {
    let array = array.cast::<[c_long; 2]>();
    // SAFETY: the kernel has just read these bytes. Only a program that unmaps the array in another thread during its
    // own call breaks this.
    sys::is_readable(array.cast(), size_of::<[c_long; 2]>()).then(|| unsafe { array.read_unaligned() })
}
