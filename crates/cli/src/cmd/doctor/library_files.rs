//! The files that a process's loader and the library in it use, by its environment.

use keepalive_engine::verify::mapped_library;
use keepalive_policy::environment as variable;
use keepalive_policy::protocol::CONFIG;
use keepalive_sys::proc;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// What follows where the library may not read the rules file.
pub(super) const NO_POLICY: &str = "the library in the process has no policy of that file";

/// The files of one process.
pub(super) struct LibraryFiles {
    /// Keepalive's libraries in `LD_PRELOAD`.
    pub(super) libraries: Vec<PathBuf>,
    /// The rules file, if it exists.
    pub(super) rules: Option<PathBuf>,
    /// Whether the process has mapped a library of keepalive.
    pub(super) is_loaded: bool,
}

impl LibraryFiles {
    /// Reads the environment and the mappings of the process `pid`.
    pub(super) fn of(pid: u32) -> Self {
        let environment = proc::environment(pid).unwrap_or_default();
        let value = |name: &str| {
            environment
                .iter()
                .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        let rules = value(variable::CONFIG).map_or(PathBuf::from(CONFIG), path);
        Self {
            libraries: libraries(value("LD_PRELOAD").unwrap_or_default()),
            rules: (rules.is_absolute() && rules.exists()).then_some(rules),
            is_loaded: mapped_library(pid).is_ok_and(|mapped| mapped.is_some()),
        }
    }
}

/// Returns keepalive's libraries among those in `preload` (`LD_PRELOAD`).
fn libraries(preload: &[u8]) -> Vec<PathBuf> {
    let names = preload.split(|byte| *byte == b':' || byte.is_ascii_whitespace());
    let ours = names.filter(|name| name.ends_with(b"/libkeepalive.so") && !name.contains(&b'$'));
    ours.map(path).collect()
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
