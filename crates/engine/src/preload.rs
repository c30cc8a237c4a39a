//! The preload engine: loads `libkeepalive.so` into the program's own process, by LD_PRELOAD (ld.so(8)).

mod neighbours;

use super::apparmor::{self, Access};
use super::selinux::{self, Denial};
use crate::error::Error;
use crate::policy::Policy;
use crate::text::sanitize;
use keepalive_policy::environment as variable;
use keepalive_policy::protocol::{IS_SUPERVISED, SUPERVISED, TAKES_PRIVILEGES};
use keepalive_policy::{Number, OPTIONS, Settings, SocketOption, Unit};
use keepalive_sys::arch::MULTIARCH;
use keepalive_sys::elf::{self, Machine};
use keepalive_sys::program::{Format, Privilege, Program, privilege};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub use neighbours::has_asan_programs;
use neighbours::{SharedName, other_machines, shared_name};

/// The file name of the library.
pub const FILE: &str = "libkeepalive.so";
/// The directory into which `make install` installs the library, set at build time.
const LIBRARY_DIRECTORY: Option<&str> = option_env!("KEEPALIVE_LIBDIR");
/// The library directories of distributions, relative to the parent of the directory of commands.
const DIRECTORIES: [&str; 4] = [MULTIARCH[0], "lib64", "lib", OTHER_DIRECTORY];
/// The directory into which packages install the library for 32-bit programs, relative to the parent of the
/// directory of commands (`make install LIBRARY32=FILE`). Its parent contains each library under the name
/// that `$LIB` has for its programs.
pub const OTHER_DIRECTORY: &str = "lib/keepalive/lib";

/// The library's file and its machine code.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    machine: Machine,
    /// The name for LD_PRELOAD with `$LIB`, if it is not the path.
    shared: Option<SharedName>,
}

impl Library {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the kinds of programs that can run on this machine and find no library of their kind by this
    /// name: their loader prints an error.
    pub fn unserved(&self) -> Vec<Machine> {
        match &self.shared {
            Some(shared) => shared.unserved.clone(),
            None => other_machines(self.machine),
        }
    }

    /// Returns what is missing for programs of other kinds that can run on this machine, if anything.
    pub fn missing(&self) -> Option<String> {
        let machines: Vec<String> = self.unserved().iter().map(Machine::to_string).collect();
        (!machines.is_empty()).then(|| {
            format!(
                "there is no library for {} programs, which can run here",
                machines.join(" and ")
            )
        })
    }
}

/// The reason why the library cannot reach a program.
#[derive(Debug)]
pub enum Obstacle {
    /// The program is statically linked.
    Static,
    /// The program is a Go program, which makes system calls directly.
    Go,
    /// The program is set-user-ID, set-group-ID, or has file capabilities.
    Privileged(Privilege),
    /// The library is for other machine code.
    OtherMachine {
        /// The machine code of the program.
        program: Machine,
        /// The machine code of the library.
        library: Machine,
    },
    /// The program would not start with the library, because of AddressSanitizer.
    AddressSanitizer,
    /// The program's loader does not read LD_PRELOAD.
    Loader(PathBuf),
    /// The program's AppArmor profile denies a file, or cannot be read.
    Profile(Access),
    /// SELinux's policy denies the library or the rules file to the program.
    Context(Denial),
}

/// Finds the library: by `KEEPALIVE_LIBRARY`; otherwise next to this command, in the library directories of
/// distributions, or where it was installed. Prefers a library that `program` can load.
///
/// # Errors
/// No library was found, or the file is not a library, or LD_PRELOAD cannot contain its path.
pub fn library(program: &Program) -> Result<Library, Error> {
    let is_named = std::env::var_os("KEEPALIVE_LIBRARY").is_some();
    library_among(&candidates(), is_named, program)
}

/// Returns the library at `path`, for `program`.
///
/// # Errors
/// There is no file, or it is not a library, or LD_PRELOAD cannot contain its path.
pub fn library_at(path: &Path, program: &Program) -> Result<Library, Error> {
    library_among(&[path.to_owned()], true, program)
}

