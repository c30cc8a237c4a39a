//! SELinux: the context of a process, the context that a program gets, and what a context may do, by the
//! kernel's answers (`security/selinux/selinuxfs.c`).

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// The file system through which the kernel answers.
const SELINUXFS: &str = "/sys/fs/selinux";
/// The attribute of a file that contains its context, and the limit of its length.
pub(crate) const ATTRIBUTE: &str = "security.selinux";
const LONGEST: usize = 1024;
/// `AVD_FLAGS_PERMISSIVE` (`security/selinux/include/security.h`): the kernel denies nothing to this context.
const PERMISSIVE: u32 = 1;

/// How a process uses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The process reads the file.
    Read,
    /// The process maps the file: the loader maps its list of libraries.
    Map,
    /// The process maps the file as code, as a library.
    Load,
}

/// Returns whether the kernel has a policy.
pub fn is_enabled() -> bool {
    Path::new(SELINUXFS).join("enforce").exists()
}

/// Returns whether the kernel denies what the policy does not allow.
pub fn is_enforcing() -> bool {
    fs::read_to_string(format!("{SELINUXFS}/enforce")).is_ok_and(|text| text.trim() == "1")
}

/// Returns the context of a process.
///
/// # Errors
/// The process has ended, or its attributes cannot be read.
pub fn of_process(pid: u32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/attr/current")).map(without_end)
}

/// Returns the context of the file at `path`. Follows symbolic links.
///
/// # Errors
/// The file has no context, or cannot be reached.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut value = [0; LONGEST];
    let length = rustix::fs::getxattr(path, ATTRIBUTE, &mut value)?;
    let value = value.get(..length).unwrap_or_default().to_vec();
    String::from_utf8(value).map(without_end).map_err(io::Error::other)
}

/// Returns the context of an open file from its file system, whether or not the kernel uses SELinux.
pub fn label(file: &File) -> Option<Vec<u8>> {
    let mut value = [0; LONGEST];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value).ok()?;
    value.get(..length).map(<[u8]>::to_vec)
}

/// Returns the context that a process with `context` gets when it executes the program at `path`, unless it
/// requests another.
///
/// # Errors
/// The kernel cannot be asked, or the file has no context.
pub fn after_exec(context: &str, path: &Path) -> io::Result<String> {
    let class = number("class/process/index")?;
    ask("create", &format!("{context} {} {class}", of_file(path)?))
}

/// Returns whether the loader honours LD_PRELOAD when an execution changes `from` to `to`
/// (`security/selinux/hooks.c`, `selinux_bprm_creds_for_exec`).
///
/// # Errors
/// The kernel cannot be asked.
pub fn keeps_environment(from: &str, to: &str) -> io::Result<bool> {
    if from == to {
        return Ok(true);
    }
    is_allowed(from, to, "process", &["noatsecure"])
}

/// Returns whether a process with `context` may use the file at `path`. The access to its directories is not checked.
///
/// # Errors
/// The kernel cannot be asked, or the file has no context.
pub fn allows(context: &str, path: &Path, usage: Use) -> io::Result<bool> {
    let permissions: &[&str] = match usage {
        Use::Read => &["open", "read"],
        Use::Map => &["open", "read", "map"],
        Use::Load => &["open", "read", "map", "execute"],
    };
    is_allowed(context, &of_file(path)?, "file", permissions)
}

/// Returns whether the policy allows all `permissions` of `class`, regardless of permissive mode.
fn is_allowed(source: &str, target: &str, class: &str, permissions: &[&str]) -> io::Result<bool> {
    let mut needed = 0;
    for permission in permissions {
        // The kernel does not check permissions that the policy does not define.
        if let Ok(number @ 1..=32) = number(&format!("class/{class}/perms/{permission}")) {
            needed |= 1 << (number - 1);
        }
    }
    let class = number(&format!("class/{class}/index"))?;
    let answer = ask("access", &format!("{source} {target} {class} ffffffff"))?;
    let (allowed, flags) = parse_decision(&answer).ok_or_else(|| io::Error::other("an unknown answer"))?;
    Ok(allowed & needed == needed || flags & PERMISSIVE != 0)
}

/// Returns the allowed permissions of a decision, and its flags.
fn parse_decision(answer: &str) -> Option<(u32, u32)> {
    let mut words = answer.split_ascii_whitespace();
    let allowed = u32::from_str_radix(words.next()?, 16).ok()?;
    let flags = words
        .nth(4)
        .map_or(Some(0), |word| u32::from_str_radix(word, 16).ok())?;
    Some((allowed, flags))
}

fn number(name: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("{SELINUXFS}/{name}"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Sends one question with one write(2), and returns the answer.
fn ask(name: &str, question: &str) -> io::Result<String> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(format!("{SELINUXFS}/{name}"))?;
    file.write_all(question.as_bytes())?;
    let mut answer = String::new();
    file.read_to_string(&mut answer)?;
    Ok(without_end(answer))
}

/// Removes the null byte at the end of a context.
fn without_end(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\n', '\0']).len());
    text
}

#[cfg(test)]
mod tests {
    use super::{parse_decision, without_end};

    #[test]
    fn decision_has_allowed_permissions_and_flags() {
        assert_eq!(parse_decision("12f ffffffff 0 ffffffff 7 1"), Some((0x12f, 1)));
        assert_eq!(parse_decision("0 ffffffff 0 ffffffff 7"), Some((0, 0)));
        assert_eq!(parse_decision(""), None);
        assert_eq!(parse_decision("x ffffffff 0 ffffffff 7 0"), None);
    }

    #[test]
    fn contexts_end_without_a_null_byte() {
        assert_eq!(without_end(String::from("a:b:c:s0\0")), "a:b:c:s0");
        assert_eq!(without_end(String::from("a:b:c:s0\n")), "a:b:c:s0");
        assert_eq!(without_end(String::new()), "");
    }
}
