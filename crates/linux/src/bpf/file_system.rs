//! The BPF file system, in which links are pinned: by custom one mount for the whole machine.

use crate::cgroup::mount_point;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, statfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where it is mounted, by systemd or by us.
pub const MOUNT: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const MAGIC: u32 = 0xcafe_4a11;

/// Where there is one: at its usual place, or elsewhere. In containers it is elsewhere: common AppArmor profiles forbid to
/// write below `/sys/fs`.
pub fn find() -> Option<PathBuf> {
    if statfs(MOUNT).is_ok_and(|about| u32::try_from(about.f_type) == Ok(MAGIC)) {
        return Some(PathBuf::from(MOUNT));
    }
    mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?, "bpf")
}

/// Where there is one, or a new one at its usual place, and whether it is new. Of several processes that ask at once, one
/// mounts it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOENT` without the directory (`CONFIG_SYSFS`, `CONFIG_BPF_SYSCALL`).
pub fn find_or_mount() -> io::Result<(PathBuf, bool)> {
    let _lock = lock(open_directory(Path::new(MOUNT))?)?;
    if let Some(mounted) = find() {
        return Ok((mounted, false));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", MOUNT, "bpf", flags, Some(c"mode=700"))?;
    Ok((PathBuf::from(MOUNT), true))
}

/// Waits for the lock of a directory, which is held until what this gives is dropped (`flock(2)`).
///
/// # Errors
/// As `flock(2)`.
pub fn lock(directory: OwnedFd) -> io::Result<OwnedFd> {
    loop {
        match flock(&directory, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(|()| directory)?),
        }
    }
}

/// Waits until nobody holds the lock of a directory alone, and holds it with others (`flock(2)`).
///
/// # Errors
/// As `open(2)` and `flock(2)`.
pub fn share(directory: &Path) -> io::Result<OwnedFd> {
    let directory = open_directory(directory)?;
    loop {
        match flock(&directory, FlockOperation::LockShared) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(|()| directory)?),
        }
    }
}

/// The lock of a directory, if nobody has it.
pub fn try_lock(directory: &Path) -> Option<OwnedFd> {
    let directory = open_directory(directory).ok()?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(directory)
}

/// Opens a directory, to be locked.
///
/// # Errors
/// As `open(2)`.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}
