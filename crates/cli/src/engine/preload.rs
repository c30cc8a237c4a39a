//! The preload engine: `libkeepalive.so` in the program's own process, by LD_PRELOAD (ld.so(8)).

use crate::error::{Error, NOT_RUN};
use keepalive_linux::elf::{self, Machine};
use keepalive_linux::program::{Format, Privilege, Program, privilege};
use keepalive_policy::{OPTIONS, Settings, SocketOption, UserTimeout};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file's name.
const FILE: &str = "libkeepalive.so";
/// Where `make install` puts the library, told to the build.
const LIBRARY_DIRECTORY: Option<&str> = option_env!("KEEPALIVE_LIBDIR");

/// The library's file and the machine code in it.
#[derive(Debug)]
pub(crate) struct Library {
    path: PathBuf,
    machine: Machine,
}

/// Why the library cannot reach a program.
#[derive(Debug)]
pub(crate) enum Obstacle {
    Static,
    Go,
    Privileged(Privilege),
    OtherMachine { program: Machine, library: Machine },
}

/// Finds the library: `KEEPALIVE_LIBRARY`, else beside this command, in `../lib`, or where it was installed. Of several,
/// one that `program` can load is preferred.
///
/// # Errors
/// None is there, or it is no library, or its path cannot stand in LD_PRELOAD.
pub(crate) fn library(program: &Program) -> Result<Library, Error> {
    let candidates = candidates();
    let mut found = Vec::new();
    for path in candidates.iter().filter(|path| path.exists()) {
        let elf = elf::read(path).ok().flatten().ok_or_else(|| {
            Error::new(NOT_RUN, format!("cannot use '{}': not an ELF library", path.display()))
                .hint("KEEPALIVE_LIBRARY names libkeepalive.so")
        })?;
        found.push(Library {
            path: path.clone(),
            machine: elf.machine,
        });
    }
    let fitting = found.iter().position(|library| match &program.format {
        Format::Elf(elf) => elf.machine == library.machine,
        Format::Unreadable | Format::Other => true,
    });
    if found.is_empty() {
        let searched: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::new(
            NOT_RUN,
            format!("cannot find {FILE} (looked for {})", searched.join(", ")),
        )
        .hint("name it in KEEPALIVE_LIBRARY, or run make install"));
    }
    let library = found.swap_remove(fitting.unwrap_or(0));
    expressible(&library.path)?;
    Ok(library)
}

fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("KEEPALIVE_LIBRARY") {
        return vec![std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(path))];
    }
    let mut candidates = Vec::new();
    if let Some(directory) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        candidates.push(directory.join(FILE));
        if let Some(parent) = directory.parent() {
            candidates.push(parent.join("lib").join(FILE));
        }
    }
    candidates.extend(LIBRARY_DIRECTORY.map(|directory| Path::new(directory).join(FILE)));
    candidates
}

/// LD_PRELOAD is split at colons and white space, and `$` begins a token (ld.so(8)); there is no way to quote them.
fn expressible(path: &Path) -> Result<(), Error> {
    let obstacle = path
        .as_os_str()
        .as_bytes()
        .iter()
        .find(|byte| matches!(byte, b':' | b'$') || byte.is_ascii_whitespace());
    match obstacle {
        None => Ok(()),
        Some(byte) => {
            let character = char::from(*byte).escape_default();
            Err(Error::new(
                NOT_RUN,
                format!(
                    "cannot name '{}' in LD_PRELOAD: '{character}' in a path",
                    path.display()
                ),
            )
            .hint("copy the library to a path without white space, ':' and '$', and name that in KEEPALIVE_LIBRARY"))
        }
    }
}

/// What keeps `library` from reaching the sockets of `program`, if anything.
pub(crate) fn obstacle(program: &Program, library: &Library) -> Option<Obstacle> {
    if let Some(privilege) = privilege(&program.path) {
        return Some(Obstacle::Privileged(privilege));
    }
    let Format::Elf(elf) = &program.format else { return None };
    if elf.is_go {
        Some(Obstacle::Go)
    } else if elf.interpreter.is_none() {
        Some(Obstacle::Static)
    } else if elf.machine != library.machine {
        Some(Obstacle::OtherMachine {
            program: elf.machine,
            library: library.machine,
        })
    } else {
        None
    }
}

