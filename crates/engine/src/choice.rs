//! Chooses the engines that reach a program.

use super::preload::{self, Library, Obstacle};
use super::seccomp;
use crate::error::Error;
use crate::evidence::{Evidence, may_hide_library, privileged_helper};
use keepalive_sys::program::{Program, privilege};
use rustix::thread::no_new_privs;
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
    /// What the library alone would not reach, as far as anything shows that there is such a thing.
    pub out_of_reach: Option<&'static str>,
}

/// What the library does not reach of the children of a program.
const STATIC_PROGRAMS: &str = "static programs";

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
                out_of_reach: None,
            })
        }
        Wanted::Seccomp => Ok(Choice {
            engines: Engines::Seccomp,
            why: String::from("because --engine seccomp asks for it"),
            is_preloadable: false,
            is_confined: false,
            out_of_reach: None,
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
            out_of_reach: None,
        }),
        Wanted::Auto => automatic(program, is_strict, rules),
    }
}

fn automatic(program: &Program, is_strict: bool, rules: Option<&Path>) -> Result<Choice, Error> {
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
            out_of_reach: None,
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
    let is_confined = matches!(obstacle, Some(Obstacle::Profile(_) | Obstacle::Context(_)));
    let is_loadable = obstacle.as_ref().is_none_or(Obstacle::is_partial);
    let reason = match &obstacle {
        Some(obstacle) => Reason::both(obstacle.describe(program), Some(STATIC_PROGRAMS)),
        None => reason(program, is_strict),
    };
    let Reason {
        is_both,
        why,
        out_of_reach,
    } = reason;
    let starts_others = out_of_reach == Some(STATIC_PROGRAMS);
    let may_be_alone = || starts_others && seccomp::trial().is_ok();
    let (engines, why) = match library {
        _ if is_both && obstacle.as_ref().is_some_and(Obstacle::forbids_preload) => (Engines::Seccomp, why),
        // The loader prints an error about a library that is not for its programs.
        Ok(library) if is_both && !library.unserved().is_empty() && may_be_alone() => (
            Engines::Seccomp,
            format!("{why}, also one of another machine, for which there is no library"),
        ),
        // It prints one as well where the library's file is missing.
        Ok(_) if is_both && obstacle.is_none() && may_hide_library(program) && may_be_alone() => (
            Engines::Seccomp,
            format!("{why}, also where the library's file is missing: it changes the root directory or mounts"),
        ),
        Ok(library) if is_both => (Engines::Both(library), why),
        // A program that cannot load the library does not need it.
        Err(_) if is_both && !is_loadable => (Engines::Seccomp, why),
        Err(error) => return Err(error),
        Ok(library) => (Engines::Preload(library), why),
    };
    Ok(Choice {
        is_preloadable: is_loadable && !matches!(engines, Engines::Seccomp),
        engines,
        why,
        is_confined,
        out_of_reach,
    })
}

/// The reason for one engine or both.
struct Reason {
    is_both: bool,
    why: String,
    out_of_reach: Option<&'static str>,
}

impl Reason {
    fn both(why: String, out_of_reach: Option<&'static str>) -> Self {
        Self {
            is_both: true,
            why,
            out_of_reach,
        }
    }
}

/// Returns the engines for a program into which the library can be loaded. The supervisor covers more, so it is left out
/// only where it would cost something: the privilege of a set-user-ID program.
fn reason(program: &Program, is_strict: bool) -> Reason {
    let path = program.path.display();
    let evidence = Evidence::of(program);
    let out_of_reach = evidence.as_ref().and_then(|evidence| match evidence {
        Evidence::SystemCalls(_) => Some("its own system calls"),
        evidence => evidence.is_of_children().then_some(STATIC_PROGRAMS),
    });
    // An outer process may have removed the privileges already.
    let costs_nothing = seccomp::may_keep_privileges() || no_new_privs().unwrap_or(false);
    match evidence {
        Some(evidence) if evidence.is_only_possible() && !costs_nothing && !is_strict => {
            match privileged_helper(program) {
                None => Reason::both(evidence.describe(), out_of_reach),
                Some(helper) => Reason {
                    is_both: false,
                    why: format!(
                        "{path} names the program {}, which would run without its privilege under the supervisor \
                         (no_new_privs)",
                        helper.display()
                    ),
                    out_of_reach,
                },
            }
        }
        Some(evidence) => Reason::both(evidence.describe(), out_of_reach),
        None if is_strict => Reason::both(String::from("io_uring is denied"), None),
        None if costs_nothing => Reason::both(
            format!("{path} is a dynamic program; the supervisor takes no privilege here"),
            None,
        ),
        None => Reason {
            is_both: false,
            why: format!("{path} is a dynamic program that starts no other and loads no modules"),
            out_of_reach: None,
        },
    }
}
