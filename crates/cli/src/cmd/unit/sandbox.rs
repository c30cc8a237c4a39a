//! What a unit's sandbox does to a file: whether the service sees it, may read it, and may map it as a program
//! (`systemd.exec(5)`).

use super::statements::{Statement, UnitFile, is_yes, words};
use super::users;
use keepalive_sys::rooted::Root;
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::{Path, PathBuf};

/// What the service does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Read,
    /// Maps it as a program, too.
    Load,
}

/// What a statement does to a path and everything below it.
enum Effect {
    Hidden,
    /// What was below this path is there instead.
    Replaced(PathBuf),
}

/// The directories that `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// The directories that a service with `PrivateTmp=` has for itself.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Returns why the service cannot use `file` of the system below `root`, as a clause; `None` if no statement
/// of the unit shows a reason.
pub(super) fn obstacle(unit: &UnitFile, root: &Root, file: &Path, usage: Usage) -> Option<String> {
    if root.is_ours()
        && usage == Usage::Load
        && statvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC))
    {
        return Some(format!("{} is on a mount with noexec", file.display()));
    }
    hiding(unit, root, file)
        .or_else(|| no_exec(unit, file).filter(|_| usage == Usage::Load))
        .or_else(|| users::unreadable(unit, root, file))
}

/// Returns the statement that gives the service another root directory.
pub(super) fn root(unit: &UnitFile) -> Option<&Statement> {
    let directory = || unit.last("RootDirectory").filter(|directory| directory.value != "/");
    unit.last("RootImage").or_else(directory)
}

/// Returns the statement that mounts over one of these paths also for commands with the prefix `+`. systemd 257
/// mounts `TemporaryFileSystem=` and `BindPaths=` for them, and leaves the rest of the sandbox out.
pub(super) fn mount_over<'a>(unit: &'a UnitFile, paths: &[&Path]) -> Option<&'a Statement> {
    const MOUNTS: [&str; 3] = ["TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths"];
    let mut effects = effects(unit).into_iter();
    let found = effects.find(|(at, statement, effect)| {
        let is_same = matches!(effect, Effect::Replaced(source) if source == at);
        MOUNTS.contains(&statement.name.as_str()) && !is_same && paths.iter().any(|path| path.starts_with(at))
    });
    found.map(|(_, statement, _)| statement)
}

/// Returns why the service does not see `file`.
fn hiding(unit: &UnitFile, root: &Root, file: &Path) -> Option<String> {
    let outside = self::root(unit);
    if let Some(image) = outside.filter(|statement| statement.name == "RootImage") {
        return Some(format!("{} must contain {}", image.describe(), file.display()));
    }
    let base = outside.map_or(PathBuf::new(), |directory| path(&directory.value));
    let mut nearest: Option<(PathBuf, &Statement, Effect)> = None;
    for (at, statement, effect) in effects(unit) {
        // Among mounts on the same path the last one counts.
        if file.starts_with(&at) && nearest.as_ref().is_none_or(|(other, ..)| at.starts_with(other)) {
            nearest = Some((at, statement, effect));
        }
    }
    match nearest {
        Some((at, statement, Effect::Replaced(source))) => {
            let shown = source.join(file.strip_prefix(&at).unwrap_or(Path::new("")));
            let is_there = shown == file || exists(root, &shown);
            (!is_there).then(|| format!("{} hides {}", statement.describe(), file.display()))
        }
        Some((_, statement, Effect::Hidden)) => Some(format!("{} hides {}", statement.describe(), file.display())),
        None => outside
            .filter(|_| !exists(root, &base.join(file.strip_prefix("/").unwrap_or(file))))
            .map(|directory| format!("{} does not contain {}", directory.describe(), file.display())),
    }
}

fn exists(root: &Root, path: &Path) -> bool {
    root.find(path)
        .is_ok_and(|place| place.about().is_ok_and(|about| about.is_some()))
}

/// Returns the paths that the unit hides or replaces, with the statement.
fn effects(unit: &UnitFile) -> Vec<(PathBuf, &Statement, Effect)> {
    let mut effects = Vec::new();
    let yes_or = |name, other| {
        let statement = unit.last(name)?;
        (is_yes(&statement.value) || statement.value == other).then_some(statement)
    };
    if let Some(statement) = yes_or("ProtectHome", "tmpfs") {
        effects.extend(HOMES.map(|home| (PathBuf::from(home), statement, Effect::Hidden)));
    }
    // DynamicUser= implies PrivateTmp=.
    if let Some(statement) = yes_or("PrivateTmp", "disconnected").or_else(|| yes_or("DynamicUser", "")) {
        effects.extend(TEMPORARY.map(|directory| (PathBuf::from(directory), statement, Effect::Hidden)));
    }
    for name in ["TemporaryFileSystem", "InaccessiblePaths"] {
        for statement in unit.statements(name) {
            for word in words(&statement.value) {
                effects.push((
                    path(word.split(':').next().unwrap_or_default()),
                    statement,
                    Effect::Hidden,
                ));
            }
        }
    }
    for name in ["BindPaths", "BindReadOnlyPaths"] {
        for statement in unit.statements(name) {
            for word in words(&statement.value) {
                let mut parts = word.split(':');
                let source = path(parts.next().unwrap_or_default());
                let target = parts
                    .next()
                    .filter(|target| !target.is_empty())
                    .map_or_else(|| source.clone(), path);
                effects.push((target, statement, Effect::Replaced(source)));
            }
        }
    }
    effects
}

