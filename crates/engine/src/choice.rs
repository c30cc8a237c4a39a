//! Chooses the engines that reach a program.

use super::preload::{self, Library, Obstacle};
use super::seccomp;
use crate::error::Error;
use keepalive_sys::program::{Program, privilege};
use std::path::Path;

/// The engine that the user has selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any engine that reaches the program.
    Auto,
    /// The library, even if it has no effect.
    Preload,
    /// The supervisor.
    Seccomp,
    /// An eBPF program for a cgroup that only the command uses.
    Cgroup,
}

/// The engines for one command.
#[derive(Debug)]
pub enum Engines {
    /// Only the library.
    Preload(Library),
    /// Only the supervisor.
    Seccomp,
    /// The library where it can be loaded, since it costs less, and the supervisor everywhere else.
    Both(Library),
    /// An eBPF program for a cgroup that only the command uses.
    Cgroup,
}

/// The chosen engines, and the reason.
#[derive(Debug)]
pub struct Choice {
    /// The engines.
    pub engines: Engines,
    /// The reason, as a clause.
    pub why: String,
    /// Whether the library alone reaches the program itself, though perhaps not all its children.
    pub is_preloadable: bool,
    /// Whether the reason is the program's AppArmor profile, or SELinux.
    pub is_confined: bool,
}

/// Programs that exist to start other programs, which are unknown beforehand.
const LAUNCHERS: [&str; 39] = [
    "ash",
    "bash",
    "busybox",
    "chroot",
    "chrt",
    "csh",
    "dash",
    "dumb-init",
    "env",
    "find",
    "fish",
    "flock",
    "gdb",
    "ionice",
    "ksh",
    "make",
    "mksh",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "runuser",
    "screen",
    "script",
    "setpriv",
    "setsid",
    "sh",
    "ssh-agent",
    "stdbuf",
    "strace",
    "taskset",
    "time",
    "timeout",
    "tini",
    "tmux",
    "unshare",
    "watch",
    "xargs",
    "zsh",
];

impl Engines {
    /// Returns the names, as in `--engine`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Preload(_) => "preload",
            Self::Seccomp => "seccomp",
            Self::Both(_) => "preload and seccomp",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Chooses the engines for `program`. With `is_strict`, they must include the supervisor. `rules` is the
/// rules file that the library would read.
///
/// # Errors
/// No engine reaches the program, or the library was not found.
pub fn choose(wanted: Wanted, program: &Program, is_strict: bool, rules: Option<&Path>) -> Result<Choice, Error> {
    match wanted {
        Wanted::Preload if is_strict => Err(Error::new("--io-uring deny: the library sees no io_uring")
            .with_hint("it requires the supervisor: --engine auto or seccomp")),
        Wanted::Preload => {
            let library = preload::library(program)?;
            let obstacle = preload::obstacle(program, &library);
            let why = match &obstacle {
                None => format!("{} is a dynamic program", program.path.display()),
                Some(obstacle) => format!("because --engine preload insists; {}", obstacle.describe(program)),
            };
            Ok(Choice {
                engines: Engines::Preload(library),
                why,
                is_preloadable: true,
                is_confined: false,
            })
        }
        Wanted::Seccomp => Ok(Choice {
            engines: Engines::Seccomp,
            why: String::from("because --engine seccomp asks for it"),
            is_preloadable: false,
            is_confined: false,
        }),
        Wanted::Cgroup if is_strict => Err(Error::new(
            "--io-uring deny: the cgroup engine reaches io_uring, and denies nothing",
        )
        .with_hint("leave --io-uring out, or take the supervisor: --engine seccomp")),
        Wanted::Cgroup => Ok(Choice {
            engines: Engines::Cgroup,
            why: String::from("because --engine cgroup asks for it"),
            is_preloadable: false,
            is_confined: false,
        }),
        Wanted::Auto => automatic(program, is_strict, rules),
    }
}

fn automatic(program: &Program, is_strict: bool, rules: Option<&Path>) -> Result<Choice, Error> {
    let path = program.path.display();
    if let Some(privilege) = privilege(&program.path) {
        let obstacle = Obstacle::Privileged(privilege);
        // Without this privilege the supervisor would remove the program's privileges.
        if !seccomp::may_keep_privileges() {
            return Err(obstacle.refusal(program));
        }
        return Ok(Choice {
            engines: Engines::Seccomp,
            why: obstacle.describe(program),
            is_preloadable: false,
            is_confined: false,
        });
    }
    let library = preload::library(program);
    let obstacle = library
        .as_ref()
        .ok()
        .and_then(|library| preload::obstacle(program, library));
    let obstacle = obstacle.or_else(|| preload::obstacle_of_file(program)).or_else(|| {
        let library = library.as_ref().ok().map(Library::path);
        preload::obstacle_of_confinement(program, library, rules, std::process::id())
    });
    let why_both = if let Some(obstacle) = &obstacle {
        Some(obstacle.describe(program))
    } else if program.command != program.path {
        Some(format!(
            "{} is a script, and may start any program",
            program.command.display()
        ))
    } else if is_launcher(program) {
        Some(format!("{path} may start any program"))
    } else if is_strict {
        Some(String::from("io_uring is denied"))
    } else {
        None
    };
    let is_confined = matches!(obstacle, Some(Obstacle::Profile(_) | Obstacle::Context(_)));
    let is_loadable = obstacle.as_ref().is_none_or(Obstacle::is_partial);
    let (engines, why) = match (why_both, library) {
        (Some(why), _) if obstacle.is_some_and(|obstacle| obstacle.forbids_preload()) => (Engines::Seccomp, why),
        // The loader prints an error about a library that is not for its programs.
        (Some(why), Ok(library)) if !library.unserved().is_empty() && seccomp::trial().is_ok() => (
            Engines::Seccomp,
            format!("{why}, also one of another machine, for which there is no library"),
        ),
        (Some(why), Ok(library)) => (Engines::Both(library), why),
        // A program that cannot load the library does not need it.
        (Some(why), Err(_)) if !is_loadable => (Engines::Seccomp, why),
        (_, Err(error)) => return Err(error),
        (None, Ok(library)) => (Engines::Preload(library), format!("{path} is a dynamic program")),
    };
    Ok(Choice {
        is_preloadable: is_loadable && !matches!(engines, Engines::Seccomp),
        engines,
        why,
        is_confined,
    })
}

fn is_launcher(program: &Program) -> bool {
    let paths = [&program.command, &program.path];
    let mut names = paths.into_iter().filter_map(|path| path.file_name()?.to_str());
    names.any(|name| LAUNCHERS.contains(&name))
}
