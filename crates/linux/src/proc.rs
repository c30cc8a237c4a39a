//! Reading `/proc/PID` (proc(5)).

use std::fs;
use std::io;

/// The file descriptor numbers that a process has open, in no order.
///
/// # Errors
/// `ENOENT` when the process is gone, `EACCES` without ptrace access to it (`/proc/pid/fd`, `proc_pid_fd(5)`).
pub fn fds(pid: u32) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The direct children of a process's threads, from `/proc/PID/task/TID/children` (`CONFIG_PROC_CHILDREN`).
///
/// # Errors
/// `ENOENT` when the process is gone.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(found)
}
