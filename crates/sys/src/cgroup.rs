//! Cgroups (`cgroups(7)`, version 2): finds, lists, creates, joins and removes them.

mod created;

pub use created::{Created, CreatedCgroups};

use crate::pidfd::PidFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstatfs, open, statfs};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// `CGROUP2_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const MAGIC: u32 = 0x6367_7270;

/// The usual mount points of the tree: alone, or alongside those of version 1.
const USUAL: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The tree of cgroups.
#[derive(Clone, Debug)]
pub struct Tree {
    mount: PathBuf,
}

/// Why no tree was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTree {
    /// The machine has only cgroups of version 1.
    OnlyVersion1,
    /// No cgroups are mounted.
    NotMounted,
}

impl Tree {
    /// Finds the mount of version 2.
    ///
    /// # Errors
    /// Version 2 is not mounted.
    pub fn find() -> Result<Self, NoTree> {
        if let Some(usual) = USUAL.into_iter().find(|path| is_version_2(Path::new(path))) {
            let mount = PathBuf::from(usual);
            return Ok(Self { mount });
        }
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        match mount_point(&text, "cgroup2") {
            Some(mount) => Ok(Self { mount }),
            None if mount_point(&text, "cgroup").is_some() => Err(NoTree::OnlyVersion1),
            None => Err(NoTree::NotMounted),
        }
    }

    /// Returns the mount point.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Returns the directory of a cgroup, from its path in the tree or in the file system.
    pub fn directory(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix(&self.mount).unwrap_or(path);
        let mut directory = self.mount.clone();
        // No path leads out of the tree.
        directory.extend(inside.components().filter(|part| matches!(part, Component::Normal(_))));
        directory
    }

    /// Returns the path of a cgroup in the tree, which begins with a slash.
    pub fn name(&self, directory: &Path) -> PathBuf {
        Path::new("/").join(directory.strip_prefix(&self.mount).unwrap_or(directory))
    }

    /// Returns all cgroups with this name, in the whole tree.
    pub fn named(&self, name: &OsStr) -> Vec<PathBuf> {
        let mut found = with_all_below(&self.mount);
        found.retain(|directory| directory.file_name() == Some(name) && *directory != self.mount);
        found
    }

    /// Returns the cgroups of systemd units with this name. The unit of the machine's systemd, which is below slices only,
    /// takes precedence over those of users and containers; among several, those of root, since a user can create cgroups
    /// where its own were delegated to it.
    pub fn units(&self, name: &OsStr) -> Vec<PathBuf> {
        let is_below_slices = |directory: &Path| {
            let name = self.name(directory);
            let mut above = name.ancestors().skip(1).filter_map(Path::file_name);
            above.all(|name| Path::new(name).extension() == Some(OsStr::new("slice")))
        };
        let is_of_root = |directory: &Path| fs::metadata(directory).is_ok_and(|about| about.uid() == 0);
        let found = prefer(self.named(name), is_below_slices);
        prefer(found, is_of_root)
    }

    /// Returns whether the mount shows the whole tree of the machine. In a cgroup namespace it shows a part.
    pub fn is_whole(&self) -> bool {
        /// The number of the root of the tree (`fs/kernfs/dir.c`, `kernfs_create_root`).
        const ROOT: u64 = 1;
        id(&self.mount).is_ok_and(|id| id == ROOT)
    }

    /// Returns the cgroup of this process.
    ///
    /// # Errors
    /// Any failure to read it; `NotFound` if the cgroup is outside the visible part of the tree.
    pub fn own(&self) -> io::Result<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.filter(|path| !path.starts_with("/.."));
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        let directory = self.directory(Path::new(path.ok_or_else(missing)?));
        // In a cgroup namespace without its own mount, the path names another cgroup.
        let (processes, _) = processes_of(&directory);
        if processes.contains(&std::process::id()) {
            Ok(directory)
        } else {
            Err(missing())
        }
    }
}

/// Returns the directory of the cgroup of a process.
///
/// # Errors
/// `ESRCH` if the process does not exist or has ended meanwhile; `NotFound` if the cgroup is outside the visible part of
/// the tree or has been removed; any failure to read it.
pub fn of_process(tree: &Tree, pid: u32) -> io::Result<PathBuf> {
    let process = PidFd::open(pid).map_err(|error| match error.raw_os_error() {
        // The number of a thread.
        Some(libc::EINVAL) => io::Error::from_raw_os_error(libc::ESRCH),
        _ => error,
    })?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    // The number may have been another process's when the file was read.
    if process.has_ended() {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let text = text?;
    let missing = || io::Error::from_raw_os_error(libc::ENOENT);
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.filter(|path| !path.starts_with("/..")).ok_or_else(missing)?;
    let directory = tree.directory(Path::new(path));
    match fs::read_to_string(directory.join("cgroup.procs")) {
        // In a cgroup namespace without its own mount, the path names another cgroup.
        Ok(processes) if !processes.lines().any(|line| line.parse() == Ok(pid)) => Err(missing()),
        Ok(_) => Ok(directory),
        // A threaded cgroup does not list processes.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(directory),
        Err(error) => Err(error),
    }
}

/// Returns those that are preferred, or all if none is.
fn prefer(all: Vec<PathBuf>, is_preferred: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let preferred: Vec<_> = all.iter().filter(|path| is_preferred(path)).cloned().collect();
    if preferred.is_empty() { all } else { preferred }
}

fn is_version_2(path: &Path) -> bool {
    statfs(path).is_ok_and(|about| u32::try_from(about.f_type) == Ok(MAGIC))
}

/// Returns the first mount of this type (`proc_pid_mountinfo(5)`).
pub(crate) fn mount_point(text: &str, wanted: &str) -> Option<PathBuf> {
    let mounts = text.lines().filter_map(|line| line.split_once(" - "));
    let mut points = mounts.filter_map(|(mount, file_system)| {
        let is_wanted = file_system.split(' ').next() == Some(wanted);
        is_wanted.then(|| mount.split(' ').nth(4)).flatten()
    });
    points
        .next()
        .map(|point| PathBuf::from(OsString::from_vec(unescape(point))))
}

/// Decodes white space and backslashes, which the file contains in octal (`fs/proc_namespace.c`).
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let number = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// Returns a directory and all directories below it.
pub fn with_all_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let below: Vec<_> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
        next += 1;
    }
    found
}

