//! Which file becomes the copy for a kind of programs.

use super::abi::Abi;
use crate::engine::preload;
use crate::error::{Error, FAILED, describe};
use keepalive_linux::elf::{self, Machine};
use keepalive_linux::rooted::Root;
use std::fs;
use std::path::{Path, PathBuf};

/// A libkeepalive.so of this project.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) machine: Machine,
    pub(super) version: String,
    pub(super) content: Vec<u8>,
}

/// Reads the library at `path`.
///
/// # Errors
/// It cannot be read, or is another one: libkeepalive 0.3 has the same name.
pub(super) fn read(path: &Path) -> Result<Library, String> {
    let machine = match elf::read(path) {
        Ok(Some(elf)) => elf.machine,
        Ok(None) => return Err("it is no ELF library".to_owned()),
        Err(error) => return Err(describe(&error)),
    };
    let version = version(path).ok_or("it is no libkeepalive.so of this project")?;
    let content = fs::read(path).map_err(|error| describe(&error))?;
    Ok(Library {
        path: path.to_owned(),
        machine,
        version,
        content,
    })
}

/// The version of the library at `path`, if it is one of ours.
pub(super) fn version(path: &Path) -> Option<String> {
    let note = elf::note(path, "keepalive").ok()??;
    String::from_utf8(note).ok()
}

/// Those that the user names.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn named(paths: &[PathBuf]) -> Result<Vec<Library>, Error> {
    let read = |path: &PathBuf| {
        read(path).map_err(|reason| {
            Error::new(FAILED, format!("cannot use '{}': {reason}", path.display()))
                .hint("--library names a libkeepalive.so that was built with this command")
        })
    };
    paths.iter().map(read).collect()
}

/// The library for `abi`: one of those that were named; else where `keepalive run` looks; else where a package of that
/// system has it; else the copy that is there already.
pub(super) fn find(root: &Root, abi: &Abi, named: &mut Vec<Library>) -> Option<Library> {
    if let Some(index) = named.iter().position(|library| library.machine == abi.machine) {
        return Some(named.swap_remove(index));
    }
    let packaged = root.resolve(&abi.directory.join(preload::FILE)).ok();
    let copy = root.resolve(&abi.copy()).ok();
    preload::candidates()
        .into_iter()
        .chain(packaged)
        .chain(copy)
        .filter_map(|path| read(&path).ok())
        .find(|library| library.machine == abi.machine)
}
