//! The memory functions that the compiler may call. libc's would be a strong reference to a library; these are small,
//! and mostly the start and the log use them. Hidden: the program's own must not come to us.

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

/// Volatile, which keeps the compiler from seeing in a loop below the very function that it is compiling.
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
/// As memcmp(3) asks.
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
/// As strlen(3) asks.
unsafe extern "C" fn length(text: *const u8) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: the text goes on until its NUL, which has not been passed.
        if unsafe { read(text, length) } == 0 {
            return length;
        }
        length += 1;
    }
}
