//! Warnings about the settings of a service that conflict with the library.

use super::file::UnitFile;
use keepalive_engine::apparmor::{Access, accesses_under};
use keepalive_engine::preload::{self, Library};
use keepalive_sys::apparmor::{self, Profile};
use keepalive_sys::program::Program;
use std::path::Path;

/// The groups of system calls that the library requires: either this one, or all of the following
/// (`systemd.exec(5)`).
const WHOLE: [&str; 1] = ["@system-service"];
const PARTS: [&str; 4] = ["@network-io", "@basic-io", "@file-system", "@io-event"];

/// The process that starts services.
const INIT: u32 = 1;

/// Returns the warnings, one sentence each. The programs and profiles are those of this system only if
/// `is_ours`. `rules` is the rules file that the library reads, if any.
pub(super) fn of_library(
    unit: &UnitFile,
    library: &Library,
    programs: &[Program],
    is_ours: bool,
    rules: Option<&Path>,
) -> Vec<String> {
    let obstacle = |program, library: &Library| {
        if is_ours {
            preload::obstacle(program, library)
                .or_else(|| preload::obstacle_of_confinement(program, Some(library.path()), rules, INIT))
        } else {
            preload::obstacle_without_privilege(program, library)
        }
    };
    let mut warnings: Vec<String> = programs
        .iter()
        .filter_map(|program| Some(obstacle(program, library)?.describe(program)))
        .map(|what| format!("{what}; --engine cgroup reaches it"))
        .collect();
    // Programs of another system are not visible here.
    if let Some(missing) = library.missing().filter(|_| is_ours) {
        warnings.push(format!(
            "{missing}: the loader of each that the service starts prints an error; the packages for x86-64 contain that for \
             32-bit x86, and --engine cgroup needs none"
        ));
    }
    if let Some(filter) = risky_filter(unit) {
        warnings.push(format!(
            "SystemCallFilter={filter}: where this forbids setsockopt(2) or what reads /etc/keepalive.conf, the service is \
             ended by the kernel; --engine cgroup makes no calls in it"
        ));
    }
    if unit.says_yes("NoNewPrivileges") {
        warnings.push(String::from(
            "NoNewPrivileges=yes: set-user-ID programs that the service starts run without their privilege anyway, and with \
             the library",
        ));
    }
    if is_ours
        && apparmor::is_enabled()
        && let Some(name) = unit.all("AppArmorProfile").last()
    {
        warnings.extend(of_named_profile(name.trim_start_matches('-'), library.path(), rules));
    }
    for name in ["RootDirectory", "RootImage"] {
        if let Some(value) = unit.all(name).last() {
            warnings.push(format!(
                "{name}={value}: the library must be there too, as {}",
                library.path().display()
            ));
        }
    }
    if unit.says_yes("ProtectHome")
        && ["/home", "/root", "/run/user"]
            .iter()
            .any(|home| library.path().starts_with(home))
    {
        warnings.push(format!(
            "ProtectHome: the service does not see {}",
            library.path().display()
        ));
    }
    warnings
}

/// Returns what the profile that the unit names denies to the library.
fn of_named_profile(name: &str, library: &Path, rules: Option<&Path>) -> Vec<String> {
    let profile = Profile {
        name: name.to_owned(),
        mode: String::from("enforce"),
    };
    let accesses = accesses_under(&profile, Some(library), rules).into_iter();
    let sentence = |access: Access| format!("AppArmorProfile={name}: {}; {}", access.describe(), access.advice());
    accesses.filter(|access| !access.is_allowed()).map(sentence).collect()
}

/// Returns the unit's filter of system calls, if it may deny some that the library makes.
fn risky_filter(unit: &UnitFile) -> Option<String> {
    let lines = unit.all("SystemCallFilter");
    let filter = lines.join(" ");
    let (allowed, forbidden): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| !line.starts_with('~'));
    let names = |lines: &[&str]| -> Vec<String> {
        let words = lines
            .iter()
            .flat_map(|line| line.trim_start_matches('~').split_whitespace());
        words
            .map(|word| word.split(':').next().unwrap_or_default().to_owned())
            .collect()
    };
    let (allowed, forbidden) = (names(&allowed), names(&forbidden));
    let is_needed = |name: &String| {
        let calls = [
            "setsockopt",
            "getsockopt",
            "fcntl",
            "open",
            "openat",
            "read",
            "close",
            "mmap",
            "munmap",
        ];
        PARTS.contains(&name.as_str()) || calls.contains(&name.as_str()) || name == "@default"
    };
    let has = |group: &str| allowed.iter().any(|name| name == group);
    let is_enough = allowed.is_empty() || WHOLE.iter().any(|group| has(group)) || PARTS.iter().all(|group| has(group));
    (!lines.is_empty() && (!is_enough || forbidden.iter().any(is_needed))).then_some(filter)
}
