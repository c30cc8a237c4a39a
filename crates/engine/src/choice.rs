//! Which engines reach a program.

use super::preload::{self, Library, Obstacle};
use super::seccomp;
use crate::error::Error;
use keepalive_sys::program::{Program, privilege};
use std::path::Path;

/// The engine that the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whichever reaches the program.
    Auto,
    /// The library, even if it has no effect.
    Preload,
    /// The supervisor.
    Seccomp,
    /// An eBPF program for a cgroup of the command's own.
    Cgroup,
}

/// The engines for one command.
#[derive(Debug)]
pub enum Engines {
    /// The library alone.
    Preload(Library),
    /// The supervisor alone.
    Seccomp,
    /// The library where it can be loaded, at its lower price, and the supervisor for all else.
    Both(Library),
    /// The kernel, for a cgroup of the command's own.
    Cgroup,
}

/// What was chosen, and why.
#[derive(Debug)]
pub struct Choice {
    /// The engines.
    pub engines: Engines,
    /// A clause.
    pub why: String,
    /// Whether the library alone reaches the program itself, if not all that it starts.
    pub is_preloadable: bool,
    /// Whether the reason is the program's AppArmor profile, or SELinux.
    pub is_confined: bool,
}

/// Programs whose purpose is to start others, of which nothing is known beforehand.
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
    /// The names, as `--engine` has them.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Preload(_) => "preload",
            Self::Seccomp => "seccomp",
            Self::Both(_) => "preload and seccomp",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Chooses the engines for `program`. Where `is_strict`, the supervisor must be one of them. `rules` is the rules file that
/// the library would read.
///
/// # Errors
/// Nothing reaches the program, or the library cannot be found.
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
        // Without this right its privilege would be lost.
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
        // A loader complains on standard error of a library that is not for its programs.
        (Some(why), Ok(library)) if !library.unserved().is_empty() && seccomp::trial().is_ok() => (
            Engines::Seccomp,
            format!("{why}, also one of another machine, for which there is no library"),
        ),
        (Some(why), Ok(library)) => (Engines::Both(library), why),
        // What cannot load the library does not miss it.
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
