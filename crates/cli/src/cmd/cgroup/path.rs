//! Cgroups by their path, or by the name of a systemd unit.

use super::shown;
use keepalive_engine::Error;
use keepalive_engine::cgroup::entry::{Entry, entries};
use keepalive_engine::cgroup::pins::Target;
use keepalive_engine::container::Unfound;
use keepalive_sys::cgroup::Tree;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The suffixes of systemd units that have processes (`systemd.unit(5)`).
const UNITS: [&str; 7] = [".service", ".slice", ".scope", ".socket", ".mount", ".swap", ".target"];

/// Returns whether this is the name of a unit, not a path.
pub(super) fn is_unit(cgroup: &OsStr) -> bool {
    let name = cgroup.to_string_lossy();
    !name.contains('/') && UNITS.iter().any(|suffix| name.ends_with(suffix))
}

/// Returns the directory of the cgroup that the user has named.
///
/// # Errors
/// No or several cgroups match.
pub(super) fn find(tree: &Tree, cgroup: &OsStr) -> Result<PathBuf, Unfound> {
    check(cgroup).map_err(Unfound::None)?;
    let directory = tree.directory(Path::new(cgroup));
    if directory.is_dir() {
        return Ok(directory);
    }
    let units = if is_unit(cgroup) {
        tree.units(cgroup)
    } else {
        Vec::new()
    };
    match units.as_slice() {
        [unit] => Ok(unit.clone()),
        [] => {
            let error = Error::new(format!("there is no cgroup '{}'", shown(cgroup)));
            Err(Unfound::None(error.with_hint(if is_unit(cgroup) {
                "a unit has a cgroup only while it runs; 'systemctl status UNIT' shows which"
            } else {
                "the path is below the mount of cgroup v2, as /proc/PID/cgroup shows it after 0::"
            })))
        }
        several => {
            let names: Vec<_> = several.iter().map(|unit| shown(tree.name(unit))).collect();
            let error = Error::new(format!("there are {} cgroups '{}'", several.len(), shown(cgroup)));
            Err(Unfound::Several(
                error.with_hint(format!("say which: {}", names.join(", "))),
            ))
        }
    }
}

/// Returns the cgroup that the user has named, even if it does not exist.
///
/// # Errors
/// The path is empty or contains `..`; several cgroups match, or the policies of several that no longer exist.
pub(super) fn target(tree: &Tree, cgroup: &OsStr) -> Result<Target, Error> {
    check(cgroup)?;
    let directory = match find(tree, cgroup) {
        Ok(directory) => directory,
        Err(Unfound::Several(error)) => return Err(error),
        Err(Unfound::None(_)) => {
            // For a unit that has ended, the stored entry contains the cgroup's name.
            let is_of_unit = |name: &String| is_unit(cgroup) && Path::new(name).file_name() == Some(cgroup);
            let kept = left_by(is_of_unit, cgroup)?;
            tree.directory(Path::new(kept.as_deref().map_or(cgroup, OsStr::new)))
        }
    };
    Ok(Target::new(tree, &directory))
}

/// Returns the name of the cgroup whose policy is left, among those that match.
///
/// # Errors
/// Several match.
pub(super) fn left_by(is_meant: impl Fn(&String) -> bool, wanted: &OsStr) -> Result<Option<String>, Error> {
    let entries = entries().unwrap_or_default();
    let mut names: BTreeSet<String> = entries.iter().map(Entry::name).filter(is_meant).collect();
    if names.len() <= 1 {
        return Ok(names.pop_first());
    }
    let error = Error::new(format!(
        "there are the policies of {} cgroups '{}'",
        names.len(),
        shown(wanted)
    ));
    let names: Vec<_> = names.iter().map(shown).collect();
    Err(error.with_hint(format!("say which: {}", names.join(", "))))
}

/// Refuses `..`, which the file system would resolve differently, and a path of nothing, which is not the whole machine.
fn check(cgroup: &OsStr) -> Result<(), Error> {
    let mut parts = Path::new(cgroup).components();
    if parts.clone().all(|part| part == Component::CurDir) {
        let error = Error::new(format!("there is no cgroup '{}'", shown(cgroup)));
        return Err(error.with_hint("the path is empty; / is the whole machine"));
    }
    if parts.all(|part| part != Component::ParentDir) {
        return Ok(());
    }
    let error = Error::new(format!("there is no cgroup '{}'", shown(cgroup)));
    Err(error
        .with_hint("write the path without '..'; one in /proc/PID/cgroup that begins with /.. is not seen from here"))
}