fn library_among(candidates: &[PathBuf], is_named: bool, program: &Program) -> Result<Library, Error> {
    // Debian has libkeepalive 0.3 as /usr/lib/libkeepalive.so; it is used only if the user names it.
    let is_meant = |path: &Path| is_named && path.exists() || is_ours(path);
    let mut found = Vec::new();
    for path in candidates.iter().filter(|path| is_meant(path)) {
        let elf = elf::read(path).ok().flatten().ok_or_else(|| {
            Error::new(format!("cannot use '{}': not an ELF library", path.display()))
                .with_hint("KEEPALIVE_LIBRARY names libkeepalive.so")
        })?;
        found.push(Library {
            path: path.clone(),
            machine: elf.machine,
            shared: None,
        });
    }
    let fitting = found.iter().position(|library| match &program.format {
        Format::Elf(elf) => elf.machine == library.machine,
        Format::Unreadable | Format::Other => true,
    });
    if found.is_empty() {
        let searched: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(
            Error::new(format!("cannot find {FILE} (looked for {})", searched.join(", ")))
                .with_hint("name it in KEEPALIVE_LIBRARY, or run make install"),
        );
    }
    let mut library = found.swap_remove(fitting.unwrap_or(0));
    expressible(&library.path)?;
    let trees: Vec<PathBuf> = candidates
        .iter()
        .filter_map(|path| path.parent().filter(|directory| directory.ends_with(OTHER_DIRECTORY)))
        .filter_map(|directory| directory.parent().map(Path::to_owned))
        .collect();
    library.shared = shared_name(&library.path, program, &trees);
    Ok(library)
}

/// Returns whether the file at `path` is keepalive's library, and not libkeepalive 0.3.
fn is_ours(path: &Path) -> bool {
    elf::note(path, "keepalive").is_ok_and(|note| note.is_some())
}

/// Returns the paths at which the library is searched, in order.
pub fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("KEEPALIVE_LIBRARY") {
        return vec![std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(path))];
    }
    let mut candidates = Vec::new();
    if let Some(directory) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        candidates.push(directory.join(FILE));
        if let Some(parent) = directory.parent() {
            candidates.extend(DIRECTORIES.map(|name| parent.join(name).join(FILE)));
        }
    }
    candidates.extend(LIBRARY_DIRECTORY.map(|directory| Path::new(directory).join(FILE)));
    candidates
}

/// Checks that LD_PRELOAD can contain the path. The loader splits the value at colons and white space, and
/// `$` begins a token (ld.so(8)); they cannot be quoted.
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
            Err(Error::new(format!(
                "cannot name '{}' in LD_PRELOAD: '{character}' in a path",
                sanitize(&path.to_string_lossy())
            ))
            .with_hint(
                "copy the library to a path without white space, ':' and '$', and name that in KEEPALIVE_LIBRARY",
            ))
        }
    }
}

/// Returns why `library` does not reach the sockets of `program`, if it does not.
pub fn obstacle(program: &Program, library: &Library) -> Option<Obstacle> {
    if let Some(privilege) = privilege(&program.path) {
        return Some(Obstacle::Privileged(privilege));
    }
    obstacle_without_privilege(program, library).or_else(|| {
        let Format::Elf(elf) = &program.format else { return None };
        let loader = elf.interpreter.as_deref()?;
        (!neighbours::reads_preload(loader)).then(|| Obstacle::Loader(loader.to_owned()))
    })
}

/// The same for a program of another system, whose path is not valid here, as far as its file shows it.
pub fn obstacle_without_privilege(program: &Program, library: &Library) -> Option<Obstacle> {
    if let Some(obstacle) = obstacle_of_file(program) {
        return Some(obstacle);
    }
    match &program.format {
        Format::Elf(elf) if elf.machine != library.machine => Some(Obstacle::OtherMachine {
            program: elf.machine,
            library: library.machine,
        }),
        _ => None,
    }
}

