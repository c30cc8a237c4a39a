//! Raises the limits that this process has inherited and that are too low for loading programs.

use keepalive_sys::bpf::call::{MapKind, create_map, has_link_detach};
use keepalive_sys::kernel_symbols::has_function;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The raised limits. Before Linux 5.11 maps and programs count as locked memory.
const RAISED: [Resource; 2] = [Resource::Memlock, Resource::Nofile];

/// The raised limits. Dropping this restores the earlier values, so that a command that is started afterwards
/// inherits those.
pub struct Limits([Rlimit; 2]);

impl Limits {
    /// Raises the limits of locked memory and descriptors as far as this process may.
    pub fn raise() -> Self {
        let before = RAISED.map(getrlimit);
        for (resource, limit) in RAISED.into_iter().zip(&before) {
            let unlimited = Rlimit {
                current: None,
                maximum: None,
            };
            // A separate limit applies to the number of descriptors (`fs.nr_open`).
            let is_raised = resource == Resource::Memlock && setrlimit(resource, unlimited).is_ok();
            if !is_raised {
                let highest = Rlimit {
                    current: limit.maximum,
                    maximum: limit.maximum,
                };
                let _ = setrlimit(resource, highest);
            }
        }
        Self(before)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for (resource, limit) in RAISED.into_iter().zip(&self.0) {
            let _ = setrlimit(resource, *limit);
        }
    }
}

/// Returns the limit of locked memory that this process cannot exceed, in bytes, if the kernel charges eBPF
/// to it. Before Linux 5.11 the kernel does, per user. It then refuses maps and programs with `EPERM`, the
/// same error as for other reasons.
pub(super) fn locked_memory() -> Option<u64> {
    let _limits = Limits::raise();
    let limit = getrlimit(Resource::Memlock).maximum?;
    // A seccomp filter that refuses every command of bpf(2) is not a limit of locked memory.
    has_link_detach()?;
    is_locked_memory_charged()?.then_some(limit)
}

/// Returns whether the kernel charges eBPF to the limit of locked memory; `None` if this process cannot find out.
pub fn is_locked_memory_charged() -> Option<bool> {
    // This function charged programs until Linux 5.10.
    has_function("__bpf_prog_charge", true).or_else(is_map_charged)
}

/// Tests whether the kernel refuses a map while the limit is 0, if it creates that map otherwise.
fn is_map_charged() -> Option<bool> {
    let make = || create_map(MapKind::Single, "ka_trial", 8, 1);
    make().ok()?;
    let before = getrlimit(Resource::Memlock);
    let nothing = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    setrlimit(Resource::Memlock, nothing).ok()?;
    let result = make();
    let _ = setrlimit(Resource::Memlock, before);
    Some(result.is_err())
}
