//! The reasons why the cgroup engine cannot be used.

use super::limits::locked_memory;
use crate::error::{Error, describe};
use crate::text::sanitize;
use keepalive_sys::bpf::call::{Attached, CallError, Hook, Refusal, program_by_id, program_info, programs};
use keepalive_sys::bpf::file_system;
use keepalive_sys::cgroup::{NoTree, Tree, open_directory};
use keepalive_sys::proc;
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Why the cgroup engine cannot be used.
#[derive(Debug)]
pub enum Obstacle {
    /// No cgroup tree of version 2 is mounted.
    NoTree(NoTree),
    /// The kernel does not allow this process to load programs.
    Forbidden,
    /// The capabilities of this process apply only in its user namespace.
    UserNamespace,
    /// The kernel charges programs to the limit of locked memory, which is too low. Contains the limit in bytes.
    LockedMemory(u64),
    /// The kernel is too old for this command of bpf(2).
    TooOld(&'static str, io::Error),
    /// The verifier rejects a program.
    Refused(Refusal),
    /// Rules match programs' names, which eBPF programs cannot read here.
    NoNames(Unread),
    /// The settings depend on what the program has set, which eBPF programs cannot read here.
    NoReading(Unread),
    /// The verifier rejects the program that modes other than fill require.
    NoClamp(Refusal),
    /// The policy compiles to a program that is too long.
    TooLarge,
    /// No BPF file system is mounted, and none can be mounted.
    NoFileSystem(io::Error),
    /// The BPF file system is mounted read-only.
    ReadOnly,
    /// A program in or above the cgroup does not allow others.
    Excluded(String),
    /// Another process has held the lock for too long. Contains its description as a clause.
    Locked(String),
    /// A signal has arrived that must end this command.
    Interrupted,
    /// Another call failed.
    Other(io::Error),
}

/// Why eBPF programs cannot read the kernel's own fields.
#[derive(Debug)]
pub enum Unread {
    /// The kernel does not publish its types (BTF).
    NoTypes,
    /// The verifier rejects the program without CAP_PERFMON, which this process lacks.
    NoCapability(Refusal),
    /// The verifier rejects the program.
    Refused(Refusal),
}

impl Unread {
    /// Returns the reason as a clause.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NoTypes => String::from("this kernel does not tell its types (CONFIG_DEBUG_INFO_BTF)"),
            Self::NoCapability(refusal) => format!(
                "the kernel's own fields require CAP_PERFMON, which this process lacks; the verifier says: {}",
                last_word(&refusal.log)
            ),
            Self::Refused(refusal) => refused(refusal),
        }
    }
}

/// Returns the reason why a program cannot read the kernel's fields, as a clause.
pub(super) fn refused(refusal: &Refusal) -> String {
    let why = last_word(&refusal.log);
    format!("the kernel's verifier does not let a program read its fields: {why}")
}

/// Returns the verifier's last line that is not statistics, if any.
fn explanation(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "insns processed "];
    let mut lines = log.trim_end().lines().rev();
    let is_word = |line: &&str| !STATISTICS.iter().any(|word| line.starts_with(word)) && !line.trim().is_empty();
    lines.find(is_word).map(str::trim)
}

/// Returns [`explanation`] as a clause.
fn last_word(log: &str) -> &str {
    explanation(log).unwrap_or("it does not say why")
}

impl From<CallError> for Obstacle {
    fn from(CallError { call, error }: CallError) -> Self {
        Self::of_loading(call, error)
    }
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::forbidden(),
            // Files are created there alone.
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Other(error),
        }
    }
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        match explanation(&refusal.log) {
            Some(_) => Self::Refused(refusal),
            // Without CAP_BPF the kernel refuses programs of more than 4096 instructions before it checks
            // capabilities.
            None if Errno::from_io_error(&refusal.error) == Some(Errno::TOOBIG) && may_load() => Self::TooLarge,
            None if Errno::from_io_error(&refusal.error) == Some(Errno::TOOBIG) => Self::forbidden(),
            // The verifier did not run, or it has accepted the program.
            None => Self::of_loading("BPF_PROG_LOAD", refusal.error),
        }
    }
}

/// The capabilities that this engine requires, by their bits (`capabilities(7)`).
const CAPABILITIES: [(u32, &str); 2] = [(CAP_BPF, "CAP_BPF"), (12, "CAP_NET_ADMIN")];
const CAP_BPF: u32 = 39;
/// CAP_SYS_ADMIN includes CAP_PERFMON and CAP_BPF.
const CAP_SYS_ADMIN: u32 = 21;

pub(super) const CAP_PERFMON: u32 = 38;

/// Returns whether this process has a capability.
pub(super) fn has(capability: u32) -> bool {
    let held = proc::own_status().map_or(0, |status| status.capabilities);
    let has = |bit: u32| held >> bit & 1 == 1;
    has(capability) || matches!(capability, CAP_BPF | CAP_PERFMON) && has(CAP_SYS_ADMIN)
}

