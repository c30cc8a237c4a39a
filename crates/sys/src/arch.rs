//! What differs between architectures, a file each. This one specifies what such a file has.

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

/// Debian's directories of libraries, which have the architecture in their names, of the programs that may run here, its own
/// first.
pub const MULTIARCH: &[&str] = own::MULTIARCH;
/// glibc's loader of dynamic programs.
pub const LOADER: &str = own::LOADER;
/// glibc's loaders of 32-bit programs, and of those of another ABI, that the machine may execute too.
pub const OTHER_LOADERS: &[&str] = own::OTHER_LOADERS;
/// The processors in ELF files (`e_machine`, elf(5)) whose programs may run here: its own, and its 32-bit mode where programs
/// of 64 bits may start such programs.
pub(crate) const MACHINES: &[u16] = own::MACHINES;
/// The system calls that a supervisor catches, of each kind of program that the kernel runs, its own first.
pub(crate) const CAUGHT: [Caught; 2] = own::CAUGHT;
/// The system calls that a confined program may not make, of each kind of program that is tried.
pub(crate) const CONFINED: &[Confined] = own::CONFINED;

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
    /// The one call that stands for all of these on i386.
    pub(crate) socketcall: Option<u32>,
}

/// The numbers of the calls that a confined program may not make.
pub(crate) struct Confined {
    /// `AUDIT_ARCH_*` (`linux/audit.h`).
    pub(crate) arch: u32,
    /// Calls that are refused: sockets, of which those of AF_VSOCK reach the host of a virtual machine; keyrings; what gives
    /// a process more of the kernel; limits, of which that of core files keeps the machine's handler from being started.
    pub(crate) refused: &'static [u32],
    /// `prlimit64`, which may only read.
    pub(crate) limits: u32,
    /// `clone`, which may make no namespaces.
    pub(crate) clone: u32,
}
