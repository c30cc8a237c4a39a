//! bpf(2), one function a command; the layouts are those of `union bpf_attr` (`include/uapi/linux/bpf.h`).

use super::assembler::Instruction;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `BPF_CGROUP_SOCK_OPS`: at the turns in the life of a TCP connection (Linux 4.13).
    SockOps,
    /// `BPF_CGROUP_SETSOCKOPT`: before setsockopt(2) (Linux 5.3).
    SetSockOpt,
    /// `BPF_TRACE_ITER`: for each socket of a network namespace (Linux 5.9), by the number of the kernel's function.
    Iterator(u32),
}

impl Hook {
    /// `enum bpf_prog_type`.
    fn program_type(self) -> u32 {
        match self {
            Self::SockOps => 13,
            Self::SetSockOpt => 25,
            Self::Iterator(_) => 26,
        }
    }

    /// `enum bpf_attach_type`.
    fn attach_type(self) -> u32 {
        match self {
            Self::SockOps => 3,
            Self::SetSockOpt => 22,
            Self::Iterator(_) => 28,
        }
    }
}

/// A program that the kernel refused.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: io::Error,
    /// What the verifier said, where it said something.
    pub log: String,
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

/// The kernel lets programs that say so call all of its helpers (`include/linux/license.h`).
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

#[repr(C)]
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

/// Loads a program; its name has at most 15 letters.
///
/// # Errors
/// `EPERM` without `CAP_BPF` and what the hook takes beside it; what the verifier finds wrong, with its log.
pub fn load_program(hook: Hook, name: &str, program: &[Instruction]) -> Result<OwnedFd, Refusal> {
    let mut attributes = LoadProgram {
        program_type: hook.program_type(),
        instruction_count: program.len().try_into().map_err(io::Error::other)?,
        instructions: address(program.as_ptr()),
        licence: address(LICENCE.as_ptr()),
        name: short(name),
        attach_type: hook.attach_type(),
        attach_btf_id: match hook {
            Hook::Iterator(function) => function,
            _ => 0,
        },
        ..LoadProgram::default()
    };
    // A signal may interrupt the verifier.
    let mut attempts = (0..5).map(|_| descriptor(PROG_LOAD, &attributes));
    let is_final =
        |result: &io::Result<OwnedFd>| !matches!(result, Err(error) if error.raw_os_error() == Some(libc::EAGAIN));
    let error = match attempts.find(is_final) {
        Some(Ok(program)) => return Ok(program),
        Some(Err(error)) => error,
        None => io::Error::from_raw_os_error(libc::EAGAIN),
    };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Err(error.into());
    }
    // Only once more and with a log, which makes verifying slow.
    let mut log = vec![0_u8; 1 << 20];
    attributes.log_level = 1;
    attributes.log_size = 1 << 20;
    attributes.log_buffer = address(log.as_mut_ptr());
    let _ = descriptor(PROG_LOAD, &attributes);
    log.truncate(log.iter().position(|byte| *byte == 0).unwrap_or(0));
    let log = String::from_utf8_lossy(&log).into_owned();
    Err(Refusal { error, log })
}

/// What a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Many values by keys of eight bytes.
    Hash,
    /// One value.
    Single,
    /// A value a socket.
    Socket {
        /// Whether accepted sockets get a copy of their listener's.
        is_inherited: bool,
    },
}

#[repr(C)]
#[derive(Default)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
    interface: u32,
    btf_fd: u32,
    btf_key: u32,
    btf_value: u32,
}

/// Makes a map for `count` values of so many bytes; its name has at most 15 letters.
///
/// # Errors
/// `EPERM` without `CAP_BPF`; `EINVAL` where the kernel has no such map (those of sockets: Linux 5.2).
pub fn create_map(kind: MapKind, name: &str, value_size: u32, count: u32) -> io::Result<OwnedFd> {
    const NO_PREALLOC: u32 = 1;
    const CLONE: u32 = 1 << 9;
    let mut attributes = CreateMap {
        value_size,
        max_entries: count,
        name: short(name),
        ..CreateMap::default()
    };
    (attributes.map_type, attributes.key_size) = match kind {
        MapKind::Hash => (1, 8),
        MapKind::Single => (2, 4),
        MapKind::Socket { .. } => (24, 4),
    };
    let types;
    if let MapKind::Socket { is_inherited } = kind {
        types = load_types(value_size)?;
        attributes.flags = NO_PREALLOC | if is_inherited { CLONE } else { 0 };
        attributes.max_entries = 0;
        attributes.btf_fd = types.as_raw_fd().cast_unsigned();
        (attributes.btf_key, attributes.btf_value) = (1, 2);
    }
    descriptor(MAP_CREATE, &attributes)
}

