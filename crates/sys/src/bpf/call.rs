//! bpf(2), one function per command; the layouts are those of `union bpf_attr` (`include/uapi/linux/bpf.h`).

use super::Instruction;
pub use super::info::{
    Attached, LinkInfo, MapInfo, ProgramInfo, Programs, link_info, map_by_id, map_info, program_by_id, program_info,
    programs,
};
pub use super::map::{MapKind, create_map, set_value, value};
use crate::layout::{ForKernel, for_kernel};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The hook at which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `BPF_CGROUP_SOCK_OPS`: at events in the life of a TCP connection (Linux 4.13).
    SockOps,
    /// `BPF_CGROUP_SETSOCKOPT`: before setsockopt(2) (Linux 5.3).
    SetSockOpt,
    /// `BPF_TRACE_ITER`: for each socket of a network namespace (Linux 5.9). Contains the number of the
    /// kernel's function.
    Iterator(u32),
    /// `BPF_TRACE_RAW_TP`: at a tracepoint, with arguments of known types (Linux 5.5). Contains the number of
    /// the tracepoint's type.
    Tracepoint(u32),
}

impl Hook {
    /// `enum bpf_prog_type`.
    fn program_type(self) -> u32 {
        match self {
            Self::SockOps => 13,
            Self::SetSockOpt => 25,
            Self::Iterator(_) | Self::Tracepoint(_) => 26,
        }
    }

    /// `enum bpf_attach_type`.
    pub(super) fn attach_type(self) -> u32 {
        match self {
            Self::SockOps => 3,
            Self::SetSockOpt => 22,
            Self::Iterator(_) => 28,
            Self::Tracepoint(_) => 23,
        }
    }
}

/// The refusal of a program by the kernel.
#[derive(Debug)]
pub struct Refusal {
    /// The kernel's error.
    pub error: io::Error,
    /// The verifier's log, if there is one.
    pub log: String,
}

impl Refusal {
    /// Returns the last lines of the log, indented by two columns; they contain the verifier's explanation.
    pub fn end_of_log(&self) -> String {
        const LINES: usize = 20;
        let lines: Vec<_> = self.log.trim_end().lines().map(|line| format!("  {line}")).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let log = String::new();
        Self { error, log }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(to)
    }
}

/// The failure of a command of bpf(2).
#[derive(Debug)]
pub struct CallError {
    /// The name of the command.
    pub call: &'static str,
    /// The kernel's error.
    pub error: io::Error,
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        error.error
    }
}

/// The licence string, with which programs may call all helpers of the kernel (`include/linux/license.h`).
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

for_kernel! {
    #[derive(Default)]
    struct LoadProgram {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        licence: u64,
        log_level: u32,
        log_size: u32,
        log_buffer: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
        btf_fd: u32,
        function_info_size: u32,
        function_info: u64,
        function_info_count: u32,
        line_info_size: u32,
        line_info: u64,
        line_info_count: u32,
        attach_btf_id: u32,
    }
}

/// Loads a program; its name has at most 15 letters.
///
/// # Errors
/// `EPERM` without `CAP_BPF` and the other capabilities of the hook; a rejection by the verifier, with its log.
pub fn load_program(hook: Hook, name: &str, program: &[Instruction]) -> Result<OwnedFd, Refusal> {
    let mut attributes = LoadProgram {
        program_type: hook.program_type(),
        instruction_count: program.len().try_into().map_err(io::Error::other)?,
        instructions: address(program.as_ptr()),
        licence: address(LICENCE.as_ptr()),
        name: short(name),
        attach_type: hook.attach_type(),
        attach_btf_id: match hook {
            Hook::Iterator(number) | Hook::Tracepoint(number) => number,
            _ => 0,
        },
        ..LoadProgram::default()
    };
    // A signal may interrupt the verifier.
    let is_final =
        |result: &io::Result<OwnedFd>| !matches!(result, Err(error) if error.raw_os_error() == Some(libc::EAGAIN));
    let loaded = (0..5).map(|_| descriptor(PROG_LOAD, &mut attributes)).find(is_final);
    let error = match loaded {
        Some(Ok(program)) => return Ok(program),
        Some(Err(error)) => error,
        None => io::Error::from_raw_os_error(libc::EAGAIN),
    };
    let is_too_long = error.raw_os_error() == Some(libc::E2BIG);
    // Verifying a long program again takes long, and shows only that it is too long.
    if is_too_long && program.len() > SHORT {
        return Err(error.into());
    }
    // The verifier has processed a million steps; the log need not list them.
    attributes.log_level = if is_too_long { LOG_STATISTICS } else { LOG_STEPS };
    let log = verifier_log(attributes);
    Err(Refusal { error, log })
}

