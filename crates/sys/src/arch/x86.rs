//! x86, of 64 and 32 bits.

use super::{Caught, Confined};
use elf::abi::{EM_386, EM_X86_64};
use libc::c_long;

const IS_64_BIT: bool = cfg!(target_pointer_width = "64");

pub(super) const MULTIARCH: &[&str] = if IS_64_BIT {
    &["lib/x86_64-linux-gnu", "lib/i386-linux-gnu", "lib/x86_64-linux-gnux32"]
} else {
    &["lib/i386-linux-gnu"]
};
pub(super) const LOADER: &str = if IS_64_BIT {
    "/lib64/ld-linux-x86-64.so.2"
} else {
    "/lib/ld-linux.so.2"
};
pub(super) const OTHER_LOADERS: &[&str] = if IS_64_BIT {
    &["/lib/ld-linux.so.2", "/libx32/ld-linux-x32.so.2"]
} else {
    &[]
};
pub(super) const MACHINES: &[u16] = &[EM_X86_64, EM_386];

/// A 32-bit program may run under a 64-bit kernel.
pub(super) const CAUGHT: [Caught; 2] = if IS_64_BIT {
    [CAUGHT_X86_64, CAUGHT_I386]
} else {
    [CAUGHT_I386, CAUGHT_X86_64]
};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

const CAUGHT_X86_64: Caught = Caught {
    arch: AUDIT_ARCH_X86_64,
    connect: 42,
    listen: 50,
    sendto: 44,
    sendmsg: 46,
    sendmmsg: 307,
    setsockopt: 54,
    socketcall: None,
};

const CAUGHT_I386: Caught = Caught {
    arch: AUDIT_ARCH_I386,
    connect: 362,
    listen: 363,
    sendto: 369,
    sendmsg: 370,
    sendmmsg: 345,
    setsockopt: 366,
    socketcall: Some(102),
};

pub(super) const CONFINED: &[Confined] = &[
    Confined {
        arch: AUDIT_ARCH_X86_64,
        // socket, add_key, request_key, keyctl, unshare, setrlimit, bpf, perf_event_open, userfaultfd
        refused: &[41, 248, 249, 250, 272, 160, 321, 298, 323],
        limits: 302,
        clone: 56,
    },
    Confined {
        arch: AUDIT_ARCH_I386,
        // The same, and socketcall.
        refused: &[359, 102, 286, 287, 288, 310, 75, 357, 336, 374],
        limits: 340,
        clone: 120,
    },
];

/// # Safety
/// As [`super::call`].
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: by the kernel's calling convention (syscall(2)), the call clobbers rcx and r11 and preserves the other
    // registers; the arguments are the caller's promise.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// # Safety
/// As [`super::call`].
#[cfg(target_arch = "x86")]
pub(super) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    // SAFETY: the caller's promise. A position-independent program has no register for all six arguments.
    match unsafe { libc::syscall(n, a, b, c, d, e, f) } {
        -1 => -c_long::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        result => result,
    }
}
