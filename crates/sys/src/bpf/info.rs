//! The kernel's information on programs, maps and links, and on the programs of a cgroup.

use super::call::{
    Hook, MAP_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_GET_FD_BY_ID, PROG_QUERY, address, bpf, descriptor, text,
};
use crate::layout::{ForKernel, for_kernel};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::io;

/// Information on a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The number of the program.
    pub id: u32,
    /// The name of the program.
    pub name: String,
    /// The numbers of the maps that the program uses.
    pub maps: Vec<u32>,
    /// The time at which the program was loaded, in nanoseconds since the machine was started.
    pub loaded_ns: u64,
    /// How often the kernel has not run the program because it ran on the same processor already (Linux
    /// 5.12; 0 before).
    pub missed: u64,
}

for_kernel! {
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
        interface: u32,
        gpl_compatible: u32,
        netns_dev: u64,
        netns_inode: u64,
        jited_symbols: u32,
        jited_functions: u32,
        jited_symbol_addresses: u64,
        jited_function_lengths: u64,
        btf_id: u32,
        function_info_size: u32,
        function_info: u64,
        function_infos: u32,
        line_infos: u32,
        line_info: u64,
        jited_line_info: u64,
        jited_line_infos: u32,
        line_info_size: u32,
        jited_line_info_size: u32,
        tags: u32,
        program_tags: u64,
        run_time_ns: u64,
        runs: u64,
        missed: u64,
    }
}

/// Returns the kernel's information on a program.
///
/// # Errors
/// Any error of the kernel.
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
        missed: raw.missed,
    })
}

/// Information on a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// The number of the map.
    pub id: u32,
    /// The name of the map.
    pub name: String,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
}

for_kernel! {
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
}

/// Returns the kernel's information on a map.
///
/// # Errors
/// Any error of the kernel.
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

/// Information on a link to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The number of the link's program.
    pub program: u32,
    /// The number of the link's cgroup; 0 if the cgroup no longer exists.
    pub cgroup: u64,
}

for_kernel! {
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
}

/// Returns the kernel's information on a link to a cgroup.
///
/// # Errors
/// `InvalidData` for other links; any error of the kernel.
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

for_kernel! {
    struct GetInfo {
        object: u32,
        length: u32,
        info: u64,
    }
}

fn info<T: ForKernel>(object: BorrowedFd<'_>, to: &mut T) -> io::Result<()> {
    let mut attributes = GetInfo {
        object: object.as_raw_fd().cast_unsigned(),
        length: size_of::<T>().try_into().map_err(io::Error::other)?,
        info: address(to),
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

/// Opens the program with this number.
///
/// # Errors
/// `ENOENT` if it no longer exists; `EPERM` without `CAP_SYS_ADMIN`.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(PROG_GET_FD_BY_ID, &mut [id, 0, 0])
}

/// Opens the map with this number.
///
/// # Errors
/// As [`program_by_id`].
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(MAP_GET_FD_BY_ID, &mut [id, 0, 0])
}

/// The programs of a cgroup to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The programs that are attached to the cgroup itself.
    Here,
    /// All programs that run for its processes, in their order.
    Effective,
}

/// The programs of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The numbers of the programs.
    pub ids: Vec<u32>,
    /// Whether other programs may be attached alongside them; set only for the programs attached to the
    /// cgroup itself.
    pub is_shared: bool,
}

for_kernel! {
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
}

/// Returns the programs of a cgroup at `hook` (Linux 4.15).
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
    bpf(PROG_QUERY, &mut attributes)?;
    ids.truncate(attributes.count.try_into().unwrap_or(0));
    Ok(Programs {
        is_shared: ids.is_empty() || attributes.attach_flags & ALLOW_MULTI != 0,
        ids,
    })
}
