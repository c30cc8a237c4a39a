//! The positions and units of the fields that programs read in the kernel's structures.

use crate::assembler::Size;
use crate::kernel_types::KernelTypes;
use keepalive_policy::option::{BY_EBPF, ByEbpf, KernelDefault, KernelField, Row};
use keepalive_sys::clock::coarse_resolution;
use std::io;

/// The fields that a program reads of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The fields of the values that were set, in the order of [`BY_EBPF`]. A value is 0 if it was not set.
    pub set: [Option<Field>; BY_EBPF.len()],
    /// The number of jiffies in a second.
    pub hz: i32,
    /// The values that apply if those fields are 0.
    pub defaults: Option<Defaults>,
}

/// A number in a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The offset from the beginning of the structure, in bytes.
    pub offset: i16,
    /// The size of the number.
    pub size: Size,
}

/// The sysctls of a socket's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The offset of the pointer to the namespace in `struct tcp_sock`.
    pub namespace: i16,
    /// The default of each option in the namespace, in the order of [`BY_EBPF`], in the unit of the socket's
    /// own value.
    pub sysctls: [Option<Field>; BY_EBPF.len()],
}

/// The position of a task's name, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFields {
    /// The offset of `group_leader` in `struct task_struct`.
    pub leader: i16,
    /// The offset of `comm` in `struct task_struct`.
    pub name: i16,
    /// The helpers that read them.
    pub read: ReadTask,
}

/// How a program reads a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTask {
    /// By `bpf_get_current_task_btf()` (Linux 5.11).
    Typed,
    /// By `bpf_probe_read_kernel()` (Linux 5.5), which a locked-down kernel refuses.
    Copied,
}

// The structures are nested at offset 0: `struct tcp_sock` begins with `inet_connection_sock`, that with
// `inet_sock`, that with `sock`, and that with `sock_common`.
impl Fields {
    /// Finds the fields in the running kernel; includes the defaults on request.
    pub fn find(types: &KernelTypes, with_defaults: bool) -> Option<Self> {
        let set = of_each(|row| match row.by_ebpf {
            ByEbpf::Unless(KernelField { structure, name, .. }) => Some(Field::find(types, structure, name)),
            ByEbpf::Always | ByEbpf::No => None,
        });
        Some(Self {
            set: set?,
            hz: jiffies_per_second().ok()?,
            defaults: if with_defaults {
                Some(Defaults::find(types)?)
            } else {
                None
            },
        })
    }
}

impl Field {
    fn find(types: &KernelTypes, structure: &str, name: &str) -> Option<Self> {
        let (offset, bytes) = types.number(structure, name)?;
        let size = match bytes {
            1 => Size::Byte,
            4 => Size::Word,
            _ => return None,
        };
        Some(Self { offset, size })
    }
}

impl Field {
    /// Finds a number that may be nested in the structure ([`KernelTypes::nested`]).
    pub fn nested(types: &KernelTypes, structure: &str, path: &str) -> Option<Self> {
        let (offset, bytes) = types.nested(structure, path)?;
        let size = match bytes {
            1 => Size::Byte,
            2 => Size::Half,
            4 => Size::Word,
            8 => Size::Long,
            _ => return None,
        };
        Some(Self { offset, size })
    }
}

impl Defaults {
    fn find(types: &KernelTypes) -> Option<Self> {
        let ipv4 = types.offset("net", "ipv4")?;
        let within = |name: &str| {
            let field = Field::find(types, "netns_ipv4", &format!("sysctl_{name}"))?;
            let offset = ipv4.checked_add(field.offset)?;
            Some(Field { offset, ..field })
        };
        let sysctls = of_each(|row| match row.kernel_default {
            KernelDefault::Sysctl { name, .. } => Some(within(name.rsplit('.').next()?)),
            KernelDefault::Fixed(_) | KernelDefault::Route => None,
        });
        Some(Self {
            namespace: types.offset("sock_common", "skc_net")?,
            sysctls: sysctls?,
        })
    }
}

/// Returns the results of `find` for each option of [`BY_EBPF`]; `None` if `find` fails for one of them.
fn of_each(find: impl Fn(Row) -> Option<Option<Field>>) -> Option<[Option<Field>; BY_EBPF.len()]> {
    let mut fields = [None; BY_EBPF.len()];
    for (option, field) in BY_EBPF.into_iter().zip(&mut fields) {
        if let Some(found) = find(option.row()) {
            *field = Some(found?);
        }
    }
    Some(fields)
}

impl TaskFields {
    /// Finds the fields in the running kernel.
    pub fn find(types: &KernelTypes, read: ReadTask) -> Option<Self> {
        Some(Self {
            leader: types.offset("task_struct", "group_leader")?,
            name: types.offset("task_struct", "comm")?,
            read,
        })
    }
}

/// Returns `CONFIG_HZ`: the coarse clock advances once per jiffy.
///
/// # Errors
/// As [`coarse_resolution`]; a jiffy that no kernel has.
pub fn jiffies_per_second() -> io::Result<i32> {
    const NANOSECONDS: i64 = 1_000_000_000;
    match coarse_resolution()? {
        // At 300 Hz a jiffy is not a whole number of nanoseconds.
        jiffy @ 100_000..NANOSECONDS => Ok(i32::try_from((NANOSECONDS + jiffy / 2) / jiffy).unwrap_or(i32::MAX)),
        jiffy => Err(io::Error::other(format!("a jiffy of {jiffy} ns"))),
    }
}
