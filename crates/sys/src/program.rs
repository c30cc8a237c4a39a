//! Determines the program that a command starts: finds the file as a shell does, and follows scripts to their
//! interpreter as execve(2) does.

use crate::elf::{self, Elf};
use crate::regular;
use crate::rooted::Root;
use rustix::fs::{FileType, StatVfsMountFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that a command starts, after all scripts.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file of the command itself.
    pub command: PathBuf,
    /// The file whose machine code runs: the command, or the last interpreter of its chain of scripts.
    pub path: PathBuf,
    /// The format of that file.
    pub format: Format,
}

/// The format of a program's file.
#[derive(Clone, Debug)]
pub enum Format {
    /// An ELF file.
    Elf(Elf),
    /// The file is executable but not readable, so its format is unknown.
    Unreadable,
    /// Neither ELF nor a script; the kernel may have a handler for it (binfmt_misc).
    Other,
}

/// The reason why a command cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStartable {
    /// The file does not exist.
    NotFound(PathBuf),
    /// The file exists, but is not executable.
    NotExecutable(PathBuf),
    /// The path cannot be resolved for another reason, such as a loop of links.
    Unreachable(PathBuf, Errno),
}

impl NotStartable {
    fn new(path: PathBuf, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound(path),
            Errno::ACCESS => Self::NotExecutable(path),
            errno => Self::Unreachable(path, errno),
        }
    }
}

/// The reason why the loader ignores LD_PRELOAD paths for a program (secure-execution mode, ld.so(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The file is set-user-ID to another user.
    SetUserId,
    /// The file is set-group-ID to another group.
    SetGroupId,
    /// The file has file capabilities (capabilities(7)).
    Capabilities,
}

/// The number of interpreters that execve(2) follows.
const SCRIPTS: usize = 5;

/// Finds the file that `command` names; if the name contains no slash, in the directories of `search` (the
/// value of PATH). Skipped files and the resulting error are as in execvp(3).
///
/// # Errors
/// [`NotStartable`].
pub fn find(command: &OsStr, search: &OsStr) -> Result<PathBuf, NotStartable> {
    find_in(Files::Ours, command, search)
}

/// As [`find`], in another system. Paths, including the returned one, are inside that system.
///
/// # Errors
/// [`NotStartable`].
pub fn find_below(root: &Root, command: &OsStr, search: &OsStr) -> Result<PathBuf, NotStartable> {
    find_in(Files::Below(root), command, search)
}

/// The system to which the files belong.
#[derive(Clone, Copy)]
enum Files<'a> {
    Ours,
    Below(&'a Root),
}

impl Files<'_> {
    fn open(self, path: &Path) -> io::Result<File> {
        match self {
            Self::Ours => regular::open(path),
            Self::Below(root) => root.open_file(path),
        }
    }

    /// Returns the mode of the file, of any type.
    fn mode(self, path: &Path) -> Result<u32, Errno> {
        match self {
            Self::Ours => Ok(rustix::fs::stat(path)?.st_mode),
            Self::Below(root) => {
                let about = root.find(path).and_then(|place| place.about());
                let about = about.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                Ok(about.ok_or(Errno::NOENT)?.st_mode)
            }
        }
    }

    /// Checks whether execve(2) would start this file, for this process or for any user, as far as that is
    /// visible beforehand.
    fn check(self, path: &Path) -> Result<(), Errno> {
        let mode = self.mode(path)?;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Errno::ACCESS);
        }
        match self {
            Self::Ours => rustix::fs::access(path, rustix::fs::Access::EXEC_OK),
            Self::Below(_) if mode & 0o111 != 0 => Ok(()),
            Self::Below(_) => Err(Errno::ACCESS),
        }
    }
}

fn find_in(files: Files<'_>, command: &OsStr, search: &OsStr) -> Result<PathBuf, NotStartable> {
    let failed = |errno| NotStartable::new(PathBuf::from(command), errno);
    if command.is_empty() {
        return Err(failed(Errno::NOENT));
    }
    if command.as_bytes().contains(&b'/') {
        let path = PathBuf::from(command);
        return files.check(&path).map(|()| path).map_err(failed);
    }
    let mut forbidden = None;
    let mut last = Errno::NOENT;
    for directory in std::env::split_paths(search) {
        let directory = if directory.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            directory
        };
        let candidate = directory.join(command);
        match files.check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => forbidden = forbidden.or(Some(candidate)),
            Err(errno @ (Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::NODEV | Errno::TIMEDOUT)) => last = errno,
            Err(errno) => return Err(NotStartable::new(candidate, errno)),
        }
    }
    let Some(candidate) = forbidden else {
        return Err(failed(last));
    };
    // The cause may also be a directory of PATH that this user may not search.
    Err(match files.mode(&candidate) {
        Ok(_) => NotStartable::NotExecutable(candidate),
        Err(_) => NotStartable::Unreachable(candidate, Errno::ACCESS),
    })
}

/// Follows `command`, a file, through its scripts.
///
/// # Errors
/// [`NotStartable`] if an interpreter cannot be started.
pub fn inspect(command: &Path, search: &OsStr) -> Result<Program, NotStartable> {
    inspect_in(Files::Ours, command, search)
}

/// As [`inspect`], in another system. Paths, including the returned one, are inside that system.
///
/// # Errors
/// [`NotStartable`] if an interpreter cannot be started.
pub fn inspect_below(root: &Root, command: &Path, search: &OsStr) -> Result<Program, NotStartable> {
    inspect_in(Files::Below(root), command, search)
}

