//! The effects of a name in LD_PRELOAD on other programs that inherit it: the loaders of other machines print
//! an error about a library that they cannot load, and programs with AddressSanitizer's runtime do not start.

use super::{FILE, is_ours};
use keepalive_sys::arch::{LOADER, MULTIARCH, OTHER_LOADERS};
use keepalive_sys::elf::{self, Machine};
use keepalive_sys::program::{Format, Program};
use keepalive_sys::regular;
use keepalive_sys::trial::{Trial, is_foreign};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Returns the library directories that glibc's `$LIB` stands for (ld.so(8)), Debian's first; each loader has
/// one of them.
fn directories() -> impl Iterator<Item = &'static str> {
    MULTIARCH.iter().copied().chain(["lib64", "lib32", "libx32", "lib"])
}

/// A name with `$LIB`, by which programs of several machines each load their library.
#[derive(Debug)]
pub(super) struct SharedName {
    pub(super) name: OsString,
    /// The kinds of programs that can run here, but find no library by this name.
    pub(super) unserved: Vec<Machine>,
}

/// Returns the name by which `program` loads the library at `path`, and programs of other machines load
/// theirs. Returns `None` if there is no library for other machines, or if the loader of `program` does not
/// expand the name to this library. musl has no `$LIB`.
///
/// The libraries may be installed as distributions do it (`/usr/lib/x86_64-linux-gnu`,
/// `/usr/lib/i386-linux-gnu`), or below one of `trees`. Packages use such a tree because a package for one
/// architecture must not use the directory of another.
pub(super) fn shared_name(path: &Path, program: &Program, trees: &[PathBuf]) -> Option<SharedName> {
    let directory = path
        .parent()
        .filter(|_| path.file_name().is_some_and(|name| name == FILE))?;
    let machine = elf::read(path).ok()??.machine;
    let has_others = |prefix: &&Path| {
        let mut others = directories().map(|lib| prefix.join(lib).join(FILE));
        others.any(|other| machine_of_library(&other).is_some_and(|other| other != machine))
    };
    let parent = directories().find_map(|lib| {
        let depth = Path::new(lib).components().count();
        directory.ancestors().nth(depth).filter(|_| directory.ends_with(lib))
    });
    // If only one kind of program can run, the path itself is simpler, and musl supports it.
    let is_needed = loaders().any(|(_, other)| other != machine);
    let trees = trees.iter().filter(|_| is_needed).map(PathBuf::as_path);
    let prefixes: Vec<&Path> = parent.into_iter().chain(trees).filter(has_others).collect();
    if prefixes.is_empty() {
        return None;
    }
    let loader = match &program.format {
        Format::Elf(elf) => elf.interpreter.as_deref(),
        Format::Unreadable | Format::Other => None,
    };
    let loader = loader.unwrap_or(Path::new(LOADER));
    let own = lib_of(loader)?;
    prefixes
        .into_iter()
        .filter(|prefix| is_same_file(&prefix.join(own).join(FILE), path))
        .map(|prefix| SharedName {
            name: prefix.join("$LIB").join(FILE).into_os_string(),
            unserved: loaders()
                .filter(|(other, _)| *other != loader)
                .filter(|(other, machine)| !is_served(prefix, other, *machine) && does_run(other))
                .map(|(_, machine)| machine)
                .collect(),
        })
        .min_by_key(|shared| shared.unserved.len())
}

/// Returns the kinds of dynamically linked programs that run here and are not for `machine`.
pub(super) fn other_machines(machine: Machine) -> Vec<Machine> {
    loaders()
        .filter(|(loader, other)| *other != machine && does_run(loader))
        .map(|(_, other)| other)
        .collect()
}

/// Returns whether the loader of a program of this system reads LD_PRELOAD. The loaders of glibc and musl, at
/// any path, contain that name as a string. Another loader may be a program that finds and starts the real
/// loader.
pub(super) fn reads_preload(loader: &Path) -> bool {
    /// The limit of a loader's size; musl's loaders contain its whole C library.
    const LARGEST: u64 = 16 << 20;
    const NAME: &[u8] = b"LD_PRELOAD\0";
    if loader == Path::new(LOADER) {
        return true;
    }
    regular::read(loader, LARGEST).is_ok_and(|content| contains(&content, NAME))
}

/// Returns glibc's loaders on this machine.
fn loaders() -> impl Iterator<Item = (&'static Path, Machine)> {
    let all = OTHER_LOADERS.iter().chain([&LOADER]).map(Path::new);
    all.filter_map(|loader| Some((loader, elf::read(loader).ok()??.machine)))
}

/// Returns whether the kernel runs programs with this loader: gcc-multilib installs that of x32, which few
/// kernels support.
fn does_run(loader: &Path) -> bool {
    let trial = Trial {
        program: loader.to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    !trial.run(Duration::from_secs(1)).is_err_and(|error| is_foreign(&error))
}

/// Returns whether `loader` finds a library for `machine` by the name `prefix/$LIB`.
fn is_served(prefix: &Path, loader: &Path, machine: Machine) -> bool {
    let library = lib_of(loader).and_then(|lib| machine_of_library(&prefix.join(lib).join(FILE)));
    library == Some(machine)
}

/// Returns the machine of the file at `path`, if it is keepalive's library.
fn machine_of_library(path: &Path) -> Option<Machine> {
    let elf = elf::read(path).ok()??;
    is_ours(path).then_some(elf.machine)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

/// Returns the value of `$LIB` for this loader: glibc's loader contains it as a string.
fn lib_of(loader: &Path) -> Option<&'static str> {
    let bytes = fs::read(loader).ok()?;
    directories().find(|directory| {
        let string = [b"\0", directory.as_bytes(), b"\0"].concat();
        contains(&bytes, &string)
    })
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

/// Returns whether programs with AddressSanitizer's runtime as a library can run on this machine: the
/// loader's cache contains GCC's runtime, or Clang is installed.
pub fn has_asan_programs() -> bool {
    let needle = b"libasan.so";
    let has_gcc =
        fs::read("/etc/ld.so.cache").is_ok_and(|cache| cache.windows(needle.len()).any(|window| window == needle));
    has_gcc || Path::new("/usr/lib/clang").exists()
}
