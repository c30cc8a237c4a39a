//! The memory functions that the compiler may call. libc's would be a strong reference to a library; these are slow and
//! small, and only the log and the start use them. Hidden: the program's own must not come to us.

use core::ffi::c_int;

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
macro_rules! jump {
    ($name:literal) => {
        concat!(".globl ", $name, "\n.hidden ", $name, "\n", $name, ": jmp {}")
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($name:literal) => {
        concat!(".globl ", $name, "\n.hidden ", $name, "\n", $name, ": b {}")
    };
}
core::arch::global_asm!(jump!("memcpy"), sym copy);
core::arch::global_asm!(jump!("memset"), sym set);
core::arch::global_asm!(jump!("memcmp"), sym compare);
core::arch::global_asm!(jump!("bcmp"), sym compare);
core::arch::global_asm!(jump!("strlen"), sym length);

// Volatile accesses keep the compiler from seeing the very function that it is compiling in these loops.

/// # Safety
/// As memcpy(3) asks.
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: both areas have `count` bytes by the caller's promise.
        let (to, from) = unsafe { (to.add(index), from.add(index)) };
        // SAFETY: as above.
        let byte = unsafe { from.read_volatile() };
        // SAFETY: as above.
        unsafe { to.write_volatile(byte) };
    }
    to
}

/// # Safety
/// As memset(3) asks.
unsafe extern "C" fn set(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the area has `count` bytes by the caller's promise.
        let to = unsafe { to.add(index) };
        // SAFETY: as above.
        unsafe { to.write_volatile(byte as u8) };
    }
    to
}

/// # Safety
/// As memcmp(3) asks.
unsafe extern "C" fn compare(left: *const u8, right: *const u8, count: usize) -> c_int {
    for index in 0..count {
        // SAFETY: both areas have `count` bytes by the caller's promise.
        let (left, right) = unsafe { (left.add(index), right.add(index)) };
        // SAFETY: as above.
        let (left, right) = unsafe { (left.read_volatile(), right.read_volatile()) };
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
        let byte = unsafe { text.add(length) };
        // SAFETY: as above.
        if unsafe { byte.read_volatile() } == 0 {
            return length;
        }
        length += 1;
    }
}
