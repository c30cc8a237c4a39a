//! The kinds of dynamic programs that a system runs: their loaders and C libraries.

use super::place::{LIBRARY, library_directories};
use keepalive_sys::elf::{self, Machine};
use keepalive_sys::rooted::{Directory, Place, Root};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where glibc's loader is, by architecture (glibc, sysdeps/unix/sysv/linux, shlib-versions). It stands in every program.
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

/// The programs of one machine and glibc. Its paths are those that the system itself has for them.
#[derive(Clone, Debug)]
pub(super) struct Abi {
    pub(super) machine: Machine,
    pub(super) loader: PathBuf,
    /// The C library, which is a program too: run by its loader, it prints its version.
    pub(super) libc: PathBuf,
    /// The directory of the C library, whose files every program may load, also where AppArmor confines it.
    pub(super) directory: Rc<Directory>,
}

impl Abi {
    /// The place of the library's copy.
    pub(super) fn copy(&self) -> Place {
        Place::new(self.directory.clone(), LIBRARY)
    }

    /// What `$LIB` is for its loader (ld.so(8)), and what comes before it: `/usr/` and `lib/x86_64-linux-gnu`.
    pub(super) fn lib(&self) -> Option<(&'static str, &str)> {
        let directory = self.directory.inside().to_str()?;
        ["/usr/", "/"]
            .into_iter()
            .find_map(|prefix| Some((prefix, directory.strip_prefix(prefix)?)))
            .filter(|(_, rest)| rest.starts_with("lib"))
    }
}

/// What is on a system.
#[derive(Debug, Default)]
pub(super) struct Abis {
    pub(super) glibc: Vec<Abi>,
    /// Loaders of musl, which do not read the file.
    pub(super) musl: Vec<PathBuf>,
}

/// Looks for all of them.
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

/// The one with this loader. A loader without a C library runs nothing, and one of musl may stand in for glibc's.
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
    // Distributions have them side by side; who makes a small root directory by hand may not.
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

/// How the line names the copies for all of `abis`: by a path, or where there are several by one that each loader
/// completes; `None` where no path does it.
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
