//! Finds the libraries that a program requires, in the order of the loader (ld.so(8)).

use crate::arch::MULTIARCH;
use crate::elf::{Code, Machine};
use crate::regular;
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The limit of libraries; programs of desktops have up to 150.
const MOST: usize = 64;
/// glibc's list of all libraries in the directories of `/etc/ld.so.conf` (ldconfig(8)).
const CACHE: &str = "/etc/ld.so.cache";
const LARGEST_CACHE: u64 = 4 << 20;

/// A program or library, or the name of a library that was not found or cannot be read.
pub type Found = Result<Code, (PathBuf, io::Error)>;

/// A program and the libraries that it requires, directly or indirectly, without the C library. Each is opened when it
/// is asked for.
#[derive(Debug)]
pub struct Libraries {
    /// The files that come next: a path, or a name and the directories in which its user searches it.
    next: VecDeque<(PathBuf, Vec<PathBuf>)>,
    seen: HashSet<PathBuf>,
    cache: Option<Vec<u8>>,
    /// The machine code of the program, which its libraries have too.
    machine: Option<Machine>,
}

impl Libraries {
    /// Begins with the program at `path`.
    pub fn of(path: &Path) -> Self {
        Self {
            next: VecDeque::from([(path.to_owned(), Vec::new())]),
            seen: HashSet::new(),
            cache: None,
            machine: None,
        }
    }

    fn find(&mut self, name: &Path, directories: &[PathBuf]) -> io::Result<Code> {
        if name.as_os_str().as_bytes().contains(&b'/') {
            return Code::open(name);
        }
        let variable = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let system = MULTIARCH.iter().chain(&["lib64", "lib"]);
        let system = system.flat_map(|lib| [Path::new("/").join(lib), Path::new("/usr").join(lib)]);
        let directories = std::env::split_paths(&variable)
            .chain(directories.iter().cloned())
            .chain(system);
        let machine = self.machine;
        let open = |path: &Path| {
            let code = Code::open(path).ok();
            code.filter(|code| machine.is_none_or(|machine| code.machine() == machine))
        };
        let mut candidates = directories.map(|directory| directory.join(name));
        if let Some(code) = candidates.find_map(|path| open(&path)) {
            return Ok(code);
        }
        let read = || regular::read(Path::new(CACHE), LARGEST_CACHE).unwrap_or_default();
        let cache = self.cache.get_or_insert_with(read);
        let found = cached(cache, name).find_map(open);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Iterator for Libraries {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let (name, directories) = self.next.pop_front()?;
        let found = self.find(&name, &directories).and_then(|mut code| {
            self.machine = self.machine.or_else(|| Some(code.machine()));
            let (needed, directories) = code.needed()?;
            for name in needed {
                if !is_of_libc(&name) && self.seen.insert(name.clone()) {
                    self.next.push_back((name, directories.clone()));
                }
            }
            Ok(code)
        });
        if self.seen.len() > MOST {
            self.next.clear();
            return Some(Err((name, io::ErrorKind::FileTooLarge.into())));
        }
        Some(found.map_err(|error| (name, error)))
    }
}

/// Returns the paths of the libraries with this name in the content of [`CACHE`], where they are strings.
fn cached<'a>(cache: &'a [u8], name: &Path) -> impl Iterator<Item = &'a Path> {
    let end = [b"/", name.as_os_str().as_bytes()].concat();
    let strings = cache.split(|byte| *byte == 0);
    let paths = strings.filter(move |string| string.first() == Some(&b'/') && string.ends_with(&end));
    paths.map(|path| Path::new(OsStr::from_bytes(path)))
}

/// Returns whether this is a part of the C library, glibc or musl. Its names are a convention that no file states; its
/// calls into the kernel are those that the preload library knows.
fn is_of_libc(name: &Path) -> bool {
    const PARTS: [&str; 12] = [
        "libc.so",
        "libc.musl-",
        "ld-",
        "libpthread.so",
        "libdl.so",
        "librt.so",
        "libm.so",
        "libmvec.so",
        "libresolv.so",
        "libutil.so",
        "libanl.so",
        "libnsl.so.1",
    ];
    let name = name.file_name().and_then(OsStr::to_str).unwrap_or_default();
    PARTS.iter().any(|part| name.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_libraries_but_not_with_the_c_library() {
        let this = std::env::current_exe().unwrap();
        let files: Vec<PathBuf> = Libraries::of(&this)
            .map(|found| found.unwrap().path().to_owned())
            .collect();
        assert_eq!(files[0], this);
        assert!(
            files[1..]
                .iter()
                .all(|path| !path.to_str().unwrap().contains("libc.so")),
            "{files:?}"
        );
    }

    #[test]
    fn the_cache_names_every_library_with_this_name() {
        let cache = b"glibc-ld.so.cache1.1\0\x01\0libz.so.1\0/lib/a/libz.so.1\0xlibz.so.1\0/lib/b/libz.so.1\0/lib/libxlibz.so.1\0";
        let found: Vec<&Path> = cached(cache, Path::new("libz.so.1")).collect();
        assert_eq!(found, [Path::new("/lib/a/libz.so.1"), Path::new("/lib/b/libz.so.1")]);
    }
}
