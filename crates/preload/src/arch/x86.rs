//! Supports 32-bit x86.

#[cfg(target_feature = "sse")]
compile_error!("old programs align the stack to 4 bytes, and SSE wants 16: build for i586-unknown-linux-gnu");

use core::ffi::{c_int, c_long};
use linux_raw_sys::general::{__NR_fstat64, __NR_mmap2, __NR_socketcall};

/// accept(2); −1 if the kernel has only accept4(2).
pub(crate) const ACCEPT: c_long = -1;
/// fstat(2), with a `struct stat` for files of any size.
pub(crate) const FSTAT: c_long = __NR_fstat64 as c_long;
/// mmap(2), or mmap2(2), whose offset is in pages.
pub(crate) const MMAP: c_long = __NR_mmap2 as c_long;
/// socketcall(2), the older system call for all socket calls; `None` if the architecture has none.
pub(crate) const SOCKETCALL: Option<c_long> = Some(__NR_socketcall as c_long);
/// The index of `st_mode` in the kernel's `struct stat`, in 32-bit words.
pub(crate) const STAT_MODE: usize = 4;
/// The index of `st_size`, 64 bits, in the same words.
pub(crate) const STAT_SIZE: usize = 11;

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
    /// Makes the system call with the number and the six arguments of an array. ebx, esi and ebp cannot be operands of
    /// inline assembly.
    #[unsafe(naked)]
    unsafe extern "C" fn from_array(arguments: *const [c_long; 7]) -> c_long {
        core::arch::naked_asm!(
            "push ebp",
            "push ebx",
            "push esi",
            "push edi",
            "mov eax, [esp + 20]",
            "mov ebx, [eax + 4]",
            "mov ecx, [eax + 8]",
            "mov edx, [eax + 12]",
            "mov esi, [eax + 16]",
            "mov edi, [eax + 20]",
            "mov ebp, [eax + 24]",
            "mov eax, [eax]",
            "int 0x80",
            "pop edi",
            "pop esi",
            "pop ebx",
            "pop ebp",
            "ret",
        )
    }
    let arguments = [n, a, b, c, d, e, f];
    // SAFETY: `arguments` lives through the call; their meaning is the caller's promise.
    unsafe { from_array(&raw const arguments) }
}

/// # Safety
/// As memcpy(3) requires.
pub(crate) unsafe extern "C" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: both areas have `count` bytes by the caller's promise, and the direction flag is clear between functions
    // (System V ABI). The source index cannot be an operand on i386, so it is exchanged.
    unsafe {
        core::arch::asm!("xchg esi, {from}", "rep movsb", "mov esi, {from}", from = inout(reg) from => _,
            inout("ecx") count => _, inout("edi") to => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memset(3) requires.
pub(crate) unsafe extern "C" fn set(to: *mut u8, byte: c_int, count: usize) -> *mut u8 {
    // SAFETY: the area has `count` bytes by the caller's promise; the direction flag is clear, as above.
    unsafe {
        core::arch::asm!("rep stosb", inout("ecx") count => _, inout("edi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}
