//! Runs programs in another Debian release, which `scripts/test-chroot` has installed.

use super::process::install;
use super::repository;
use rustix::process::geteuid;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Returns the root directory of the chroot, or why it cannot be used.
pub fn root_of(suite: &str) -> Result<PathBuf, String> {
    let root = repository().join("target/chroots").join(suite);
    if !root.is_dir() {
        return Err(format!(
            "there is no chroot of {suite}; run scripts/test-chroot {suite}"
        ));
    }
    if !geteuid().is_root() {
        return Err("only root can enter a chroot".to_owned());
    }
    Ok(root)
}

/// A directory of one test in a chroot. Dropping this value removes the directory.
pub struct Chroot {
    root: PathBuf,
    directory: TempDir,
}

impl Chroot {
    /// Creates the directory. Call this only if [`root_of`] returns a root.
    pub fn new(suite: &str) -> Self {
        let root = root_of(suite).unwrap_or_else(|why| panic!("{why}"));
        let directory = tempfile::Builder::new()
            .prefix("keepalive-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(root.join("tmp"))
            .expect("a temporary directory in the chroot");
        Self { root, directory }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Copies `file` into the chroot, and returns its path there.
    pub fn bring(&self, file: &Path) -> PathBuf {
        let copy = self
            .directory
            .path()
            .join(file.file_name().expect("the path of a file"));
        if !copy.exists() {
            install(file, &copy, 0o755);
        }
        let inside = copy.strip_prefix(&self.root).expect("a directory in the chroot");
        Path::new("/").join(inside)
    }
}