#[repr(C)]
struct LoadTypes {
    bytes: u64,
    log: u64,
    length: u32,
    log_size: u32,
    log_level: u32,
}

/// The types of a socket's value, which the kernel wants to know: an `int` for the key, and an array of them.
fn load_types(value_size: u32) -> io::Result<OwnedFd> {
    const NAMES: &[u8; 8] = b"\0int\0\0\0\0";
    const INTEGER: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    const SIGNED_32_BITS: u32 = 1 << 24 | 32;
    let types = [
        [1, INTEGER, 4, SIGNED_32_BITS].as_slice(),
        &[0, ARRAY, 0, 1, 1, value_size / 4],
    ]
    .concat();
    let length = u32::try_from(4 * types.len()).map_err(io::Error::other)?;
    // Magic number and version, then where types and names begin, and how long they are.
    let [first, second] = 0xeb9f_u16.to_ne_bytes();
    let mut bytes = vec![first, second, 1, 0];
    let header = [24, 0, length, length, 8];
    bytes.extend(header.iter().chain(&types).flat_map(|word: &u32| word.to_ne_bytes()));
    bytes.extend(NAMES);
    let attributes = LoadTypes {
        bytes: address(bytes.as_ptr()),
        log: 0,
        length: bytes.len().try_into().map_err(io::Error::other)?,
        log_size: 0,
        log_level: 0,
    };
    descriptor(BTF_LOAD, &attributes)
}

