//! AppArmor: the profile of a process, the profile that a program would get, and the files that a profile allows.

mod transition;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub use transition::of_program;

/// The directory of AppArmor's files in securityfs.
const SECURITYFS: &str = "/sys/kernel/security/apparmor";

/// `MAY_READ` (`security/apparmor/include/perms.h`).
const READ: u32 = 0x4;
/// `AA_EXEC_MMAP`: to map the file as code.
const EXEC_MMAP: u32 = 0x1_0000;
/// `AA_CLASS_FILE` (`security/apparmor/include/apparmor.h`).
const CLASS_FILE: u8 = 2;

/// The confinement of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The label: the name of a profile, or several with `//&` between them.
    pub name: String,
    /// The mode, which decides what the kernel does on a violation: `enforce`, `kill`, `complain`, `mixed`, ...
    pub mode: String,
}

/// How a program uses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The program reads the file.
    Read,
    /// The program reads the file and maps it as code, as a library.
    Load,
}

impl Profile {
    /// Parses `attr/apparmor/current`; `None` for an unconfined process.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(['\n', '\0']);
        let (name, mode) = text.strip_suffix(')')?.rsplit_once(" (")?;
        Some(Self {
            name: name.to_owned(),
            mode: mode.to_owned(),
        })
    }

    /// Returns whether the kernel denies what the profile does not allow.
    pub fn is_enforced(&self) -> bool {
        !matches!(self.mode.as_str(), "complain" | "unconfined")
    }

    /// Returns whether the profile allows `usage` of the file at `path`, by the kernel's answer
    /// (`apparmorfs.c`, `query_label`; aa_query_file_path(3)). Assumes that root owns the file. Follows
    /// symbolic links: AppArmor's paths contain none.
    ///
    /// # Errors
    /// securityfs is not mounted, or its file cannot be opened here; the profile does not exist.
    pub fn allows(&self, path: &Path, usage: Use) -> io::Result<bool> {
        if !self.is_enforced() {
            return Ok(true);
        }
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let query = [
            b"label\0".as_slice(),
            self.name.as_bytes(),
            &[0, CLASS_FILE],
            path.as_os_str().as_bytes(),
        ]
        .concat();
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(format!("{SECURITYFS}/.access"))?;
        file.write_all(&query)?;
        let mut answer = String::new();
        file.read_to_string(&mut answer)?;
        let permissions = parse_permissions(&answer).ok_or_else(|| io::Error::other("an unknown answer"))?;
        let needed = match usage {
            Use::Read => READ,
            Use::Load => READ | EXEC_MMAP,
        };
        Ok(permissions & needed == needed)
    }
}

/// Returns the permissions in an answer: those that are allowed and not denied.
fn parse_permissions(answer: &str) -> Option<u32> {
    let field = |name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(name))?;
        u32::from_str_radix(line.trim().strip_prefix("0x")?, 16).ok()
    };
    Some(field("allow ")? & !field("deny ")?)
}

/// Returns whether the kernel uses AppArmor.
pub fn is_enabled() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Returns whether a profile may be loaded; false only if the list of profiles is readable and empty.
fn has_profiles() -> bool {
    fs::read_dir(format!("{SECURITYFS}/policy/profiles")).map_or(true, |mut entries| entries.next().is_some())
}

/// Returns the profile of a process; `None` if the process is unconfined, or without AppArmor.
///
/// # Errors
/// The process has ended, or its attributes cannot be read.
pub fn of_process(pid: u32) -> io::Result<Option<Profile>> {
    if !is_enabled() {
        return Ok(None);
    }
    // Before Linux 5.8 all security modules share one file.
    let text = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"))
        .or_else(|_| fs::read_to_string(format!("/proc/{pid}/attr/current")))?;
    Ok(Profile::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::{Profile, parse_permissions};

    #[test]
    fn attributes_are_parsed() {
        let parse = |text| {
            Profile::parse(text).map(|profile| (profile.name.clone(), profile.mode.clone(), profile.is_enforced()))
        };
        let profile = |name: &str, mode: &str, is_enforced| Some((name.to_owned(), mode.to_owned(), is_enforced));
        assert_eq!(parse("unconfined\n"), None);
        assert_eq!(parse("unconfined"), None);
        assert_eq!(parse(""), None);
        assert_eq!(
            parse("/usr/sbin/named (enforce)\n"),
            profile("/usr/sbin/named", "enforce", true)
        );
        assert_eq!(parse("a b//&c (d) (mixed)\n"), profile("a b//&c (d)", "mixed", true));
        assert_eq!(parse("firefox (unconfined)\n"), profile("firefox", "unconfined", false));
        assert_eq!(parse("x (complain)\n"), profile("x", "complain", false));
        assert_eq!(parse("x (kill)\0"), profile("x", "kill", true));
    }

    #[test]
    fn permissions_are_what_is_allowed_and_not_denied() {
        let answer = "allow 0x00010007\ndeny 0x00000002\naudit 0x00000000\nquiet 0x00000002\n";
        assert_eq!(parse_permissions(answer), Some(0x1_0005));
        assert_eq!(parse_permissions("allow 0x4\n"), None);
        assert_eq!(parse_permissions("allow x\ndeny 0x0\n"), None);
        assert_eq!(parse_permissions(""), None);
    }
}
