//! The memory functions that the compiler may call. libc's would be a strong reference to a library; these are small,
//! and mostly the start and the log use them. Hidden: the program's own must not come to us.

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

/// Volatile, which keeps the compiler from seeing in a loop below the very function that it is compiling.
///
/// # Safety
/// `from` must have more than `index` bytes.
unsafe fn read(from: *const u8, index: usize) -> u8 {
    // SAFETY: the caller's promise.
    let byte = unsafe { from.add(index) };
    // SAFETY: as above.
    unsafe { byte.read_volatile() }
}

/// Volatile, for the same reason.
///
/// # Safety
/// `to` must have more than `index` bytes.
#[cfg(target_arch = "aarch64")]
unsafe fn write(to: *mut u8, index: usize, byte: u8) {
    // SAFETY: the caller's promise.
    let to = unsafe { to.add(index) };
    // SAFETY: as above.
    unsafe { to.write_volatile(byte) };
}

/// # Safety
/// As memcpy(3) asks.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: both areas have `count` bytes by the caller's promise, and the direction flag is clear between functions
    // (System V ABI). The source index cannot be an operand on i386, so it is exchanged.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
        #[cfg(target_arch = "x86")]
        core::arch::asm!("xchg esi, {from}", "rep movsb", "mov esi, {from}", from = inout(reg) from => _,
            inout("ecx") count => _, inout("edi") to => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memcpy(3) asks.
#[cfg(target_arch = "aarch64")]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: both areas have `count` bytes by the caller's promise.
        let byte = unsafe { read(from, index) };
        // SAFETY: as above.
        unsafe { write(to, index, byte) };
    }
    to
}

/// # Safety
/// As memset(3) asks.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
unsafe extern "C" fn set(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
    // SAFETY: the area has `count` bytes by the caller's promise; the direction flag is clear, as above.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
        #[cfg(target_arch = "x86")]
        core::arch::asm!("rep stosb", inout("ecx") count => _, inout("edi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memset(3) asks.
#[cfg(target_arch = "aarch64")]
unsafe extern "C" fn set(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the area has `count` bytes by the caller's promise.
        unsafe { write(to, index, byte as u8) };
    }
    to
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
