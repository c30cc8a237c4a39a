//! What a name in LD_PRELOAD does to other programs that inherit it: those of other machines, whose loader complains of a
//! library that it cannot load, and those with AddressSanitizer's runtime, which do not start.

use super::{FILE, is_ours};
use keepalive_linux::elf::{self, Machine};
use keepalive_linux::program::{Format, Program};
use keepalive_linux::regular;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of libraries that glibc's `$LIB` stands for (ld.so(8)): Debian's, and those of others; the second is that
/// of 32-bit programs on the same machine.
const PAIRS: [[&str; 2]; 3] = [
    ["lib/x86_64-linux-gnu", "lib/i386-linux-gnu"],
    ["lib/aarch64-linux-gnu", "lib/arm-linux-gnueabihf"],
    ["lib64", "lib"],
];

/// glibc's loaders of other programs that the machine may execute too.
const OTHER_LOADERS: &[&str] = if cfg!(target_arch = "x86_64") {
    &["/lib/ld-linux.so.2", "/libx32/ld-linux-x32.so.2"]
} else if cfg!(target_arch = "aarch64") {
    &["/lib/ld-linux-armhf.so.3"]
} else {
    &[]
};

/// The loader of programs that are not known.
const LOADER: &str = if cfg!(target_arch = "x86_64") {
    "/lib64/ld-linux-x86-64.so.2"
} else {
    "/lib/ld-linux-aarch64.so.1"
};

/// The name with `$LIB` by which 64-bit and 32-bit programs each load the library that they can, where both are installed and
/// the loader of `program` agrees on the directories. musl has no `$LIB`.
pub(super) fn name_for_all(path: &Path, machine: Machine, program: &Program) -> Option<OsString> {
    let loader = match &program.format {
        Format::Elf(elf) => elf.interpreter.clone()?,
        Format::Unreadable | Format::Other => PathBuf::from(LOADER),
    };
    let directory = path
        .parent()
        .filter(|_| path.file_name().is_some_and(|name| name == FILE))?;
    let [own, other] = PAIRS.into_iter().find(|[own, _]| directory.ends_with(own))?;
    let depth = Path::new(own).components().count();
    let prefix = directory.ancestors().nth(depth)?;
    let other = prefix.join(other).join(FILE);
    let is_other = is_ours(&other)
        && elf::read(&other)
            .ok()
            .flatten()
            .is_some_and(|elf| elf.machine != machine);
    (is_other && expands_to(&loader, own)).then(|| prefix.join("$LIB").join(FILE).into_os_string())
}

/// Whether `$LIB` is `directory` to this loader: glibc's keeps it as a string.
fn expands_to(loader: &Path, directory: &str) -> bool {
    let string = [b"\0", directory.as_bytes(), b"\0"].concat();
    fs::read(loader).is_ok_and(|bytes| bytes.windows(string.len()).any(|window| window == string))
}

/// Whether the loader of a program of this system reads LD_PRELOAD: those of glibc and musl, wherever they are, have its name
/// as a string. Another one may be a program that finds and starts the real loader.
pub(super) fn reads_preload(loader: &Path) -> bool {
    /// Loaders of musl have its whole C library.
    const LARGEST: u64 = 16 << 20;
    const NAME: &[u8] = b"LD_PRELOAD\0";
    if loader == Path::new(LOADER) {
        return true;
    }
    regular::read(loader, LARGEST).is_ok_and(|content| content.windows(NAME.len()).any(|window| window == NAME))
}

/// Whether 32-bit dynamic programs, or those of another ABI, can run on this machine. Of a library that is not theirs each
/// complains on standard error.
pub(crate) fn has_other_programs() -> bool {
    OTHER_LOADERS.iter().any(|loader| Path::new(loader).exists())
}

/// Whether programs with AddressSanitizer's runtime as a library can run on this machine: its loader knows that of GCC, or
/// Clang is installed.
pub(crate) fn has_asan_programs() -> bool {
    let needle = b"libasan.so";
    let has_gcc =
        fs::read("/etc/ld.so.cache").is_ok_and(|cache| cache.windows(needle.len()).any(|window| window == needle));
    has_gcc || Path::new("/usr/lib/clang").exists()
}
