//! The kinds of dynamically linked programs that a system runs: their loaders and C libraries.

use super::place::{LIBRARY, library_directories};
use keepalive_sys::elf::{self, Machine};
use keepalive_sys::rooted::{Directory, Place, Root};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The paths of glibc's loader, by architecture (glibc, sysdeps/unix/sysv/linux, shlib-versions). Every
/// program contains its loader's path.
const LOADERS: [&str; 11] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux.so.2",
    "/libx32/ld-linux-x32.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-linux.so.3",
    "/lib/ld-linux-riscv64-lp64d.so.1",
    "/lib64/ld64.so.2",
    "/lib/ld64.so.1",
    "/lib64/ld-linux-loongarch-lp64d.so.1",
    "/lib64/ld64.so.1",
];

/// The programs of one machine and glibc. The paths are those inside the system.
#[derive(Clone, Debug)]
pub(super) struct Abi {
    pub(super) machine: Machine,
    pub(super) loader: PathBuf,
    /// The C library, which is also a program: its loader can run it, and it prints its version.
    pub(super) libc: PathBuf,
    /// The directory of the C library. Every program may load its files, even under AppArmor.
    pub(super) directory: Rc<Directory>,
}

impl Abi {
    /// Returns the path of the library's copy.
    pub(super) fn copy(&self) -> Place {
        Place::new(self.directory.clone(), LIBRARY)
    }

    /// Returns the loader's value of `$LIB` (ld.so(8)), after what precedes it: `/usr/` and `lib/x86_64-linux-gnu`.
    pub(super) fn lib(&self) -> Option<(&'static str, &str)> {
        let directory = self.directory.inside().to_str()?;
        ["/usr/", "/"]
            .into_iter()
            .find_map(|prefix| Some((prefix, directory.strip_prefix(prefix)?)))
            .filter(|(_, rest)| rest.starts_with("lib"))
    }
}

/// The kinds of programs on a system.
#[derive(Debug, Default)]
pub(super) struct Abis {
    pub(super) glibc: Vec<Abi>,
    /// Loaders of musl, which do not read `/etc/ld.so.preload`.
    pub(super) musl: Vec<PathBuf>,
}

/// Finds all kinds of programs.
pub(super) fn present(root: &Root) -> Abis {
    let glibc = LOADERS
        .iter()
        .filter_map(|loader| abi(root, Path::new(loader)))
        .collect();
    let names = root
        .directory(Path::new("/lib"))
        .and_then(|directory| directory.names());
    let musl: Vec<PathBuf> = names
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.to_string_lossy().starts_with("ld-musl-"))
        .map(|name| Path::new("/lib").join(name))
        .collect();
    Abis { glibc, musl }
}

/// Returns the kind with this loader. A loader without a C library runs no program, and a loader of musl may
/// have the name of glibc's.
fn abi(root: &Root, loader: &Path) -> Option<Abi> {
    let real = root.find(loader).ok()?;
    let machine = elf::read_file(real.open().ok()?).ok()??.machine;
    if real.name().to_string_lossy().starts_with("ld-musl-") {
        return None;
    }
    let libc_of = |directory: &Directory| directory.inside().join("libc.so.6");
    let has_libc = |directory: &Rc<Directory>| {
        let libc = root.open_file(&libc_of(directory)).and_then(elf::read_file);
        libc.ok().flatten().is_some_and(|libc| libc.machine == machine)
    };
    // Distributions install loader and C library in the same directory; a root directory made by hand may not.
    let beside = real.directory();
    let all = library_directories(root);
    let same = all.iter().find(|directory| directory.inside() == beside.inside());
    let directory = std::iter::once(same.unwrap_or(beside))
        .chain(&all)
        .find(|directory| has_libc(directory))?;
    Some(Abi {
        machine,
        loader: loader.to_owned(),
        libc: libc_of(directory),
        directory: directory.clone(),
    })
}

/// Returns the name of the copies of all `abis` for the line: a path, or for several kinds one with `$LIB`,
/// which each loader expands; `None` if no name fits all.
pub(super) fn spelling(abis: &[Abi]) -> Option<String> {
    match abis {
        [] => None,
        [abi] => abi.copy().inside().to_str().map(str::to_owned),
        [first, others @ ..] => {
            let (prefix, _) = first.lib()?;
            let is_shared = others
                .iter()
                .all(|abi| abi.lib().is_some_and(|(other, _)| other == prefix));
            is_shared.then(|| format!("{prefix}$LIB/{LIBRARY}"))
        }
    }
}