/// Returns why no library reaches the sockets of `program`, as far as its file shows it.
pub fn obstacle_of_file(program: &Program) -> Option<Obstacle> {
    match &program.format {
        Format::Elf(elf) if elf.is_go => Some(Obstacle::Go),
        Format::Elf(elf) if elf.interpreter.is_none() => Some(Obstacle::Static),
        Format::Elf(elf) if elf.needs_asan && !is_order_ignored() => Some(Obstacle::AddressSanitizer),
        _ => None,
    }
}

/// Returns what the AppArmor profile of `program`, or SELinux's policy when the process `starter` executes
/// it, denies of the library or the rules file. Returns `None` if the kernel cannot be asked.
pub fn obstacle_of_confinement(
    program: &Program,
    library: Option<&Path>,
    rules: Option<&Path>,
    starter: u32,
) -> Option<Obstacle> {
    if let Ok(Some((_, denials))) = selinux::denials(starter, &program.path, library, rules)
        && let Some(denial) = denials.into_iter().next()
    {
        return Some(Obstacle::Context(denial));
    }
    let (_, accesses) = apparmor::accesses(&program.command, library, rules).ok()?;
    let access = accesses.into_iter().find(|access| !access.is_allowed());
    access.map(Obstacle::Profile)
}

/// Returns whether AddressSanitizer's runtime starts after the library in this environment: because the
/// runtime itself is preloaded first, or because it is configured to ignore the order.
fn is_order_ignored() -> bool {
    let value = |name| std::env::var_os(name).unwrap_or_default().into_vec();
    let preload = value("LD_PRELOAD");
    let mut names = preload.split(|byte| *byte == b':' || byte.is_ascii_whitespace());
    let options = value("ASAN_OPTIONS");
    let mut options = options.split(|byte| matches!(byte, b':' | b',') || byte.is_ascii_whitespace());
    names.find(|name| !name.is_empty()).is_some_and(elf::is_asan)
        || options.any(|option| matches!(option, b"verify_asan_link_order=0" | b"verify_asan_link_order=false"))
}

impl Obstacle {
    /// Returns whether naming the library in LD_PRELOAD does harm: the program does not start, or its loader
    /// prints an error.
    pub fn forbids_preload(&self) -> bool {
        match self {
            Self::AddressSanitizer | Self::OtherMachine { .. } => true,
            Self::Profile(access) => access.is_of_library() && access.is_denied(),
            Self::Context(denial) => denial.is_of_library(),
            Self::Static | Self::Go | Self::Privileged(_) | Self::Loader(_) => false,
        }
    }

    /// Returns whether the library may still reach the program in part.
    pub fn is_partial(&self) -> bool {
        matches!(self, Self::Profile(_) | Self::Context(_)) && !self.forbids_preload()
    }

    /// Returns the obstacle as a clause about the program.
    pub fn describe(&self, program: &Program) -> String {
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
            Self::Loader(loader) => {
                format!(
                    "{path} has the loader {}, which does not read LD_PRELOAD",
                    loader.display()
                )
            }
            Self::AddressSanitizer => format!(
                "{path} loads AddressSanitizer's runtime, which must be the first library: with this one before it, it would \
                 not start"
            ),
            Self::Profile(access) => format!("{path}: {}", access.describe()),
            Self::Context(denial) => format!("{path}: {}", denial.describe()),
        }
    }

    /// Returns the error that refuses to run the program.
    pub fn refusal(&self, program: &Program) -> Error {
        let command = program.command.display();
        let hint = match self {
            Self::Static | Self::Go | Self::OtherMachine { .. } | Self::Loader(_) => {
                "use the program's own keepalive options, if it has any, or keepalive attach --watch when it runs\n\
                 hint: --engine preload runs it all the same, without effect on this program itself"
            }
            Self::AddressSanitizer => {
                "with ASAN_OPTIONS=verify_asan_link_order=0 it starts with the library; or use keepalive attach --watch when \
                 it runs"
            }
            Self::Profile(access) => {
                return Error::new(format!("cannot reach '{command}': {}", self.describe(program)))
                    .with_hint(access.advice());
            }
            Self::Context(denial) => {
                return Error::new(format!("cannot reach '{command}': {}", self.describe(program)))
                    .with_hint(denial.advice());
            }
            Self::Privileged(_) => {
                "run keepalive as root, or start it with its privilege already in place (as that user or group)\n\
                 hint: --engine preload runs it all the same, without effect on this program itself"
            }
        };
        Error::new(format!("cannot reach '{command}': {}", self.describe(program))).with_hint(hint)
    }
}

