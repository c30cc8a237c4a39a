//! ARM, of 64 and 32 bits.

use super::{Caught, Confined};
use elf::abi::EM_AARCH64;

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
