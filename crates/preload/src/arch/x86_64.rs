//! Supports 64-bit x86.

use core::ffi::{c_int, c_long};
use linux_raw_sys::general::{__NR_accept, __NR_fstat, __NR_mmap};

/// accept(2); −1 if the kernel has only accept4(2).
pub(crate) const ACCEPT: c_long = __NR_accept as c_long;
/// fstat(2), with a `struct stat` for files of any size.
pub(crate) const FSTAT: c_long = __NR_fstat as c_long;
/// mmap(2), or mmap2(2), whose offset is in pages.
pub(crate) const MMAP: c_long = __NR_mmap as c_long;
/// socketcall(2), the older system call for all socket calls; `None` if the architecture has none.
pub(crate) const SOCKETCALL: Option<c_long> = None;
/// The index of `st_mode` in the kernel's `struct stat`, in 32-bit words.
pub(crate) const STAT_MODE: usize = 6;
/// The index of `st_size`, 64 bits, in the same words.
pub(crate) const STAT_SIZE: usize = 12;

/// The instruction that jumps to a symbol.
macro_rules! jump {
    () => {
        "jmp"
    };
}
pub(crate) use jump;

/// Makes a system call.
///
/// # Safety
/// The arguments must be what system call `n` requires. Every pointer must be valid as the system call specifies.
#[inline(always)]
pub(crate) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: by the kernel's calling convention (syscall(2)), the call clobbers rcx and r11 and preserves the other
    // registers; the arguments are the caller's promise.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack, preserves_flags));
    }
    result
}

/// # Safety
/// As memcpy(3) requires.
pub(crate) unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: both areas have `count` bytes by the caller's promise, and the direction flag is clear between functions
    // (System V ABI).
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memset(3) requires.
pub(crate) unsafe extern "C" fn set(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
    // SAFETY: the area has `count` bytes by the caller's promise; the direction flag is clear, as above.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}
