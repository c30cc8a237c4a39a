//! The BPF file system, in which links are pinned. By convention one mount serves the whole machine.

use crate::cgroup::mount_point;
use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::io;
use std::path::PathBuf;

/// The usual mount point, used by systemd and by keepalive.
pub const MOUNT: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const MAGIC: u32 = 0xcafe_4a11;

/// Finds a mounted BPF file system at its usual place or elsewhere. In containers it is elsewhere: common
/// AppArmor profiles forbid writing below `/sys/fs`.
pub fn find() -> Option<PathBuf> {
    if statfs(MOUNT).is_ok_and(|about| u32::try_from(about.f_type) == Ok(MAGIC)) {
        return Some(PathBuf::from(MOUNT));
    }
    mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?, "bpf")
}

/// Mounts a new BPF file system at its usual place. The caller must hold the lock of [`MOUNT`] and must have
/// searched for an existing one: a second mount would hide the objects that are pinned in the first.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOENT` without the directory (`CONFIG_SYSFS`, `CONFIG_BPF_SYSCALL`).
pub fn mount_usual() -> io::Result<PathBuf> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", MOUNT, "bpf", flags, Some(c"mode=700"))?;
    Ok(PathBuf::from(MOUNT))
}
