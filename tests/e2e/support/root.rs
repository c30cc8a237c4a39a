//! Creates a root directory for one test, with a C library, for chroot(1).

use super::find_program;
use super::process::install;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The directory. Dropping this value removes it.
pub struct SmallRoot(TempDir);

impl SmallRoot {
    /// Returns why such a directory is impossible here, or one with set-user-ID programs, if it is.
    pub fn missing() -> Option<String> {
        for needed in ["chroot", "ldd"] {
            if find_program(needed).is_none() {
                return Some(format!("{needed} is not installed"));
            }
        }
        if !geteuid().is_root() {
            return Some("only root can enter a root directory and make a set-user-ID program".to_owned());
        }
        let flags = statvfs(std::env::temp_dir()).expect("it is there").f_flag;
        flags
            .contains(StatVfsMountFlags::NOSUID)
            .then(|| "temporary files cannot be set-user-ID (nosuid)".to_owned())
    }

    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        // Links of this machine (merged /usr) are links there too.
        for name in ["bin", "lib", "lib32", "lib64", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                fs::create_dir_all(directory.path().join(&target)).expect("a directory of the test");
                symlink(target, directory.path().join(name)).expect("a link of the test");
            }
        }
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the path of `path` outside of the root directory.
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.0.path().join(path.strip_prefix("/").expect("an absolute path"))
    }

    /// Copies `file` to the path `to` in the root directory.
    pub fn install(&self, file: &Path, to: &Path, mode: u32) {
        let to = self.outside(to);
        fs::create_dir_all(to.parent().expect("it is in a directory")).expect("a directory of the test");
        install(file, &to, mode);
    }

    /// Copies a program of this machine to the same path in the root directory, with the libraries that it needs.
    pub fn bring(&self, program: &Path) {
        self.install(program, program, 0o755);
        self.bring_needed_by(program);
    }

    /// Copies the libraries and the loader that `program` needs. Returns the directory of the C library.
    pub fn bring_needed_by(&self, program: &Path) -> PathBuf {
        let mut trusted = None;
        for file in needed_by(program) {
            let real = file.canonicalize().expect("ldd has seen it");
            if !self.outside(&real).exists() {
                self.install(&real, &real, 0o755);
            }
            let link = self.outside(&file);
            if !link.exists() {
                fs::create_dir_all(link.parent().expect("it is in a directory")).expect("a directory of the test");
                symlink(&real, link).expect("a link of the test");
            }
            if file.file_name().is_some_and(|name| name == "libc.so.6") {
                trusted = real.parent().map(Path::to_owned);
            }
        }
        trusted.expect("the program needs a C library")
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.outside(Path::new(path));
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory of the test");
        fs::write(path, text).expect("a file of the test");
    }
}

/// Returns the files that the loader loads for `program`, including the loader (ldd(1)).
fn needed_by(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().expect("ldd starts").stdout;
    String::from_utf8(listed)
        .expect("UTF-8 paths")
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}