impl Obstacle {
    /// The obstacle as a clause about the program.
    pub(crate) fn describe(&self, program: &Program) -> String {
        let path = program.path.display();
        match self {
            Self::Static => format!("{path} is statically linked: no library can be loaded into it"),
            Self::Go => format!("{path} is a Go program: it makes its system calls without the C library"),
            Self::Privileged(privilege) => {
                let how = match privilege {
                    Privilege::SetUserId => "is set-user-ID",
                    Privilege::SetGroupId => "is set-group-ID",
                    Privilege::Capabilities => "has file capabilities",
                };
                format!("{path} {how}: the loader ignores LD_PRELOAD for it")
            }
            Self::OtherMachine { program, library } => {
                format!("{path} is a program for {program}, the library is for {library}")
            }
        }
    }

    /// The error that refuses to run the program.
    pub(crate) fn refusal(&self, program: &Program) -> Error {
        let command = program.command.display();
        let hint = match self {
            Self::Static | Self::Go => {
                "use the program's own keepalive options, if it has any; this version reaches dynamic programs only\n\
                 hint: --engine preload runs it all the same, without effect on this program itself"
            }
            Self::Privileged(_) => {
                "start it with its privilege already in place (as that user or group)\n\
                 hint: --engine preload runs it all the same, without effect on this program itself"
            }
            Self::OtherMachine { .. } => "build the library for that machine and name it in KEEPALIVE_LIBRARY",
        };
        Error::new(NOT_RUN, format!("cannot reach '{command}': {}", self.describe(program))).hint(hint)
    }
}

/// Changes `environment` so that the library is loaded and finds `settings`.
///
/// # Errors
/// None today; later engines share the shape.
pub(crate) fn prepare(
    environment: &mut Vec<(OsString, OsString)>,
    library: &Library,
    settings: Settings,
) -> Result<(), Error> {
    // Appended, not prepended: sanitizers insist on coming first.
    let mut preload = value(environment, "LD_PRELOAD").unwrap_or_default();
    let is_there = preload
        .as_bytes()
        .split(|byte| *byte == b':' || byte.is_ascii_whitespace());
    if !is_there
        .into_iter()
        .any(|path| path == library.path.as_os_str().as_bytes())
    {
        if !preload.is_empty() {
            preload.push(":");
        }
        preload.push(&library.path);
    }
    set(environment, "LD_PRELOAD", preload);
    for option in OPTIONS {
        if let Some(text) = variable(settings, option) {
            set(environment, option.row().variable, OsString::from(text));
        }
    }
    Ok(())
}

/// The text of the variable that hands `option` to the library; `None` leaves the variable as it is.
fn variable(settings: Settings, option: SocketOption) -> Option<String> {
    match (option, settings.user_timeout) {
        // The environment's own word stands: there is no flag for it.
        (SocketOption::Keepalive, _) => None,
        (SocketOption::UserTimeout, Some(UserTimeout::Auto)) => Some(String::from("auto")),
        (SocketOption::UserTimeout, Some(UserTimeout::Off)) => Some(String::from("off")),
        (SocketOption::UserTimeout, Some(UserTimeout::After(milliseconds))) => Some(format!("{milliseconds}ms")),
        _ => settings.number(option).map(|number| number.to_string()),
    }
}

fn value(environment: &[(OsString, OsString)], name: &str) -> Option<OsString> {
    environment
        .iter()
        .find(|(other, _)| other == OsStr::new(name))
        .map(|(_, value)| value.clone())
}

fn set(environment: &mut Vec<(OsString, OsString)>, name: &str, value: OsString) {
    environment.retain(|(other, _)| other != OsStr::new(name));
    environment.push((OsString::from(name), value));
}
