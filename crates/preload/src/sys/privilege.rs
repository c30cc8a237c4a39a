//! Detects the privilege that a program has lost under a supervisor, and decides which process reports it.

use super::{Errno, call, number, result};
use core::ffi::c_long;

const PROGRAM: *const u8 = c"/proc/self/exe".as_ptr().cast();

/// Whether an execution of this program's file sets a user other than `user`, a group other than `group`, or
/// capabilities (execve(2), capabilities(7)). False if that is unknown, and on a file system that is mounted `nosuid`.
pub(crate) fn is_privileged(user: u32, group: u32) -> bool {
    const AT_FDCWD: c_long = -100;
    const AT_STATX_DONT_SYNC: c_long = 0x4000;
    const STATX_MODE_UID_GID: c_long = 0x2 | 0x8 | 0x10;
    const S_ISUID: u32 = 0o4000;
    const S_ISGID_EXECUTABLE: u32 = 0o2010;
    // `struct statx` has 256 bytes: the user is at 20, the group at 24, the mode, 16 bits, at 28.
    let mut status = [0_u32; 64];
    let arguments = [
        AT_FDCWD,
        PROGRAM as c_long,
        AT_STATX_DONT_SYNC,
        STATX_MODE_UID_GID,
        &raw mut status as c_long,
        0,
    ];
    // SAFETY: statx(2) reads a string and writes a `struct statx`, both live.
    if unsafe { call(number::STATX, arguments) } != 0 {
        return false;
    }
    let [_, _, _, _, _, owner, owning_group, mode, ..] = status;
    let sets_user = mode & S_ISUID != 0 && owner != user;
    let sets_group = mode & S_ISGID_EXECUTABLE == S_ISGID_EXECUTABLE && owning_group != group;
    (sets_user || sets_group || (user != 0 && has_capabilities())) && !is_without_privileges()
}

/// Whether the file permits a capability. The attribute, a `struct vfs_cap_data` (`linux/capability.h`), may contain no
/// capabilities.
fn has_capabilities() -> bool {
    const NAME: *const u8 = c"security.capability".as_ptr().cast();
    // The words are: flags, then twice the permitted and the inheritable capabilities. The third version has one more
    // word.
    let mut value = [0_u32; 6];
    let (room, size) = (&raw mut value, size_of::<[u32; 6]>());
    // SAFETY: getxattr(2) reads two strings and writes no more than `size` bytes to `value`.
    let length = unsafe {
        call(
            number::GETXATTR,
            [PROGRAM as c_long, NAME as c_long, room as c_long, size as c_long, 0, 0],
        )
    };
    let [_, first, _, second, ..] = value;
    length > 0 && (first | second) != 0
}

/// Whether the program's file system grants no privileges (`MS_NOSUID`). Also true if that is unknown.
fn is_without_privileges() -> bool {
    const ST_NOSUID: usize = 2;
    /// The index of `f_flags` in the kernel's `struct statfs`, in words. The structure has at most 30 words.
    const FLAGS: usize = if cfg!(target_pointer_width = "64") { 10 } else { 11 };
    let mut status = [0_usize; 32];
    // SAFETY: statfs(2) reads a string and writes a `struct statfs`, for which there is room.
    let returned = unsafe {
        call(
            number::STATFS,
            [PROGRAM as c_long, &raw mut status as c_long, 0, 0, 0, 0],
        )
    };
    returned != 0 || status[FLAGS] & ST_NOSUID != 0
}

/// Whether the supervisor permits this process to print the message that is printed once
/// (crates/sys/src/seccomp/listener.rs).
pub(crate) fn is_first_to_speak() -> bool {
    const QUESTION: c_long = 0x6b65_0002;
    const LENGTH: c_long = 16;
    const EALREADY: Errno = Errno(114);
    // SAFETY: descriptor -1 is never open, so the call fails before the kernel reads the address.
    let returned = unsafe { call(number::CONNECT, [-1, QUESTION, LENGTH, 0, 0, 0]) };
    result(returned) == Err(EALREADY)
}