/// Returns why the service may not map `file` as a program.
fn no_exec(unit: &UnitFile, file: &Path) -> Option<String> {
    let mut nearest: Option<(PathBuf, Option<&Statement>)> = None;
    for (name, is_allowed) in [("NoExecPaths", false), ("ExecPaths", true)] {
        for statement in unit.statements(name) {
            for at in words(&statement.value).iter().map(|word| path(word)) {
                if file.starts_with(&at) && nearest.as_ref().is_none_or(|(other, _)| at.starts_with(other)) {
                    nearest = Some((at, (!is_allowed).then_some(statement)));
                }
            }
        }
    }
    let statement = nearest?.1?;
    Some(format!(
        "{} does not let it map {} as a program",
        statement.describe(),
        file.display()
    ))
}

/// Returns the path in a list of paths: `-` ignores a missing one, `+` is relative to the root directory.
fn path(word: &str) -> PathBuf {
    PathBuf::from(word.trim_start_matches(['-', '+']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(text: &str, file: &str, expected: Option<&str>) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        std::fs::create_dir_all(directory.path().join("srv/root/lib")).unwrap();
        std::fs::write(directory.path().join("srv/root/lib/a.so"), "").unwrap();
        let mut unit = UnitFile::default();
        unit.add(&format!("[Service]\n{text}\n"), PathBuf::from("/u"));
        let found = obstacle(&unit, &root, Path::new(file), Usage::Load);
        match expected {
            Some(words) => assert!(
                found.as_ref().is_some_and(|found| found.contains(words)),
                "{text}: {found:?}"
            ),
            None => assert_eq!(found, None, "{text}"),
        }
    }

    #[test]
    fn the_nearest_statement_decides() {
        for (text, file, expected) in [
            (
                "NoExecPaths=/",
                "/opt/a.so",
                Some("NoExecPaths=/ in /u does not let it map"),
            ),
            ("NoExecPaths=/\nExecPaths=/usr /opt", "/opt/a.so", None),
            ("ExecPaths=/\nNoExecPaths=-/opt", "/opt/a.so", Some("NoExecPaths=-/opt")),
            ("NoExecPaths=/opt\nNoExecPaths=", "/opt/a.so", None),
            ("NoExecPaths=/op", "/opt/a.so", None),
            (
                "TemporaryFileSystem=/opt:ro",
                "/opt/a.so",
                Some("TemporaryFileSystem=/opt:ro in /u hides"),
            ),
            ("TemporaryFileSystem=/\nBindReadOnlyPaths=/opt", "/opt/a.so", None),
            ("InaccessiblePaths=\"/opt\"", "/opt/a.so", Some("InaccessiblePaths")),
            ("BindPaths=/srv/empty:/opt", "/opt/a.so", Some("BindPaths")),
            ("BindPaths=/srv/root/lib:/opt:rbind", "/opt/a.so", None),
            ("RootDirectory=/srv/root", "/lib/a.so", None),
            (
                "RootDirectory=/srv/root",
                "/opt/a.so",
                Some("does not contain /opt/a.so"),
            ),
            ("RootDirectory=/srv/root\nBindReadOnlyPaths=/opt", "/opt/a.so", None),
            ("RootDirectory=/", "/opt/a.so", None),
            (
                "RootImage=/srv/image.raw",
                "/opt/a.so",
                Some("RootImage=/srv/image.raw"),
            ),
            ("ProtectHome=yes", "/home/a.so", Some("ProtectHome=yes")),
            ("ProtectHome=tmpfs", "/root/a.so", Some("ProtectHome=tmpfs")),
            ("ProtectHome=read-only", "/home/a.so", None),
            ("PrivateTmp=true", "/tmp/a.so", Some("PrivateTmp=true")),
            ("DynamicUser=yes", "/var/tmp/a.so", Some("DynamicUser=yes")),
        ] {
            expect(text, file, expected);
        }
    }
}
