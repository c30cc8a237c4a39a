//! ARM, of 64 and 32 bits.

use super::{Caught, Confined};
use elf::abi::EM_AARCH64;
use libc::c_long;

pub(super) const MULTIARCH: &[&str] = &["lib/aarch64-linux-gnu", "lib/arm-linux-gnueabihf"];
pub(super) const LOADER: &str = "/lib/ld-linux-aarch64.so.1";
pub(super) const OTHER_LOADERS: &[&str] = &["/lib/ld-linux-armhf.so.3"];
pub(super) const MACHINES: &[u16] = &[EM_AARCH64];
pub(super) const CAUGHT: [Caught; 2] = [CAUGHT_AARCH64, CAUGHT_ARM];

const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

const CAUGHT_AARCH64: Caught = Caught {
    arch: AUDIT_ARCH_AARCH64,
    connect: 203,
    listen: 201,
    sendto: 206,
    sendmsg: 211,
    sendmmsg: 269,
    setsockopt: 208,
    socketcall: None,
};

const CAUGHT_ARM: Caught = Caught {
    arch: AUDIT_ARCH_ARM,
    connect: 283,
    listen: 284,
    sendto: 290,
    sendmsg: 296,
    sendmmsg: 374,
    setsockopt: 294,
    socketcall: None,
};

pub(super) const CONFINED: &[Confined] = &[Confined {
    arch: AUDIT_ARCH_AARCH64,
    // socket, add_key, request_key, keyctl, unshare, setrlimit, bpf, perf_event_open, userfaultfd
    refused: &[198, 217, 218, 219, 97, 164, 280, 241, 282],
    limits: 261,
    clone: 220,
}];

/// # Safety
/// As [`super::call`].
pub(super) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: by the kernel's calling convention (syscall(2)), only x0 changes; the arguments are the caller's promise.
    unsafe {
        core::arch::asm!("svc 0", in("x8") n, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}
