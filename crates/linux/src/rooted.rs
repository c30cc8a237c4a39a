//! Files below a directory that is, or will be, the root directory of a system: an image, a chroot, or `/` itself.
//!
//! Links are followed as that system follows them (path_resolution(7)): an absolute one begins at its root, and `..` does
//! not leave it. Nothing here defends against somebody who changes the tree at the same time.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// A root directory.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The root directory at `path`.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be reached.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        Ok(Self(path))
    }

    /// Whether this is our own root directory.
    pub fn is_ours(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where it is for us.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `outside`, a path of ours below it, as the system there names it.
    pub fn inside(&self, outside: &Path) -> PathBuf {
        Path::new("/").join(outside.strip_prefix(&self.0).unwrap_or(outside))
    }

    /// Where the file that the system there calls `inside` is for us, all links followed. The file itself need not exist.
    ///
    /// # Errors
    /// A directory on the way is missing or cannot be searched; `ELOOP`.
    pub fn resolve(&self, inside: &Path) -> io::Result<PathBuf> {
        let mut place = self.0.clone();
        let mut rest: Vec<OsString> = Vec::new();
        push(&mut rest, inside);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                if place != self.0 {
                    place.pop();
                }
                continue;
            }
            let next = place.join(&name);
            match next.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > LINKS {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = next.read_link()?;
                    if target.is_absolute() {
                        place.clone_from(&self.0);
                    }
                    push(&mut rest, &target);
                }
                Ok(_) => place = next,
                Err(error) if error.kind() == io::ErrorKind::NotFound && rest.is_empty() => place = next,
                Err(error) => return Err(error),
            }
        }
        Ok(place)
    }
}

/// Puts the names of `path` before what is left to do, of which the last comes first.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    rest.extend(names);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_the_system_there_follows_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        fs::create_dir_all(root.path().join("usr/lib/deep")).unwrap();
        fs::write(root.path().join("usr/lib/file"), "").unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("lib64", "/usr/lib"),
            ("usr/lib/deep/up", "../../../../../usr"),
            ("usr/lib/link", "/lib64/file"),
            ("dangling", "/lib/none"),
            ("circle", "circle"),
        ] {
            symlink(target, root.path().join(link)).unwrap();
        }
        let file = root.path().join("usr/lib/file");
        for path in [
            "/lib/file",
            "/lib64/file",
            "/lib/link",
            "/lib/deep/up/lib/file",
            "lib/../../lib64/./link",
        ] {
            assert_eq!(root.resolve(Path::new(path)).unwrap(), file, "{path}");
        }
        assert_eq!(root.inside(&file), Path::new("/usr/lib/file"));
        let missing = root.path().join("usr/lib/none");
        assert_eq!(root.resolve(Path::new("/dangling")).unwrap(), missing);
        assert_eq!(root.resolve(Path::new("/../..")).unwrap(), root.path());
        for path in ["/none/file", "/circle"] {
            assert!(root.resolve(Path::new(path)).is_err(), "{path}");
        }
    }
}