/// `BPF_LOG_LEVEL1`: each step, then the reason and statistics.
const LOG_STEPS: u32 = 1;
/// `BPF_LOG_STATS` (Linux 5.2): only the reason and statistics.
const LOG_STATISTICS: u32 = 4;

/// The kernel does not refuse a program of this many instructions for its length (`BPF_MAXINSNS`).
const SHORT: usize = 4096;

/// Returns the verifier's log of a rejected program, at the given level. If the log is longer than its
/// buffer, the kernel keeps the end since Linux 6.4, and the beginning before. The reason is at the end,
/// before the line of statistics.
fn verifier_log(mut attributes: LoadProgram) -> String {
    // Older kernels accept no buffer larger than the second size.
    for size in [1 << 20, (1 << 24) - 1] {
        let mut log = vec![0_u8; size as usize];
        attributes.log_size = size;
        attributes.log_buffer = address(log.as_mut_ptr());
        let is_cut =
            descriptor(PROG_LOAD, &mut attributes).is_err_and(|error| error.raw_os_error() == Some(libc::ENOSPC));
        log.truncate(log.iter().position(|byte| *byte == 0).unwrap_or(0));
        let log = String::from_utf8_lossy(&log).into_owned();
        let last = log.trim_end().rsplit('\n').next().unwrap_or_default();
        if !is_cut || last.starts_with("processed ") {
            return log;
        }
    }
    String::from("(the log of the verifier is longer than 16 MiB, and its end is missing)")
}

