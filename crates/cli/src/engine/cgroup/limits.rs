//! Limits that this process has inherited, and that loading needs to be higher.

use keepalive_linux::bpf::call::{MapKind, create_map, is_bpf_reached};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Before Linux 5.11 maps and programs count as locked memory.
const RAISED: [Resource; 2] = [Resource::Memlock, Resource::Nofile];

/// Limits that are raised until this is dropped: a command that is started afterwards inherits what there was before.
pub(crate) struct Limits([Rlimit; 2]);

impl Limits {
    pub(crate) fn raise() -> Self {
        let before = RAISED.map(getrlimit);
        for (resource, limit) in RAISED.into_iter().zip(&before) {
            let unlimited = Rlimit {
                current: None,
                maximum: None,
            };
            // The number of descriptors has a limit of its own (`fs.nr_open`).
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

/// The limit of locked memory that this process cannot exceed, in bytes, where the kernel charges eBPF to it: before Linux 5.11
/// it does, per user, and then refuses maps and programs with `EPERM`, as for other reasons. Found out by a map that the
/// kernel makes only where the limit is not 0.
pub(super) fn locked_memory() -> Option<u64> {
    let limits = Limits::raise();
    let [before, _] = &limits.0;
    let limit = getrlimit(Resource::Memlock).maximum?;
    // What keeps every command of bpf(2) from this process is no limit.
    if !is_bpf_reached() {
        return None;
    }
    let nothing = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    let is_charged = setrlimit(Resource::Memlock, nothing).is_ok() && create_map(MapKind::Single, "ka_trial", 8, 1).is_err();
    is_charged.then_some(limit)
}