/// Returns the capabilities that this process lacks in order to load programs of cgroups.
fn missing_capabilities() -> Vec<&'static str> {
    let missing = CAPABILITIES.into_iter().filter(|(bit, _)| !has(*bit));
    missing.map(|(_, name)| name).collect()
}

/// Returns whether this process has the capabilities to load programs, in the initial user namespace.
fn may_load() -> bool {
    missing_capabilities().is_empty() && proc::is_in_first_user_namespace()
}

/// Returns whether this process is under a seccomp filter, as in containers.
fn is_filtered() -> bool {
    proc::own_status().is_ok_and(|status| status.is_filtered)
}

impl Obstacle {
    /// Returns why the kernel forbids eBPF to this process.
    fn forbidden() -> Self {
        if !missing_capabilities().is_empty() {
            return Self::Forbidden;
        }
        if !proc::is_in_first_user_namespace() {
            return Self::UserNamespace;
        }
        locked_memory().map_or(Self::Forbidden, Self::LockedMemory)
    }

    fn of_loading(call: &'static str, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::PERM) => Self::forbidden(),
            Some(Errno::NOSYS | Errno::INVAL) => Self::TooOld(call, error),
            _ => Self::Other(error),
        }
    }

    /// Checks whether a BPF file system is mounted or can be mounted.
    ///
    /// # Errors
    /// None is mounted, and none can be mounted.
    pub(super) fn of_file_system() -> Result<(), Self> {
        if file_system::find().is_some() || has(CAP_SYS_ADMIN) {
            return Ok(());
        }
        Err(Self::NoFileSystem(Errno::PERM.into()))
    }

    /// Returns why a program could not be attached to the cgroup in `directory`.
    pub(super) fn of_attaching(error: io::Error, tree: &Tree, directory: &Path, hook: Hook) -> Self {
        if Errno::from_io_error(&error) != Some(Errno::PERM) {
            return Self::Other(error);
        }
        if !may_load() {
            return Self::forbidden();
        }
        let ancestors = directory
            .ancestors()
            .take_while(|ancestor| ancestor.starts_with(tree.mount()));
        for ancestor in ancestors {
            let Ok(cgroup) = open_directory(ancestor) else { continue };
            let Ok(found) = programs(&cgroup, hook, Attached::Here) else {
                continue;
            };
            if !found.is_shared {
                let names: Vec<_> = found.ids.iter().map(|id| name(*id)).collect();
                let place = tree.name(ancestor);
                return Self::Excluded(format!(
                    "{} on {}",
                    names.join(", "),
                    sanitize(&place.to_string_lossy())
                ));
            }
        }
        Self::Other(error)
    }

    /// Returns the obstacle as a clause.
    pub fn reason(&self) -> String {
        match self {
            Self::NoTree(NoTree::OnlyVersion1) => String::from("this machine has cgroups of version 1 only"),
            Self::NoTree(NoTree::NotMounted) => String::from("no cgroups of version 2 are mounted"),
            Self::Forbidden => match missing_capabilities().as_slice() {
                [] => String::from("bpf: Operation not permitted, though the capabilities are there"),
                missing => format!("it requires root; this process lacks {}", missing.join(" and ")),
            },
            Self::UserNamespace => String::from(
                "it requires root; this process is in a user namespace, whose capabilities do not count for eBPF",
            ),
            Self::LockedMemory(limit) => format!(
                "this kernel counts eBPF as locked memory, as all before Linux 5.11 do, and the limit of {} KiB is too low",
                limit / 1024
            ),
            Self::TooOld(call, error) => format!("this kernel cannot do it: bpf: {call}: {}", describe(error)),
            Self::Refused(refusal) => format!(
                "the kernel's verifier refused a program: {}\n{}",
                describe(&refusal.error),
                refusal.end_of_log()
            ),
            Self::NoNames(Unread::NoCapability(_)) => {
                String::from("rules for programs take CAP_PERFMON, which this process lacks")
            }
            Self::NoNames(Unread::NoTypes) => {
                String::from("rules for programs need to know the kernel's types, and this kernel does not tell them")
            }
            Self::NoNames(unread) => format!("rules for programs read the kernel's fields: {}", unread.reason()),
            Self::NoReading(unread) => format!(
                "the policy depends on what programs set before, which eBPF programs of this kernel cannot read: \
                 bpf_getsockopt() reads these options since Linux 6.1; and {}",
                unread.reason()
            ),
            Self::NoClamp(refusal) if !has(CAP_PERFMON) => format!(
                "the modes cap, floor and enforce take CAP_PERFMON on this kernel, and this process lacks it: the verifier \
                 says: {}",
                last_word(&refusal.log)
            ),
            Self::NoClamp(refusal) => format!(
                "the kernel's verifier refused the program for the modes cap, floor and enforce: {}\n{}",
                describe(&refusal.error),
                refusal.end_of_log()
            ),
            Self::TooLarge => String::from("the policy has too many rules for one program of the kernel"),
            Self::NoFileSystem(error) => {
                format!(
                    "there is no BPF file system, and none can be mounted on /sys/fs/bpf: mount: {}",
                    describe(error)
                )
            }
            Self::ReadOnly => String::from("the BPF file system is mounted read-only"),
            Self::Excluded(by) => format!("{by} excludes other programs (it was attached without BPF_F_ALLOW_MULTI)"),
            Self::Locked(by) => by.clone(),
            Self::Interrupted => String::from("a signal has arrived"),
            Self::Other(error) => describe(error),
        }
    }

    /// Returns [`Self::reason`] in one line: of a log, only the last message.
    pub(super) fn clause(&self) -> String {
        match self {
            Self::Refused(refusal) => format!("the kernel's verifier says: {}", last_word(&refusal.log)),
            other => other.reason(),
        }
    }

    /// Returns what the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoTree(_) => {
                "on the host: boot with systemd.unified_cgroup_hierarchy=1, or mount one: mount -t cgroup2 none DIRECTORY"
            }
            Self::Forbidden | Self::TooOld(..) if missing_capabilities().is_empty() && is_filtered() => {
                "a seccomp filter is active here, and may forbid bpf(2): containerd 1.6.9, Docker 23 and containers-common \
                 0.60 allow it with CAP_BPF"
            }
            Self::UserNamespace => {
                "run it on the host, as root, outside of rootless containers; without: keepalive run, --engine seccomp"
            }
            Self::LockedMemory(_) => {
                "raise the limit (ulimit -l, LimitMEMLOCK= of a unit, --ulimit memlock of a container), or add CAP_SYS_RESOURCE; \
                 what all processes of this user have locked counts together"
            }
            Self::Forbidden if missing_capabilities().is_empty() => {
                "a container, a security module or the kernel's lockdown is in the way: run it on the host, as root"
            }
            Self::Forbidden => {
                "run it as root, or with these capabilities; without root: keepalive run, --engine seccomp"
            }
            Self::TooOld(..) => "it requires Linux 5.9 with CONFIG_CGROUP_BPF",
            Self::NoClamp(_) if !has(CAP_PERFMON) => "run it as root, or with this capability, or in mode fill",
            Self::Refused(_) | Self::NoClamp(_) => "this is a mistake in keepalive: please report it, with these lines",
            Self::NoNames(Unread::NoCapability(_)) => "leave them out, or run it as root, or with this capability",
            Self::NoNames(Unread::NoTypes) => "leave them out, or use a kernel with CONFIG_DEBUG_INFO_BTF",
            Self::NoNames(Unread::Refused(_)) => {
                "leave them out; they require bpf_get_current_task_btf() or bpf_probe_read_kernel(), which a kernel that is locked down forbids"
            }
            Self::NoReading(Unread::NoCapability(_)) => {
                "run it as root, or with this capability; --mode enforce without user-timeout=auto reads nothing"
            }
            Self::NoReading(_) => "--mode enforce without user-timeout=auto reads nothing",
            Self::TooLarge => "about 1,000 rules fit; networks and ranges of ports take the place of many",
            Self::NoFileSystem(_) => "on the host, as root: mount -t bpf bpf /sys/fs/bpf",
            Self::ReadOnly => {
                "on the host, as root: mount -o remount,rw /sys/fs/bpf; in a container it must be writable"
            }
            Self::Excluded(_) => "end it, or attach it so that others may be beside it",
            Self::Locked(_) => {
                "a command of keepalive holds it for milliseconds: wait for that process, or end it, and try again"
            }
            Self::Interrupted | Self::Other(_) => return None,
        })
    }

    /// Returns the error for an action that failed.
    pub fn error(&self, action: &str) -> Error {
        let error = Error::new(format!("cannot {action}: {}", self.reason()));
        match self.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns the name of a program, if this process may read it.
pub(super) fn name(id: u32) -> String {
    match program_by_id(id).and_then(program_info) {
        Ok(info) if !info.name.is_empty() => format!("program {id} '{}'", info.name),
        _ => format!("program {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(errno: Errno, log: &str) -> Obstacle {
        Obstacle::from(Refusal {
            error: errno.into(),
            log: log.to_owned(),
        })
    }

    /// Whatever the error is, a log with an explanation is a refusal by the verifier; statistics explain nothing.
    #[test]
    fn a_refusal_by_the_verifier_is_reported_as_one() {
        const STATISTICS: &str = "processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
        for errno in [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::TOOBIG] {
            let refused = obstacle(errno, &format!("0: (95) exit\nR0 !read_ok\n{STATISTICS}"));
            assert!(matches!(refused, Obstacle::Refused(_)), "{refused:?}");
            assert!(refused.reason().contains("R0 !read_ok"), "{}", refused.reason());
            for log in ["", STATISTICS] {
                let other = obstacle(errno, log);
                assert!(!matches!(other, Obstacle::Refused(_)), "{errno:?}: {other:?}");
            }
        }
    }
}