#[repr(C)]
struct Element {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The one value of a [`MapKind::Single`] map.
///
/// # Errors
/// Whatever the kernel says.
pub fn value(map: impl AsFd, length: u32) -> io::Result<Vec<u8>> {
    let key = 0_u32;
    let mut value = vec![0_u8; length.try_into().map_err(io::Error::other)?];
    let attributes = Element {
        map: map.as_fd().as_raw_fd().cast_unsigned(),
        key: address(&raw const key),
        value: address(value.as_mut_ptr()),
        flags: 0,
    };
    bpf(MAP_LOOKUP_ELEM, &attributes)?;
    Ok(value)
}

/// Sets a value of a map by its key: eight bytes for [`MapKind::Hash`], 0 for [`MapKind::Single`], the number of a
/// descriptor for [`MapKind::Socket`]. The value must have the map's size.
///
/// # Errors
/// Whatever the kernel says.
pub fn set_value(map: impl AsFd, key: u64, value: &[u8]) -> io::Result<()> {
    // The keys of four bytes are at the beginning, whatever the order of bytes.
    let narrow = u32::try_from(key).unwrap_or(0).to_ne_bytes();
    let wide = key.to_ne_bytes();
    let about = map_info(&map)?;
    if usize::try_from(about.value_size) != Ok(value.len()) {
        return Err(io::Error::other("the value has not the map's size"));
    }
    let attributes = Element {
        map: map.as_fd().as_raw_fd().cast_unsigned(),
        key: if about.key_size == 4 {
            address(narrow.as_ptr())
        } else {
            address(wide.as_ptr())
        },
        value: address(value.as_ptr()),
        flags: 0,
    };
    bpf(MAP_UPDATE_ELEM, &attributes).map(drop)
}

#[repr(C)]
struct CreateLink {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program to a cgroup, beside what is there, for as long as the link is open or pinned (Linux 5.7).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`, or where another program excludes others there or above.
pub fn link_to_cgroup(program: impl AsFd, cgroup: impl AsFd, hook: Hook) -> io::Result<OwnedFd> {
    link(program.as_fd(), Some(cgroup.as_fd()), hook)
}

/// Makes a file of an iterator program (Linux 5.9): reading it runs the program for each socket of the caller's network
/// namespace, and gives what it writes.
///
/// # Errors
/// Whatever the kernel says.
pub fn iterate(program: impl AsFd) -> io::Result<OwnedFd> {
    let link = link(program.as_fd(), None, Hook::Iterator(0))?;
    let attributes = [link.as_raw_fd().cast_unsigned(), 0];
    descriptor(ITER_CREATE, &attributes)
}

fn link(program: BorrowedFd<'_>, target: Option<BorrowedFd<'_>>, hook: Hook) -> io::Result<OwnedFd> {
    let attributes = CreateLink {
        program: program.as_raw_fd().cast_unsigned(),
        target: target.map_or(0, |target| target.as_raw_fd().cast_unsigned()),
        attach_type: hook.attach_type(),
        flags: 0,
    };
    descriptor(LINK_CREATE, &attributes)
}

/// Puts another program in the place of a link's, at once.
///
/// # Errors
/// `ENOLINK` where the cgroup is gone.
pub fn replace_program(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let [link, program] = [link.as_fd(), program.as_fd()].map(|fd| fd.as_raw_fd().cast_unsigned());
    bpf(LINK_UPDATE, &[link, program, 0, 0]).map(drop)
}

/// Ends the effect of a link at once: closing and removing it do so a little later (Linux 5.9).
///
/// # Errors
/// Whatever the kernel says.
pub fn detach_link(link: impl AsFd) -> io::Result<()> {
    bpf(LINK_DETACH, &[link.as_fd().as_raw_fd()]).map(drop)
}

/// Attaches a program to a cgroup, beside what is there, for as long as the cgroup lives (Linux 4.14).
///
/// # Errors
/// As [`link_to_cgroup`].
pub fn attach_to_cgroup(program: impl AsFd, cgroup: impl AsFd, hook: Hook) -> io::Result<()> {
    const ALLOW_MULTI: u32 = 2;
    let [cgroup, program] = [cgroup.as_fd(), program.as_fd()].map(|fd| fd.as_raw_fd().cast_unsigned());
    bpf(PROG_ATTACH, &[cgroup, program, hook.attach_type(), ALLOW_MULTI, 0]).map(drop)
}

#[repr(C)]
struct Pin {
    path: u64,
    object: u32,
    flags: u32,
}

/// Gives a link, a program or a map a name in a BPF file system, which keeps it.
///
/// # Errors
/// `EEXIST`; `EINVAL` outside a BPF file system; `EPERM` for names with a dot.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin {
        path: address(path.as_ptr()),
        object: object.as_fd().as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(OBJ_PIN, &attributes).map(drop)
}

/// What was pinned there.
///
/// # Errors
/// `ENOENT`, `EACCES`, or what else opening a file gives.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin {
        path: address(path.as_ptr()),
        object: 0,
        flags: 0,
    };
    descriptor(OBJ_GET, &attributes)
}

/// What the kernel tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The numbers of the maps that it refers to.
    pub maps: Vec<u32>,
    /// The nanoseconds after the machine's start at which it was loaded.
    pub loaded_ns: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    uid: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

/// What the kernel tells of a program.
///
/// # Errors
/// Whatever the kernel says.
pub fn program_info(program: impl AsFd) -> io::Result<ProgramInfo> {
    let mut maps = [0_u32; 16];
    let mut raw = RawProgramInfo {
        map_count: 16,
        maps: address(maps.as_mut_ptr()),
        ..RawProgramInfo::default()
    };
    info(program.as_fd(), &mut raw)?;
    let count = usize::try_from(raw.map_count).unwrap_or(0).min(maps.len());
    Ok(ProgramInfo {
        id: raw.id,
        name: text(&raw.name),
        maps: maps[..count].to_vec(),
        loaded_ns: raw.load_time,
    })
}

/// What the kernel tells of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The bytes of a key.
    pub key_size: u32,
    /// The bytes of a value.
    pub value_size: u32,
}

#[repr(C)]
#[derive(Default)]
struct RawMapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// What the kernel tells of a map.
///
/// # Errors
/// Whatever the kernel says.
pub fn map_info(map: impl AsFd) -> io::Result<MapInfo> {
    let mut raw = RawMapInfo::default();
    info(map.as_fd(), &mut raw)?;
    Ok(MapInfo {
        id: raw.id,
        name: text(&raw.name),
        key_size: raw.key_size,
        value_size: raw.value_size,
    })
}

/// What the kernel tells of a link to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The number of its program.
    pub program: u32,
    /// The number of its cgroup; 0 where that is gone.
    pub cgroup: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    link_type: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach_type: u32,
    padding_after: u32,
}

/// What the kernel tells of a link to a cgroup.
///
/// # Errors
/// `InvalidData` for other links; whatever the kernel says.
pub fn link_info(link: impl AsFd) -> io::Result<LinkInfo> {
    /// `BPF_LINK_TYPE_CGROUP`.
    const CGROUP: u32 = 3;
    let mut raw = RawLinkInfo::default();
    info(link.as_fd(), &mut raw)?;
    if raw.link_type != CGROUP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a link to a cgroup"));
    }
    Ok(LinkInfo {
        program: raw.program,
        cgroup: raw.cgroup,
    })
}

#[repr(C)]
struct GetInfo {
    object: u32,
    length: u32,
    info: u64,
}

fn info<T>(object: BorrowedFd<'_>, to: &mut T) -> io::Result<()> {
    let attributes = GetInfo {
        object: object.as_raw_fd().cast_unsigned(),
        length: size_of::<T>().try_into().map_err(io::Error::other)?,
        info: address(to),
    };
    bpf(OBJ_GET_INFO_BY_FD, &attributes).map(drop)
}

/// The program of this number.
///
/// # Errors
/// `ENOENT` when it is gone; `EPERM` without `CAP_SYS_ADMIN`.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(PROG_GET_FD_BY_ID, &[id, 0, 0])
}

/// The map of this number.
///
/// # Errors
/// As [`program_by_id`].
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(MAP_GET_FD_BY_ID, &[id, 0, 0])
}

/// Which programs of a cgroup are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Those attached to it.
    Here,
    /// All that run for its processes, in their order.
    Effective,
}

/// Programs of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Their numbers.
    pub ids: Vec<u32>,
    /// Whether others may be attached beside them; told of those attached to it.
    pub is_shared: bool,
}

#[repr(C)]
struct Query {
    cgroup: u32,
    attach_type: u32,
    asked: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// The programs of a cgroup at `hook` (Linux 4.15).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn programs(cgroup: impl AsFd, hook: Hook, which: Attached) -> io::Result<Programs> {
    const EFFECTIVE: u32 = 1;
    const ALLOW_MULTI: u32 = 2;
    let mut ids = vec![0_u32; 64];
    let mut attributes = Query {
        cgroup: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        attach_type: hook.attach_type(),
        asked: if which == Attached::Effective { EFFECTIVE } else { 0 },
        attach_flags: 0,
        programs: address(ids.as_mut_ptr()),
        count: 64,
        padding: 0,
        program_flags: 0,
        links: 0,
        link_flags: 0,
        revision: 0,
    };
    bpf_mut(PROG_QUERY, &mut attributes)?;
    ids.truncate(attributes.count.try_into().unwrap_or(0));
    Ok(Programs {
        is_shared: ids.is_empty() || attributes.attach_flags & ALLOW_MULTI != 0,
        ids,
    })
}

// `enum bpf_cmd`.
const MAP_CREATE: i32 = 0;
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_ATTACH: i32 = 8;
const PROG_GET_FD_BY_ID: i32 = 13;
const MAP_GET_FD_BY_ID: i32 = 14;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;
const BTF_LOAD: i32 = 18;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;
const ITER_CREATE: i32 = 33;
const LINK_DETACH: i32 = 34;

/// An address as the kernel wants it.
fn address<T>(pointer: *const T) -> u64 {
    pointer as usize as u64
}

/// A name that ends with a zero byte.
fn short(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    short
}

fn text(name: &[u8]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// A command that makes a descriptor.
fn descriptor<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has made this descriptor for us just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is the part of `union bpf_attr` that the command reads, with its size; what its addresses point
    // to lives through the call, with the lengths that it says. The commands used here write to no attribute but those of
    // `bpf_mut` (bpf(2)).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    told(result)
}

/// For commands that answer in their attributes.
fn bpf_mut<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: as in `bpf`; the kernel writes within the size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    told(result)
}

fn told(result: libc::c_long) -> io::Result<i32> {
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