/// Changes `environment` so that the library is loaded and finds `policy`.
pub fn prepare(environment: &mut Vec<(OsString, OsString)>, library: &Library, policy: &Policy) {
    // Appended, not prepended: sanitizers must come first.
    let mut preload = value(environment, "LD_PRELOAD").unwrap_or_default();
    let mut named = preload
        .as_bytes()
        .split(|byte| *byte == b':' || byte.is_ascii_whitespace());
    let name = library
        .shared
        .as_ref()
        .map_or(library.path.as_os_str(), |shared| &shared.name);
    let own = [name, library.path.as_os_str()].map(OsStrExt::as_bytes);
    if !named.any(|path| own.contains(&path)) {
        if !preload.is_empty() {
            preload.push(":");
        }
        preload.push(name);
    }
    set(environment, "LD_PRELOAD", preload);
    hand_over(environment, policy);
}

/// Changes `environment`, which names the library, so that child programs with AddressSanitizer's runtime
/// start: the runtime ends them if another library is loaded first. Changes nothing if the machine has no
/// such programs.
pub fn ignore_order(environment: &mut Vec<(OsString, OsString)>) {
    const NAME: &str = "ASAN_OPTIONS";
    const OPTION: &str = "verify_asan_link_order=0";
    let mut options = value(environment, NAME).unwrap_or_default();
    if !has_asan_programs() || options.to_string_lossy().contains("verify_asan_link_order") {
        return;
    }
    if !options.is_empty() {
        options.push(":");
    }
    options.push(OPTION);
    set(environment, NAME, options);
}

/// Changes `environment` so that the library finds `policy` if it is loaded anyway (`/etc/ld.so.preload`).
pub fn hand_over(environment: &mut Vec<(OsString, OsString)>, policy: &Policy) {
    for option in OPTIONS {
        let variable = option.row().variable;
        // The environment's own value of KEEPALIVE stays: no option sets it.
        if let Some(text) = text_of(policy.settings, option)
            && option != SocketOption::Keepalive
            && !variable.is_empty()
        {
            set(environment, variable, OsString::from(text));
        }
    }
    if let Some(mode) = policy.settings.mode {
        set(environment, variable::MODE, OsString::from(mode.name()));
    }
    if !policy.rules.is_empty() {
        let rules: Vec<&[u8]> = policy.rules.iter().map(|text| text.text.as_slice()).collect();
        set(environment, variable::RULES, OsString::from_vec(rules.join(&b'\n')));
    }
    if let Some(path) = policy.config_path.as_ref().filter(|_| !policy.is_config_pipe) {
        set(environment, variable::CONFIG, path.clone().into_os_string());
    }
}

/// Sets a variable in `environment` for the library: whether a supervisor also runs, and whether set-user-ID
/// programs have lost their privileges because of this supervisor or an outer one.
pub fn note_supervisor(environment: &mut Vec<(OsString, OsString)>, is_supervised: bool, takes_privileges: bool) {
    let takes_privileges =
        takes_privileges || value(environment, SUPERVISED).is_some_and(|value| value == TAKES_PRIVILEGES);
    environment.retain(|(name, _)| name != OsStr::new(SUPERVISED));
    if is_supervised {
        let value = if takes_privileges {
            TAKES_PRIVILEGES
        } else {
            IS_SUPERVISED
        };
        set(environment, SUPERVISED, OsString::from(value));
    }
}

/// Returns the value of the variable that passes `option` to the library; `None` leaves the variable unchanged.
fn text_of(settings: Settings, option: SocketOption) -> Option<String> {
    match (settings.written(option), option.row().unit) {
        (Number::Unset | Number::Default, _) => None,
        (Number::Auto, _) => Some(String::from("auto")),
        (Number::Is(number), Unit::Milliseconds) => Some(format!("{number}ms")),
        (Number::Is(number), _) => Some(number.to_string()),
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
