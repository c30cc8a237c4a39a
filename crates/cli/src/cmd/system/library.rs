//! Chooses the file to copy for a kind of programs.

use super::abi::Abi;
use super::change::LARGEST;
use crate::error::{Error, FAILED, describe};
use keepalive_engine::preload;
use keepalive_sys::elf::{self, Machine};
use keepalive_sys::regular;
use keepalive_sys::rooted::Root;
use rustix::fs::{Mode, Stat};
use std::fs::File;
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

/// Whether this copy of the library also serves programs in secure-execution mode: then it is set-user-ID (ld.so(8)).
pub(super) fn is_setuid(about: &Stat) -> bool {
    Mode::from_raw_mode(about.st_mode).contains(Mode::SUID)
}

/// A file libkeepalive.so of this project.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) machine: Machine,
    pub(super) version: String,
    pub(super) content: Vec<u8>,
}

/// Reads the library in `file`, whose path is `path`.
///
/// # Errors
/// The file cannot be read, or is a foreign library: libkeepalive 0.3 has the same name.
fn read(path: &Path, file: io::Result<File>) -> Result<Library, String> {
    let opened = file.map_err(|error| describe(&error))?;
    let again = || opened.try_clone().map_err(|error| describe(&error));
    let content = regular::read_whole(again()?, LARGEST).map_err(|error| describe(&error))?;
    (&opened).rewind().map_err(|error| describe(&error))?;
    let machine = match elf::read_file(again()?) {
        Ok(Some(elf)) => elf.machine,
        Ok(None) => return Err("it is no ELF library".to_owned()),
        Err(error) => return Err(describe(&error)),
    };
    let version = version(opened).ok_or("it is no libkeepalive.so of this project")?;
    Ok(Library {
        path: path.to_owned(),
        machine,
        version,
        content,
    })
}

/// Returns the version of the library in this file, if it is keepalive's.
pub(super) fn version(file: File) -> Option<String> {
    let note = elf::note_of_file(file, "keepalive").ok()??;
    String::from_utf8(note).ok()
}

/// Reads the libraries that the user has named.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn named(paths: &[PathBuf]) -> Result<Vec<Library>, Error> {
    let read = |path: &PathBuf| {
        read(path, regular::open(path)).map_err(|reason| {
            Error::new(FAILED, format!("cannot use '{}': {reason}", path.display()))
                .hint("--library names a libkeepalive.so that was built with this command")
        })
    };
    paths.iter().map(read).collect()
}

/// Finds the library for `abi`: a named library; else the one that `keepalive run` finds; else that of a
/// package in that system; else the existing copy.
pub(super) fn find(root: &Root, abi: &Abi, named: &mut Vec<Library>) -> Option<Library> {
    if let Some(index) = named.iter().position(|library| library.machine == abi.machine) {
        return Some(named.swap_remove(index));
    }
    let ours = preload::candidates().into_iter().map(|path| {
        let file = regular::open(&path);
        (path, file)
    });
    let packaged = Path::new("/usr").join(preload::OTHER_DIRECTORY);
    let theirs = [
        abi.directory.inside().join(preload::FILE),
        packaged.join(preload::FILE),
        abi.copy().inside(),
    ];
    let theirs = theirs.into_iter().map(|path| {
        let file = root.open_file(&path);
        (root.outside(&path), file)
    });
    ours.chain(theirs)
        .filter_map(|(path, file)| read(&path, file).ok())
        .find(|library| library.machine == abi.machine)
}
