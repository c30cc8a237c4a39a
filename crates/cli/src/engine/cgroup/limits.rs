//! Limits that this process has inherited, and that loading needs to be higher.

use keepalive_linux::bpf::call::{MapKind, create_map};
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

/// Whether the limit of locked memory may be why the kernel refuses maps and programs: it is finite, this process may not
/// raise it, and the kernel makes no map where it is 0. The kernel gives `EPERM` for this, as for other reasons.
pub(super) fn may_lack_locked_memory() -> bool {
    let limits = Limits::raise();
    let [before, _] = &limits.0;
    if before.maximum.is_none() || getrlimit(Resource::Memlock).maximum.is_none() {
        return false;
    }
    let nothing = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    setrlimit(Resource::Memlock, nothing).is_ok() && create_map(MapKind::Single, "ka_trial", 8, 1).is_err()
}
