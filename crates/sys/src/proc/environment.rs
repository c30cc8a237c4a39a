//! The environment of a process (`/proc/PID/environ`).

use super::memory::anonymous_bytes;
use std::fs;

/// Returns the initial environment of a process, each entry as `NAME=value`, as its memory contains it now
/// (`/proc/PID/environ`); `None` without ptrace access, or if the memory belongs to a file.
pub fn environment(pid: u32) -> Option<Vec<Vec<u8>>> {
    let (first, last) = span(pid)?;
    let size = usize::try_from(last.checked_sub(first)?).ok()?;
    if size == 0 || anonymous_bytes(pid, first)? < size {
        return None;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let entries = environment.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    Some(entries.map(<[u8]>::to_vec).collect())
}

/// Returns whether the process was started with an empty environment; false without ptrace access.
pub fn has_empty_environment(pid: u32) -> bool {
    span(pid).is_some_and(|(first, last)| first != 0 && first == last)
}

/// Returns the addresses of the environment's begin and end; 0 without ptrace access.
fn span(pid: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields are counted after the name, which may contain anything; env_start is the 50th (proc_pid_stat(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(50 - 3);
    let mut number = || fields.next()?.parse::<u64>().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_that_of_the_start() {
        let pid = std::process::id();
        let environment = environment(pid).expect("it is ours");
        assert!(
            environment.iter().any(|entry| entry.starts_with(b"PATH=")),
            "{environment:?}"
        );
        assert!(!has_empty_environment(pid));
    }
}
