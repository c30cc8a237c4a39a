//! Reads `/proc/PID` (proc(5)).

mod descriptors;
mod environment;
mod memory;

pub use descriptors::{fd_size, fds, own_sockets, socket_at, sockets};
pub use environment::{environment, has_empty_environment};

use memory::anonymous_bytes;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// The status of a process that every user may read (`/proc/PID/status`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The name that ps(1) shows: up to 15 bytes. The process may change it (`proc_pid_comm(5)`).
    pub comm: String,
    /// The number of the process; for a thread it differs from the thread's number.
    pub tgid: u32,
    /// The number of the parent; 0 if the parent is in another pid namespace.
    pub parent: u32,
    /// The real user ID.
    pub uid: u32,
    /// Whether the process is stopped (`SIGSTOP`, job control).
    pub is_stopped: bool,
    /// Whether the process is under a seccomp filter (seccomp(2)).
    pub is_filtered: bool,
    /// The number of its seccomp filters (Linux 5.9).
    pub filters: Option<u32>,
    /// The number of threads.
    pub threads: u32,
    /// The size of the descriptor table.
    pub fd_size: u32,
    /// Whether the process and its children cannot gain privileges by execve(2) (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// The effective capabilities, one bit each (`capabilities(7)`).
    pub capabilities: u64,
}

/// Returns the numbers of all visible processes.
///
/// # Errors
/// Any failure to read `/proc`.
pub fn processes() -> io::Result<Vec<u32>> {
    numbers("/proc")
}

/// Returns the status of a process.
///
/// # Errors
/// `ENOENT` or `ESRCH` if the process no longer exists.
pub fn status(pid: u32) -> io::Result<Status> {
    // The buffer allows one read(2); the file's size, which is 0, would lead to many.
    let mut text = Vec::with_capacity(4096);
    File::open(format!("/proc/{pid}/status"))?.read_to_end(&mut text)?;
    Ok(parse_status(&text))
}

/// Returns the status of this process. In `/proc` another process may have its number.
///
/// # Errors
/// As [`own_threads`].
pub fn own_status() -> io::Result<Status> {
    Ok(parse_status(&fs::read("/proc/self/status")?))
}

fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((key, value)) = line.split_once(":\t") else {
            continue;
        };
        let number = || value.split_whitespace().next()?.parse().ok();
        match key {
            "Name" => value.clone_into(&mut status.comm),
            "State" => status.is_stopped = value.starts_with('T'),
            "Seccomp_filters" => status.filters = number(),
            "Seccomp" => status.is_filtered = value == "2",
            "Tgid" => status.tgid = number().unwrap_or(0),
            "PPid" => status.parent = number().unwrap_or(0),
            "Uid" => status.uid = number().unwrap_or(u32::MAX),
            "Threads" => status.threads = number().unwrap_or(1),
            "NoNewPrivs" => status.no_new_privs = value == "1",
            "CapEff" => status.capabilities = u64::from_str_radix(value, 16).unwrap_or(0),
            "FDSize" => status.fd_size = number().unwrap_or(0),
            _ => {}
        }
    }
    status
}

/// Returns the state of a thread, as the letter of `proc_pid_stat(5)`: `R` running or runnable, `Z` ended;
/// `None` if the thread no longer exists.
pub fn thread_state(pid: u32, tid: u32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The name, in parentheses, may contain any bytes.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).map(|letter| char::from(*letter))
}

/// Returns the last part of the path by which a process was executed; for a script with a `#!` line, that of
/// the script. Rules match this name. Returns `None` without ptrace access.
pub fn program(pid: u32) -> Option<OsString> {
    name_in(&started_by(pid, anonymous_bytes)?)
}

/// As [`program`], but does not read `/proc/PID/maps`, which takes long for a process with many mappings. The
/// memory may belong to a file: the caller must be able to wait for the file's server.
pub fn program_from_any_memory(pid: u32) -> Option<OsString> {
    name_in(&started_by(pid, |_, _| Some(usize::MAX))?)
}

