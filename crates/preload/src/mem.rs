//! Defines the memory functions that the compiler may call. The functions of libc would be strong references to a
//! library. These functions are small; mostly the start and the log use them. Their symbols are hidden, so the program
//! does not call them.

use crate::arch;
use core::ffi::c_int;

macro_rules! jump {
    ($name:literal) => {
        concat!(
            ".globl ",
            $name,
            "\n.hidden ",
            $name,
            "\n",
            $name,
            ": ",
            arch::jump!(),
            " {}"
        )
    };
}
core::arch::global_asm!(jump!("memcpy"), sym arch::copy);
core::arch::global_asm!(jump!("memset"), sym arch::set);
core::arch::global_asm!(jump!("memcmp"), sym compare);
core::arch::global_asm!(jump!("bcmp"), sym compare);
core::arch::global_asm!(jump!("strlen"), sym length);

/// Reads a byte with a volatile access. Otherwise the compiler may replace a loop below by a call of the function that
/// contains the loop.
///
/// # Safety
/// `from` must have more than `index` bytes.
pub(crate) unsafe fn read(from: *const u8, index: usize) -> u8 {
    // SAFETY: the caller's promise.
    let byte = unsafe { from.add(index) };
    // SAFETY: as above.
    unsafe { byte.read_volatile() }
}

/// # Safety
/// As memcmp(3) requires.
unsafe extern "C" fn compare(left: *const u8, right: *const u8, count: usize) -> c_int {
    for index in 0..count {
        // SAFETY: both areas have `count` bytes by the caller's promise.
        let left = unsafe { read(left, index) };
        // SAFETY: as above.
        let right = unsafe { read(right, index) };
        if left != right {
            return c_int::from(left) - c_int::from(right);
        }
    }
    0
}

/// # Safety
/// As strlen(3) requires.
unsafe extern "C" fn length(text: *const u8) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: the text continues until its NUL, which the loop has not passed.
        if unsafe { read(text, length) } == 0 {
            return length;
        }
        length += 1;
    }
}
