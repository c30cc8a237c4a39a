//! Runs commands as an ordinary user, and installs the command where ordinary users can execute it.

use super::keepalive;
use super::process::install;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A command prefix: the user nobody and the group nogroup.
pub const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// The command, installed in a directory that every user can read.
pub struct Installed(TempDir);

impl Installed {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        install(&keepalive(), &directory.path().join("keepalive"), 0o755);
        fs::write(directory.path().join("empty.conf"), "").expect("a file of the test");
        Self(directory)
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    pub fn keepalive(&self) -> PathBuf {
        self.directory().join("keepalive")
    }

    /// Returns the path of an empty rules file that every user can read.
    pub fn no_config(&self) -> PathBuf {
        self.directory().join("empty.conf")
    }
}