fn name_in(path: &OsString) -> Option<OsString> {
    Path::new(path).file_name().map(OsString::from)
}

/// Returns the string at `AT_EXECFN`. Its address is in the auxiliary vector (`getauxval(3)`), which consists
/// of pairs of the process's own words. `readable` returns how many bytes may be read from an address.
fn started_by(pid: u32, readable: impl Fn(u32, u64) -> Option<usize>) -> Option<OsString> {
    let vector = fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let wide = pairs::<8>(&vector, u64::from_ne_bytes);
    // In a 32-bit process the first wide word would contain both a key and a value.
    let narrow = pairs::<4>(&vector, |word| u32::from_ne_bytes(word).into());
    let address = [wide, narrow]
        .into_iter()
        .flatten()
        .find(|(key, _)| *key == AT_EXECFN)?
        .1;
    let mut path = vec![0; libc::PATH_MAX as usize];
    // The string ends at the base of the stack, so fewer bytes than requested may exist.
    path.truncate(readable(pid, address)?);
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let length = memory.read_at(&mut path, address).ok()?;
    let path = path.get(..length)?.split(|byte| *byte == 0).next()?;
    Some(OsString::from_vec(path.to_vec()))
}

/// The key of the path by which a program was executed (`include/uapi/linux/auxvec.h`).
const AT_EXECFN: u64 = 31;

/// Returns the keys and values of an auxiliary vector with words of `N` bytes; empty if the vector cannot
/// have such words.
fn pairs<const N: usize>(vector: &[u8], number: impl Fn([u8; N]) -> u64) -> Vec<(u64, u64)> {
    /// The limit of valid keys (`include/uapi/linux/auxvec.h`).
    const LARGEST: u64 = 1000;
    let words: Vec<u64> = vector.as_chunks::<N>().0.iter().map(|word| number(*word)).collect();
    let pairs: Vec<(u64, u64)> = words
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[key, value]| (*key, *value))
        .collect();
    if pairs.iter().all(|(key, _)| *key <= LARGEST) {
        pairs
    } else {
        Vec::new()
    }
}

/// Returns the last part of the path of the file that a process executes; `None` without ptrace access.
pub fn executable(pid: u32) -> Option<OsString> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?;
    let name = name.as_bytes().strip_suffix(b" (deleted)").unwrap_or(name.as_bytes());
    Some(OsString::from_vec(name.to_vec()))
}

/// Returns the numbers of a process's threads.
///
/// # Errors
/// `ENOENT` if the process no longer exists.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    numbers(format!("/proc/{pid}/task"))
}

/// Returns the number of threads of this process, including those that the kernel has not removed yet.
/// `/proc` may show another pid namespace, in which another process has the number of this process.
///
/// # Errors
/// Any failure to read `/proc`; `ENOENT` if it does not show this process.
pub fn own_threads() -> io::Result<usize> {
    const DIRECTORY: &str = "/proc/self/task";
    // Besides the two links of every directory, the kernel counts one for each thread (`proc_task_getattr` in `fs/proc/base.c`).
    match fs::metadata(DIRECTORY)?.nlink().checked_sub(2) {
        Some(threads @ 1..) => usize::try_from(threads).map_err(io::Error::other),
        // No process has no thread: another implementation of /proc.
        _ => Ok(numbers::<u32>(DIRECTORY)?.len()),
    }
}

/// Returns whether `/proc` shows the pid namespace of this process. Otherwise a number in `/proc` and the
/// same number in a system call name different processes.
pub fn shows_own_namespace() -> bool {
    fs::read_link("/proc/self").is_ok_and(|own| own == Path::new(&std::process::id().to_string()))
}

/// Returns whether this process is in the initial user namespace, whose capabilities apply to the machine,
/// and not in one of a container or a user (`user_namespaces(7)`). Returns true if that cannot be read.
pub fn is_in_first_user_namespace() -> bool {
    /// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`).
    const FIRST: &str = "user:[4026531837]";
    fs::read_link("/proc/self/ns/user").map_or(true, |own| own == Path::new(FIRST))
}

