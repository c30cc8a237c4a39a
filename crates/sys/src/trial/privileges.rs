//! Drops a process's resources: descriptors, root directory, user, capabilities, keyring.

use super::confined::{REPORT, errno};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Gid, Signal, Uid, chdir, pivot_root, set_parent_process_death_signal};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::fs;
use std::io;
use std::ptr;

/// Closes all descriptors above `last`.
pub(super) fn close_above(last: i32) -> Result<(), Errno> {
    let first = last + 1;
    // SAFETY: close_range(2) takes numbers; this process no longer uses other owners of these descriptors.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } == 0 {
        return Ok(());
    }
    // For Linux before 5.9.
    let names = fs::read_dir("/proc/self/fd").map_err(|error| errno(&error))?;
    let numbers: Vec<i32> = names
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= first)
        .collect();
    for number in numbers {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Makes the current directory the root directory, and leaves the old root directory.
pub(super) fn enter() -> Result<(), Errno> {
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

pub(super) fn drop_bounding_set() -> Result<(), Errno> {
    for capability in 0..64 {
        // SAFETY: prctl(2) takes numbers here.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = errno(&io::Error::last_os_error());
            // There are no more capabilities.
            return if error == Errno::INVAL { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

pub(super) fn become_user(user: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Requests SIGKILL when the parent ends. The kernel forgets this when a process changes its user (prctl(2)).
pub(super) fn die_with_parent() -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before that, and with it the only reader.
    // SAFETY: the descriptor stays open until this process ends.
    let report = unsafe { BorrowedFd::borrow_raw(REPORT) };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&report, PollFlags::empty())], Some(&now))? {
        0 => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Leaves the caller's keyrings (session-keyring(7)).
pub(super) fn leave_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name: *const libc::c_char = ptr::null();
    // SAFETY: keyctl(2) takes a null pointer for a new keyring without a name.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, no_name) };
    match io::Error::last_os_error() {
        _ if joined >= 0 => Ok(()),
        // The kernel has no keyrings.
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(errno(&error)),
    }
}
