//! The cgroup that a command is for.

use keepalive_sys::cgroup::{self, Tree};
use std::path::{Path, PathBuf};

/// A cgroup that the user has named.
#[derive(Debug)]
pub struct Target {
    /// The path of the cgroup in the tree.
    pub name: PathBuf,
    /// The number of the cgroup, while it exists.
    pub(super) id: Option<u64>,
}

impl Target {
    /// Creates a target from the directory of a cgroup.
    pub fn new(tree: &Tree, directory: &Path) -> Self {
        Self {
            name: tree.name(directory),
            id: cgroup::id(directory).ok(),
        }
    }

    /// Creates a target from the former directory and the number of a cgroup that may have been removed. For some
    /// milliseconds after its removal the kernel still has the policy attached to the cgroup with this number.
    pub fn former(tree: &Tree, directory: &Path, id: u64) -> Self {
        Self {
            name: tree.name(directory),
            id: Some(id),
        }
    }
}