/// Returns whether this process is in the initial pid namespace, in which eBPF programs see processes.
pub fn is_in_first_pid_namespace() -> bool {
    /// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|own| own == Path::new(FIRST))
}

/// Returns one thread for each descriptor table of a process: the main thread, and each thread with its own
/// table (`CLONE_FILES`, `unshare(2)`).
///
/// # Errors
/// `ENOENT` if the process no longer exists.
pub fn tables(pid: u32) -> io::Result<Vec<u32>> {
    let mut known = vec![pid];
    for tid in threads(pid)? {
        // If the kernel cannot compare tables, all threads are assumed to share one, as they nearly always do.
        if tid != pid && known.iter().all(|other| have_same_files(*other, tid) == Some(false)) {
            known.push(tid);
        }
    }
    Ok(known)
}

/// Returns whether two threads share one descriptor table (`kcmp(2)`, `CONFIG_KCMP`).
fn have_same_files(one: u32, other: u32) -> Option<bool> {
    /// `include/uapi/linux/kcmp.h`.
    const KCMP_FILES: libc::c_int = 2;
    let [one, other] = [one, other].map(|tid| libc::pid_t::try_from(tid).ok());
    // SAFETY: kcmp compares two tasks and touches no memory of ours (kcmp(2)).
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one?, other?, KCMP_FILES, 0_usize, 0_usize) };
    (order >= 0).then_some(order == 0)
}

/// Returns the direct children of a process's threads, from `/proc/PID/task/TID/children` (`CONFIG_PROC_CHILDREN`).
///
/// # Errors
/// `ENOENT` if the process no longer exists.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(found)
}

/// Returns a process and its descendants, parents first, at most `most`. Orphans are children of another process, and
/// are not included.
pub fn tree(pid: u32, most: usize) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() && found.len() < most {
        for child in children(found[next]).unwrap_or_default() {
            // A number that was reused meanwhile could appear twice.
            if !found.contains(&child) {
                found.push(child);
            }
        }
        next += 1;
    }
    found.truncate(most);
    found
}

/// Returns the entries of a directory whose names are numbers.
fn numbers<T: std::str::FromStr>(path: impl AsRef<Path>) -> io::Result<Vec<T>> {
    let entries = fs::read_dir(path)?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let text =
            b"Name:\ta b\nUmask:\t0022\nState:\tT (stopped)\nTgid:\t7\nPPid:\t6\nUid:\t1000\t0\t0\t0\nFDSize:\t64\nThreads:\t3\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        let expected = Status {
            comm: "a b".to_owned(),
            tgid: 7,
            parent: 6,
            uid: 1000,
            is_stopped: true,
            is_filtered: true,
            filters: Some(3),
            threads: 3,
            fd_size: 64,
            no_new_privs: true,
            capabilities: 0xa804_25fb,
        };
        assert_eq!(parse_status(text), expected);
        assert_eq!(parse_status(b"\xff:\t\n:\nUid:\t\n").uid, u32::MAX);
    }

    #[test]
    fn a_vector_is_read_in_the_words_of_its_process() {
        let wide: Vec<u8> = [6_u64, 4096, 31, 0x7fff_0000_1234, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        assert_eq!(pairs::<8>(&wide, u64::from_ne_bytes)[1], (31, 0x7fff_0000_1234));
        let narrow: Vec<u8> = [6_u32, 4096, 31, 0xffff_1234, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        assert_eq!(pairs::<8>(&narrow, u64::from_ne_bytes), []);
        assert_eq!(
            pairs::<4>(&narrow, |word| u32::from_ne_bytes(word).into())[1],
            (31, 0xffff_1234)
        );
    }

    #[test]
    fn this_process_is_known_by_the_name_that_started_it() {
        let pid = std::process::id();
        let started_by = std::env::args_os().next().expect("a name");
        assert_eq!(program(pid).as_deref(), Path::new(&started_by).file_name());
        assert_eq!(tables(pid).expect("it is there"), [pid]);
    }
}