/// Returns the number of a cgroup, which is unique since the machine was started (64-bit kernels).
///
/// # Errors
/// `ENOENT` if the cgroup no longer exists.
pub fn id(directory: &Path) -> io::Result<u64> {
    Ok(fs::metadata(directory)?.ino())
}

/// Returns the numbers of a cgroup and of all cgroups below it.
pub fn ids_with_all_below(directory: &Path) -> HashSet<u64> {
    let all = with_all_below(directory);
    all.iter().filter_map(|directory| id(directory).ok()).collect()
}

/// Opens a cgroup.
///
/// # Errors
/// As `open(2)`; `InvalidInput` for a directory of another file system, which may be mounted there.
pub fn open_directory(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    if u32::try_from(fstatfs(&directory)?.f_type) == Ok(MAGIC) {
        Ok(directory)
    } else {
        let error = "the directory is not one of cgroup v2: another file system is mounted there";
        Err(io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}

/// Returns the processes of a cgroup and of all cgroups below it, and the number of processes that this pid
/// namespace does not show.
pub fn processes(directory: &Path) -> (Vec<u32>, usize) {
    let all = with_all_below(directory);
    let parts = all.iter().map(|directory| processes_of(directory));
    parts.fold((Vec::new(), 0), |(mut found, hidden), (more, more_hidden)| {
        found.extend(more);
        (found, hidden + more_hidden)
    })
}

/// The same for this cgroup alone. The processes of a threaded cgroup are in its parent.
fn processes_of(directory: &Path) -> (Vec<u32>, usize) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let numbers = text.lines().filter_map(|line| line.parse::<u32>().ok());
    // 0 stands for a process that this pid namespace does not show.
    let (found, hidden): (Vec<u32>, Vec<u32>) = numbers.partition(|pid| *pid != 0);
    (found, hidden.len())
}

/// Moves this process to a cgroup.
///
/// # Errors
/// `EACCES` without write access to the cgroup and to the nearest common ancestor; `EBUSY` or `EOPNOTSUPP` if
/// the cgroup may not contain processes.
pub fn join(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.procs"), "0")
}

/// Waits until a cgroup and all cgroups below it have no processes.
///
/// # Errors
/// Any failure to read `cgroup.events`; the cgroup may have been removed.
pub fn wait_until_empty(directory: &Path) -> io::Result<()> {
    let mut events = fs::File::open(directory.join("cgroup.events"))?;
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        // The kernel reports changes this way; the timeout covers changes that it does not report.
        let mut wanted = [PollFd::new(&events, PollFlags::PRI)];
        let period = Timespec { tv_sec: 10, tv_nsec: 0 };
        match poll(&mut wanted, Some(&period)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a cgroup without processes, and those below it.
///
/// # Errors
/// `EBUSY` if it has processes.
pub fn remove(directory: &Path) -> io::Result<()> {
    let mut all = with_all_below(directory);
    all.reverse();
    all.iter().try_for_each(fs::remove_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_of_the_machine_takes_precedence() {
        let mount = tempfile::tempdir().expect("a temporary directory");
        let tree = Tree {
            mount: mount.path().to_owned(),
        };
        let unit = OsStr::new("a.service");
        let create = |path: &str| fs::create_dir_all(mount.path().join(path)).expect("a directory");
        let names = || {
            let mut names: Vec<_> = tree.units(unit).iter().map(|unit| tree.name(unit)).collect();
            names.sort_unstable();
            names
        };
        create("user.slice/user-1000.slice/user@1000.service/app.slice/a.service");
        create("machine.slice/libpod-1.scope/system.slice/a.service");
        assert_eq!(names().len(), 2);
        create("system.slice/a.service");
        assert_eq!(names(), [Path::new("/system.slice/a.service")]);
    }

    #[test]
    fn a_mount_is_found_by_its_type() {
        let text = "35 25 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    36 25 0:31 /.. /mnt/a\\040b\\134 rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_point(text, "cgroup2"), Some(PathBuf::from("/mnt/a b\\")));
        assert_eq!(mount_point(text, "cgroup"), Some(PathBuf::from("/sys/fs/cgroup/cpu")));
        assert_eq!(mount_point(text, "bpf"), None);
    }

    #[test]
    fn no_path_leads_out_of_the_tree() {
        let tree = Tree {
            mount: PathBuf::from("/sys/fs/cgroup"),
        };
        for (path, expected) in [
            ("/", "/sys/fs/cgroup"),
            ("a.slice/b.service", "/sys/fs/cgroup/a.slice/b.service"),
            ("/a.slice/", "/sys/fs/cgroup/a.slice"),
            ("/sys/fs/cgroup/a.slice", "/sys/fs/cgroup/a.slice"),
            ("../../etc", "/sys/fs/cgroup/etc"),
        ] {
            assert_eq!(tree.directory(Path::new(path)), Path::new(expected), "{path}");
        }
        assert_eq!(tree.name(Path::new("/sys/fs/cgroup/a")), Path::new("/a"));
        assert_eq!(tree.name(Path::new("/sys/fs/cgroup")), Path::new("/"));
    }
}
