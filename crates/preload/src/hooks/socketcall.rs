//! socketcall(2): the older way of i386 to all socket calls, which programs reach through syscall(2). It takes the
//! arguments of the call as an array of words in the program's memory.

use crate::state;
use crate::sys::{self, number};
use core::ffi::c_long;

/// The system call that `socketcall(call, array)` stands for, of those that are hooked, with its first arguments.
///
/// Nothing says that there is an array: the kernel answers EFAULT then, and so must the program see. Hence the kernel is
/// asked first whether it can read there, and only where something is to be done at all.
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
    // Listen takes two words, the others at least three.
    let [first, second] = words_at(array)?;
    let third = if n == number::LISTEN {
        0
    } else {
        words_at(array.wrapping_add(1))?[1]
    };
    Some((n, [first, second, third]))
}

/// Two words of the program's, or `None` where they cannot be read.
fn words_at(array: *const c_long) -> Option<[c_long; 2]> {
    let array = array.cast::<[c_long; 2]>();
    // SAFETY: the kernel has just read these bytes. The program that changes its memory map in another thread
    // meanwhile passes an array that is no more.
    sys::is_readable(array.cast(), size_of::<[c_long; 2]>()).then(|| unsafe { array.read_unaligned() })
}
