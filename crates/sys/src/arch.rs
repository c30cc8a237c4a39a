//! The differences between architectures, one file each. This file specifies the contents of such a file.

use libc::c_long;
use std::io;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86;

#[cfg(target_arch = "aarch64")]
use aarch64 as own;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use x86 as own;

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86", target_arch = "x86_64")))]
compile_error!("this architecture needs a file in crates/sys/src/arch");

/// Debian's library directories, which contain the architecture in their names, of the programs that may run
/// here; the native one comes first.
pub const MULTIARCH: &[&str] = own::MULTIARCH;
/// The path of glibc's dynamic loader.
pub const LOADER: &str = own::LOADER;
/// The paths of glibc's loaders for 32-bit programs, and for those of another ABI, that the machine may execute too.
pub const OTHER_LOADERS: &[&str] = own::OTHER_LOADERS;
/// The processors in ELF files (`e_machine`, elf(5)) whose programs may run here: the native one, and its
/// 32-bit mode if 64-bit programs may start such programs.
pub(crate) const MACHINES: &[u16] = own::MACHINES;
/// The system calls that a supervisor catches, for each kind of program that the kernel runs; the native kind
/// comes first.
pub(crate) const CAUGHT: [Caught; 2] = own::CAUGHT;
/// The system calls that a confined program may not make, for each kind of program that is tried.
pub(crate) const CONFINED: &[Confined] = own::CONFINED;

/// Makes a system call that no library in this process can change, as keepalive's own and torsocks change those of libc.
///
/// # Safety
/// The arguments must be what system call `number` requires. Every pointer must be valid as the system call specifies.
pub(crate) unsafe fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<c_long> {
    /// The greatest error number of the kernel (`include/linux/err.h`).
    const LARGEST_ERROR: c_long = 4095;
    // SAFETY: the caller's promise.
    let result = unsafe { own::call(number, arguments) };
    if (-LARGEST_ERROR..0).contains(&result) {
        let error = i32::try_from(-result).map_err(io::Error::other)?;
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(result)
}

/// The numbers of the calls that a supervisor catches.
pub(crate) struct Caught {
    /// `AUDIT_ARCH_*` (`linux/audit.h`).
    pub(crate) arch: u32,
    pub(crate) connect: u32,
    pub(crate) listen: u32,
    pub(crate) sendto: u32,
    pub(crate) sendmsg: u32,
    pub(crate) sendmmsg: u32,
    pub(crate) setsockopt: u32,
    /// The number of the call that multiplexes all of these on i386.
    pub(crate) socketcall: Option<u32>,
}

/// The numbers of the calls that a confined program may not make.
pub(crate) struct Confined {
    /// `AUDIT_ARCH_*` (`linux/audit.h`).
    pub(crate) arch: u32,
    /// Calls that are refused: sockets, since those of AF_VSOCK reach the host of a virtual machine;
    /// keyrings; calls that open more of the kernel to a process; limits, since the limit of core files keeps
    /// the machine's core handler from starting.
    pub(crate) refused: &'static [u32],
    /// `prlimit64`, which may only read limits.
    pub(crate) limits: u32,
    /// `clone`, which may not create namespaces.
    pub(crate) clone: u32,
}