for_kernel! {
    struct CreateLink {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
}

/// Attaches a program to a cgroup, alongside existing programs, while the link is open or pinned (Linux 5.7).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`, or if a program on this cgroup or above does not allow others.
pub fn link_to_cgroup(program: impl AsFd, cgroup: impl AsFd, hook: Hook) -> io::Result<OwnedFd> {
    link(program.as_fd(), Some(cgroup.as_fd()), hook)
}

/// Creates a file for an iterator program (Linux 5.9). Reading the file runs the program for each socket of
/// the caller's network namespace, and returns its output.
///
/// # Errors
/// Any error of the kernel.
pub fn iterate(program: impl AsFd) -> io::Result<OwnedFd> {
    let link = link(program.as_fd(), None, Hook::Iterator(0))?;
    let mut attributes = [link.as_raw_fd().cast_unsigned(), 0];
    descriptor(ITER_CREATE, &mut attributes)
}

for_kernel! {
    struct OpenTracepoint {
        name: u64,
        program: u32,
        padding: u32,
    }
}

/// Attaches a program to the tracepoint with whose number it was loaded ([`Hook::Tracepoint`]), while the
/// link is open (Linux 5.5).
///
/// # Errors
/// Any error of the kernel.
pub fn link_to_tracepoint(program: impl AsFd) -> io::Result<OwnedFd> {
    let mut attributes = OpenTracepoint {
        name: 0,
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        padding: 0,
    };
    descriptor(RAW_TRACEPOINT_OPEN, &mut attributes)
}

fn link(program: BorrowedFd<'_>, target: Option<BorrowedFd<'_>>, hook: Hook) -> io::Result<OwnedFd> {
    let mut attributes = CreateLink {
        program: program.as_raw_fd().cast_unsigned(),
        target: target.map_or(0, |target| target.as_raw_fd().cast_unsigned()),
        attach_type: hook.attach_type(),
        flags: 0,
    };
    descriptor(LINK_CREATE, &mut attributes)
}

/// Replaces the program of a link atomically.
///
/// # Errors
/// `ENOLINK` if the cgroup no longer exists.
pub fn replace_program(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let [link, program] = [link.as_fd(), program.as_fd()].map(|fd| fd.as_raw_fd().cast_unsigned());
    bpf(LINK_UPDATE, &mut [link, program, 0, 0]).map(drop)
}

/// Ends the effect of a link immediately; closing or unlinking it has a delay (Linux 5.9).
///
/// # Errors
/// Any error of the kernel.
pub fn detach_link(link: impl AsFd) -> io::Result<()> {
    bpf(LINK_DETACH, &mut [link.as_fd().as_raw_fd().cast_unsigned()]).map(drop)
}

/// Attaches a program to a cgroup, alongside existing programs, while the cgroup exists (Linux 4.14).
///
/// # Errors
/// As [`link_to_cgroup`].
pub fn attach_to_cgroup(program: impl AsFd, cgroup: impl AsFd, hook: Hook) -> io::Result<()> {
    const ALLOW_MULTI: u32 = 2;
    let [cgroup, program] = [cgroup.as_fd(), program.as_fd()].map(|fd| fd.as_raw_fd().cast_unsigned());
    bpf(PROG_ATTACH, &mut [cgroup, program, hook.attach_type(), ALLOW_MULTI, 0]).map(drop)
}

for_kernel! {
    struct Pin {
        path: u64,
        object: u32,
        flags: u32,
    }
}

/// Pins a link, a program or a map in a BPF file system, which keeps it alive.
///
/// # Errors
/// `EEXIST`; `EINVAL` outside a BPF file system; `EPERM` for names with a dot.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        path: address(path.as_ptr()),
        object: object.as_fd().as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(OBJ_PIN, &mut attributes).map(drop)
}

/// Opens a pinned object.
///
/// # Errors
/// `ENOENT`, `EACCES`, or any other error of opening a file.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        path: address(path.as_ptr()),
        object: 0,
        flags: 0,
    };
    descriptor(OBJ_GET, &mut attributes)
}

// `enum bpf_cmd`.
pub(super) const MAP_CREATE: i32 = 0;
pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
pub(super) const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_ATTACH: i32 = 8;
pub(super) const PROG_GET_FD_BY_ID: i32 = 13;
pub(super) const MAP_GET_FD_BY_ID: i32 = 14;
pub(super) const OBJ_GET_INFO_BY_FD: i32 = 15;
pub(super) const PROG_QUERY: i32 = 16;
const RAW_TRACEPOINT_OPEN: i32 = 17;
pub(super) const BTF_LOAD: i32 = 18;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;
const ITER_CREATE: i32 = 33;
const LINK_DETACH: i32 = 34;

/// Returns whether the kernel has `BPF_LINK_DETACH`, which came with the keepalive options of
/// `bpf_setsockopt()` (Linux 5.9); `None` if this process may not ask. For a descriptor that is not open the
/// kernel returns `EBADF`; for an unknown command it returns `EINVAL`.
pub fn has_link_detach() -> Option<bool> {
    match bpf(LINK_DETACH, &mut [u32::MAX]) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        _ => None,
    }
}

/// Returns an address in the form that the kernel expects.
pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer as usize as u64
}

/// Returns a name that ends with a zero byte.
pub(super) fn short(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    short
}

pub(super) fn text(name: &[u8]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// Runs a command that creates a descriptor.
pub(super) fn descriptor<T: ForKernel>(command: i32, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just created this descriptor, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn bpf<T: ForKernel>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is the part of `union bpf_attr` that the command reads, with its size, and the
    // kernel writes its answers only within it. The memory at its addresses is valid during the call, for the
    // lengths that it contains (bpf(2)).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    told(result)
}

fn told(result: libc::c_long) -> io::Result<i32> {
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
