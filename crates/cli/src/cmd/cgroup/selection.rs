//! The cgroups that a command line selects: by path or unit, by a process, or by a container.

use super::path::{find, is_unit, left_by, target};
use super::{say, shown};
use crate::error::{Error, FAILED, describe};
use clap::Args;
use keepalive_engine::cgroup::pins::Target;
use keepalive_engine::container::{self, Unfound};
use keepalive_sys::cgroup::{Tree, of_process};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// The arguments that select cgroups.
#[derive(Debug, Args)]
#[group(id = "selection", required = true, multiple = true)]
pub(super) struct Selection {
    /// A path below the mount of cgroup v2, / for the whole machine, or a running systemd unit
    #[arg(value_name = "CGROUP")]
    cgroups: Vec<OsString>,

    /// The cgroup of this process; repeatable
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,

    /// The cgroup of this running container, by its name or by at least 4 digits of its id; repeatable
    ///
    /// Containers of Docker, podman, containerd, nerdctl and CRI-O are found by the path of their cgroup. Names are read from
    /// the files of the engine; those of Kubernetes are CONTAINER, POD/CONTAINER or NAMESPACE/POD/CONTAINER. Containers of
    /// root take precedence over those of other users.
    #[arg(long, value_name = "NAME|ID")]
    container: Vec<String>,
}

/// What selects one cgroup.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A path or unit.
    Cgroup(OsString),
    /// A container's name or id.
    Container(String),
}

impl Selection {
    /// Returns the subjects, each once, and each process as the path of its cgroup.
    ///
    /// # Errors
    /// A process does not exist, or its cgroup is not seen here.
    pub(super) fn subjects(&self, tree: &Tree) -> Result<Vec<Subject>, Error> {
        let processes = self.pid.iter().map(|pid| of_pid(tree, *pid));
        let mut all: Vec<Subject> = self.cgroups.iter().cloned().map(Subject::Cgroup).collect();
        all.extend(processes.collect::<Result<Vec<_>, _>>()?);
        all.extend(self.container.iter().cloned().map(Subject::Container));
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in all {
            if !subjects.iter().any(|other| other.is_same(&subject, tree)) {
                subjects.push(subject);
            }
        }
        Ok(subjects)
    }
}

/// Returns the cgroup of a process.
fn of_pid(tree: &Tree, pid: u32) -> Result<Subject, Error> {
    let directory = of_process(tree, pid).map_err(|error| {
        let ended = error.raw_os_error() == Some(Errno::SRCH.raw_os_error());
        let outside = error.kind() == io::ErrorKind::NotFound;
        let (reason, hint) = if ended {
            (
                "there is no such process".to_owned(),
                "the process must run; threads have their process's id as Tgid in /proc/TID/status",
            )
        } else if outside {
            let reason = "its cgroup is outside of the part of the tree that is seen here";
            (
                reason.to_owned(),
                "run this on the host, or in a container with the host's cgroup namespace",
            )
        } else {
            (describe(&error), "/proc/PID/cgroup shows the cgroup after 0::")
        };
        Error::new(FAILED, format!("cannot find the cgroup of process {pid}: {reason}")).hint(hint)
    })?;
    let name = tree.name(&directory);
    let text = name.to_string_lossy();
    if container::id_of(&text).is_some() && !container::is_own_cgroup(&text) {
        say(&format!(
            "{} is only a part of its container; --container selects all of it",
            shown(&name)
        ));
    }
    Ok(Subject::Cgroup(name.into_os_string()))
}

impl Subject {
    /// Returns whether both select the same cgroup, as far as the command line shows it.
    fn is_same(&self, other: &Self, tree: &Tree) -> bool {
        match (self, other) {
            (Self::Cgroup(one), Self::Cgroup(two)) => {
                one == two
                    || self
                        .directory(tree)
                        .is_some_and(|one| other.directory(tree) == Some(one))
            }
            (Self::Container(one), Self::Container(two)) => one == two,
            _ => false,
        }
    }

    /// Returns the name, as the user wrote it.
    pub(super) fn name(&self) -> &OsStr {
        match self {
            Self::Cgroup(cgroup) => cgroup,
            Self::Container(wanted) => wanted.as_ref(),
        }
    }

    /// Returns the directory of the cgroup.
    ///
    /// # Errors
    /// No or several cgroups match.
    pub(super) fn find(&self, tree: &Tree) -> Result<PathBuf, Unfound> {
        match self {
            Self::Cgroup(cgroup) => find(tree, cgroup),
            Self::Container(wanted) => Ok(container::find(tree, wanted)?.directory),
        }
    }

    /// As [`Self::find`], where the directories of all cgroups are known.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) fn find_among(&self, tree: &Tree, directories: &[PathBuf]) -> Result<PathBuf, Unfound> {
        match self {
            Self::Cgroup(cgroup) => find(tree, cgroup),
            Self::Container(wanted) => Ok(container::find_among(tree, directories, wanted)?.directory),
        }
    }

    /// Returns the cgroup, even if it no longer exists.
    ///
    /// # Errors
    /// Several cgroups match; a path is empty or contains `..`; no container matches, and no policy is left of one.
    pub(super) fn target(&self, tree: &Tree) -> Result<Target, Error> {
        let wanted = match self {
            Self::Cgroup(cgroup) => return Ok(target(tree, cgroup)?),
            Self::Container(wanted) => wanted,
        };
        match container::find(tree, wanted) {
            Ok(found) => Ok(Target::new(tree, &found.directory)),
            Err(Unfound::Several(error)) => Err(error.into()),
            Err(Unfound::None(error)) => {
                match left_by(|name| container::was_cgroup_of(name, wanted), wanted.as_ref())? {
                    Some(name) => Ok(Target::new(tree, &tree.directory(Path::new(&name)))),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// Returns the directory of the cgroup, if its path is known even while it does not exist.
    pub(super) fn directory(&self, tree: &Tree) -> Option<PathBuf> {
        match self {
            Self::Cgroup(cgroup) if !is_unit(cgroup) => Some(tree.directory(Path::new(cgroup))),
            _ => None,
        }
    }

    /// Returns whether a new cgroup can be the one that is selected, or one above it.
    pub(super) fn can_be(&self, tree: &Tree, created: &Path) -> bool {
        if let Some(directory) = self.directory(tree) {
            return directory.starts_with(created);
        }
        let name = created.file_name().unwrap_or_default();
        match self {
            Self::Cgroup(unit) => name == unit,
            Self::Container(wanted) => name == OsStr::new(wanted) || container::is_own_cgroup(&name.to_string_lossy()),
        }
    }
}
