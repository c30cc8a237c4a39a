//! Detects processes that `/proc` does not show to this process, and the reason.

use super::obstacle::Obstacle;
use keepalive_sys::proc;
use keepalive_sys::proc_mount::{HidePid, ProcMount};
use std::path::Path;
use std::sync::OnceLock;

/// Returns why `/proc` does not show all processes of this pid namespace, with a hint; `None` if it shows them.
pub fn hidden() -> Option<&'static Obstacle> {
    static HIDDEN: OnceLock<Option<Obstacle>> = OnceLock::new();
    HIDDEN.get_or_init(find).as_ref()
}

/// Returns whether `/proc` belongs to another pid namespace. Then its numbers name other processes than
/// system calls do.
pub(super) fn is_foreign() -> bool {
    static FOREIGN: OnceLock<bool> = OnceLock::new();
    *FOREIGN.get_or_init(|| !proc::shows_own_namespace())
}

fn find() -> Option<Obstacle> {
    if !Path::new("/proc/self").exists() && ProcMount::read().is_none() {
        return Some(Obstacle::lasting(
            "/proc is not mounted, or is of a pid namespace without this process",
            "mount it: mount -t proc proc /proc",
        ));
    }
    if is_foreign() {
        return Some(Obstacle::lasting(
            "/proc is of another pid namespace than this process, so that process numbers do not agree",
            "mount one of this pid namespace: unshare --mount-proc, or mount -t proc proc /proc in a mount namespace of its own",
        ));
    }
    let mount = ProcMount::read().filter(ProcMount::hides_from_us)?;
    let group = match mount.gid {
        0 => String::from("or mount /proc with gid= of a group of this user"),
        gid => format!("or as a member of group {gid} (gid={gid})"),
    };
    let (number, what) = match mount.hidepid {
        HidePid::Off => return None,
        HidePid::NoAccess => (1, "nothing of the processes of other users can be seen"),
        HidePid::Invisible => (2, "processes of other users are hidden"),
        HidePid::Ptraceable => (4, "processes that this user may not trace are hidden"),
    };
    let reason = format!("/proc is mounted with hidepid={number}: {what}");
    Some(match mount.hidepid {
        HidePid::Ptraceable => Obstacle::lasting(&reason, "run keepalive as root (CAP_SYS_PTRACE)"),
        _ => Obstacle::lasting(&reason, &format!("run keepalive as root (CAP_SYS_PTRACE), {group}")),
    })
}
