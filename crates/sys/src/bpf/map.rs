//! Creates maps, and reads and sets their values.

use super::call::{BTF_LOAD, CallError, MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, address, bpf, descriptor, short};
use super::info::map_info;
use crate::layout::for_kernel;
use rustix::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::io;

/// The kind of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Many values, with keys of eight bytes.
    Hash,
    /// One value.
    Single,
    /// One value per socket.
    Socket {
        /// Whether accepted sockets get a copy of their listener's value.
        is_inherited: bool,
    },
    /// Records in the order in which programs submit them (Linux 5.8). Its count is its size in bytes, a power
    /// of 2 and a multiple of the page size; the size of a value is 0.
    Ring,
}

for_kernel! {
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
}

/// Creates a map for `count` values of this size in bytes; its name has at most 15 letters.
///
/// # Errors
/// `EPERM` without `CAP_BPF`; `EINVAL` if the kernel does not support the kind (socket storage: Linux 5.2).
pub fn create_map(kind: MapKind, name: &str, value_size: u32, count: u32) -> Result<OwnedFd, CallError> {
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
        MapKind::Ring => (27, 0),
    };
    let types;
    if let MapKind::Socket { is_inherited } = kind {
        types = load_types(value_size).map_err(|error| CallError {
            call: "BPF_BTF_LOAD",
            error,
        })?;
        attributes.flags = NO_PREALLOC | if is_inherited { CLONE } else { 0 };
        attributes.max_entries = 0;
        attributes.btf_fd = types.as_raw_fd().cast_unsigned();
        (attributes.btf_key, attributes.btf_value) = (1, 2);
    }
    descriptor(MAP_CREATE, &mut attributes).map_err(|error| CallError {
        call: match kind {
            MapKind::Socket { .. } => "BPF_MAP_CREATE of BPF_MAP_TYPE_SK_STORAGE",
            MapKind::Ring => "BPF_MAP_CREATE of BPF_MAP_TYPE_RINGBUF",
            MapKind::Hash | MapKind::Single => "BPF_MAP_CREATE",
        },
        error,
    })
}

for_kernel! {
    struct LoadTypes {
        bytes: u64,
        log: u64,
        length: u32,
        log_size: u32,
        log_level: u32,
        /// The kernel writes its answer here (Linux 6.4).
        log_true_size: u32,
    }
}

/// Loads the BTF types of a socket's value, which the kernel requires: an `int` for the key, and an array of them.
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
    // Magic number and version, then the offsets and lengths of types and names.
    let [first, second] = 0xeb9f_u16.to_ne_bytes();
    let mut bytes = vec![first, second, 1, 0];
    let header = [24, 0, length, length, 8];
    bytes.extend(header.iter().chain(&types).flat_map(|word: &u32| word.to_ne_bytes()));
    bytes.extend(NAMES);
    let mut attributes = LoadTypes {
        bytes: address(bytes.as_ptr()),
        log: 0,
        length: bytes.len().try_into().map_err(io::Error::other)?,
        log_size: 0,
        log_level: 0,
        log_true_size: 0,
    };
    descriptor(BTF_LOAD, &mut attributes)
}

for_kernel! {
    struct Element {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
}

/// Returns the value of a [`MapKind::Single`] map.
///
/// # Errors
/// Any error of the kernel.
pub fn value(map: impl AsFd, length: u32) -> io::Result<Vec<u8>> {
    let key = 0_u32;
    let mut value = vec![0_u8; length.try_into().map_err(io::Error::other)?];
    let mut attributes = Element {
        map: map.as_fd().as_raw_fd().cast_unsigned(),
        padding: 0,
        key: address(&raw const key),
        value: address(value.as_mut_ptr()),
        flags: 0,
    };
    bpf(MAP_LOOKUP_ELEM, &mut attributes)?;
    Ok(value)
}

/// Sets a value of a map by its key: eight bytes for [`MapKind::Hash`], 0 for [`MapKind::Single`], the number
/// of a descriptor for [`MapKind::Socket`]. The value must have the map's size.
///
/// # Errors
/// Any error of the kernel.
pub fn set_value(map: impl AsFd, key: u64, value: &[u8]) -> io::Result<()> {
    // Four-byte keys are at the beginning, whatever the byte order.
    let narrow = u32::try_from(key).unwrap_or(0).to_ne_bytes();
    let wide = key.to_ne_bytes();
    let about = map_info(&map)?;
    if usize::try_from(about.value_size) != Ok(value.len()) {
        return Err(io::Error::other("the value has not the map's size"));
    }
    let mut attributes = Element {
        map: map.as_fd().as_raw_fd().cast_unsigned(),
        padding: 0,
        key: if about.key_size == 4 {
            address(narrow.as_ptr())
        } else {
            address(wide.as_ptr())
        },
        value: address(value.as_ptr()),
        flags: 0,
    };
    bpf(MAP_UPDATE_ELEM, &mut attributes).map(drop)
}