fn inspect_in(files: Files<'_>, command: &Path, search: &OsStr) -> Result<Program, NotStartable> {
    let mut path = command.to_path_buf();
    for _ in 0..SCRIPTS {
        let format = match files.open(&path).and_then(elf::read_file) {
            Ok(Some(elf)) => Format::Elf(elf),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Format::Unreadable,
            Err(_) => Format::Other,
            Ok(None) => match interpreter(files, &path, search)? {
                Some(interpreter) => {
                    path = interpreter;
                    continue;
                }
                None => Format::Other,
            },
        };
        return Ok(Program {
            command: command.to_path_buf(),
            path,
            format,
        });
    }
    Ok(Program {
        command: command.to_path_buf(),
        path,
        format: Format::Other,
    })
}

/// Returns the interpreter of the script at `path`: the program in its first line, also behind `env`; the
/// shell for a text without such a line, as in execvp(3).
fn interpreter(files: Files<'_>, path: &Path, search: &OsStr) -> Result<Option<PathBuf>, NotStartable> {
    let mut head = [0; 256];
    let Ok(length) = files.open(path).and_then(|mut file| file.read(&mut head)) else {
        return Ok(None);
    };
    let head = &head[..length];
    let Some(line) = head.strip_prefix(b"#!") else {
        return Ok((!head.contains(&0)).then(|| PathBuf::from("/bin/sh")));
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes);
    let Some(named) = words.next() else { return Ok(None) };
    let named = find_in(files, named, OsStr::new(""))?;
    if named.file_name() == Some(OsStr::new("env")) {
        let command = words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='));
        if let Some(command) = command {
            return find_in(files, command, search).map(Some);
        }
    }
    Ok(Some(named))
}

/// Returns why the loader would run the program at `path` in secure-execution mode if this process starts it,
/// if it would.
pub fn privilege(path: &Path) -> Option<Privilege> {
    const S_ISUID: u32 = 0o4000;
    const S_ISGID_EXECUTABLE: u32 = 0o2010;
    let metadata: Metadata = path.metadata().ok()?;
    // If the file system ignores such privileges, the loader runs in its normal mode, too.
    let is_without = rustix::fs::statvfs(path).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::NOSUID));
    if is_without || rustix::thread::no_new_privs().unwrap_or(false) {
        return None;
    }
    if metadata.mode() & S_ISUID != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
        return Some(Privilege::SetUserId);
    }
    let sets_group = metadata.mode() & S_ISGID_EXECUTABLE == S_ISGID_EXECUTABLE;
    if sets_group && metadata.gid() != rustix::process::getegid().as_raw() {
        return Some(Privilege::SetGroupId);
    }
    // Root has the capabilities anyway, and the kernel then does not request secure execution
    // (security/commoncap.c).
    (!rustix::process::getuid().is_root() && has_capabilities(path)).then_some(Privilege::Capabilities)
}

/// Returns whether the file at `path` has capabilities that cause secure-execution mode. The attribute may
/// exist without any (`setcap =`). It is a `struct vfs_cap_data` (`linux/capability.h`).
fn has_capabilities(path: &Path) -> bool {
    const VFS_CAP_FLAGS_EFFECTIVE: u8 = 1;
    let mut value = [0_u8; 64];
    if rustix::fs::getxattr(path, "security.capability", &mut value).is_err() {
        return false;
    }
    let [flags, _, _, _, first @ ..] = value;
    // Four bytes of permitted capabilities and four of inheritable ones, twice.
    let permitted = first[..4].iter().chain(&first[8..12]);
    flags & VFS_CAP_FLAGS_EFFECTIVE != 0 || permitted.into_iter().any(|byte| *byte != 0)
}

/// Returns the value of PATH, or the C library's default.
pub fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_script_is_followed_to_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        for text in [
            "#!/bin/sh\n",
            "#! /bin/sh -e\n",
            "#!/usr/bin/env sh\n",
            "#!/usr/bin/env -S A=1 sh -e\n",
            "true\n",
        ] {
            let path = script(directory.path(), "script", text);
            let program = inspect(&path, OsStr::new("/bin:/usr/bin")).unwrap();
            assert!(program.path.ends_with("bin/sh"), "{text}: {}", program.path.display());
            assert!(matches!(program.format, Format::Elf(_)), "{text}");
        }
    }

    #[test]
    fn a_script_of_a_script_is_followed_too_and_a_circle_ends() {
        let directory = tempfile::tempdir().unwrap();
        let inner = script(directory.path(), "inner", "#!/bin/sh\n");
        let outer = script(directory.path(), "outer", &format!("#!{}\n", inner.display()));
        assert!(inspect(&outer, OsStr::new("")).unwrap().path.ends_with("bin/sh"));
        let circle = directory.path().join("circle");
        let circle = script(directory.path(), "circle", &format!("#!{}\n", circle.display()));
        assert!(matches!(
            inspect(&circle, OsStr::new("")).unwrap().format,
            Format::Other
        ));
    }

    #[test]
    fn reasons_for_a_failed_start_are_distinguished() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let find = |command: &Path| find(command.as_os_str(), OsStr::new(""));
        assert_eq!(find(&file), Err(NotStartable::NotExecutable(file.clone())));
        let missing = directory.path().join("missing");
        assert_eq!(find(&missing), Err(NotStartable::NotFound(missing.clone())));
        let script = script(directory.path(), "script", &format!("#!{}\n", missing.display()));
        assert_eq!(
            inspect(&script, OsStr::new("")).unwrap_err(),
            NotStartable::NotFound(missing)
        );
    }
}
