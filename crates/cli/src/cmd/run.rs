//! `keepalive run`: starts a program so that its connections have keepalive.

use super::check::summary;
use crate::cli::{EngineChoice, Run};
use crate::engine::preload;
use crate::error::{Error, NOT_EXECUTABLE, NOT_FOUND, NOT_RUN};
use crate::mistake;
use crate::policy::Policy;
use keepalive_linux::exec::exec;
use keepalive_linux::program::{self, NotStartable, Program};
use keepalive_policy::{Keepalive, Settings};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::io::Write as _;

/// Runs the command; returns only when it could not be started.
///
/// # Errors
/// Whatever kept the command from being started, with the exit status 125, 126 or 127.
pub(crate) fn run(run: &Run) -> Result<Infallible, Error> {
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = Policy::read(&run.policy, &environment, Settings::EVERYWHERE, NOT_RUN)?;

    let search = program::search_path();
    // clap does not let an empty command through.
    let command = run.command.first().map(OsString::as_os_str).unwrap_or_default();
    let program = program::find(command, &search)
        .and_then(|path| program::inspect(&path, &search))
        .map_err(not_startable)?;

    if run.engine == EngineChoice::Seccomp {
        crate::engine::seccomp::supervise(&policy.parts(), keepalive_linux::seccomp::IoUring::Allow)
            .map_err(|obstacle| Error::new(NOT_RUN, format!("{obstacle:?}")))?;
        let error = exec(&program.command, &run.command, &environment);
        return Err(not_executed(&program, &error));
    }
    let library = preload::library(&program)?;
    let obstacle = preload::obstacle(&program, &library);
    if let (EngineChoice::Auto, Some(obstacle)) = (run.engine, &obstacle) {
        return Err(obstacle.refusal(&program));
    }
    if run.verbose {
        tell(&program, &policy, obstacle.as_ref());
    }
    preload::prepare(&mut environment, &library, &policy);

    let error = exec(&program.command, &run.command, &environment);
    Err(not_executed(&program, &error))
}

/// Says which engine is used, why, and what is set.
fn tell(program: &Program, policy: &Policy, obstacle: Option<&preload::Obstacle>) {
    let path = program.path.display();
    let why = match obstacle {
        None => format!("{path} is a dynamic program"),
        Some(obstacle) => format!("because --engine preload insists; {}", obstacle.describe(program)),
    };
    let mut what = match policy.settings.keepalive {
        Some(Keepalive::Off) => String::from("nothing is set: KEEPALIVE=off is in the environment"),
        _ if policy.settings == Settings::NONE => String::from("settings: keepalive=on, the rest as the kernel has it"),
        _ => format!("settings: {}", policy.settings),
    };
    for text in policy.rules.iter().chain(&policy.config) {
        let _ = write!(
            what,
            "\nkeepalive: {}: {}",
            text.name,
            summary(mistake::count(&text.text))
        );
    }
    let _ = write!(io::stderr(), "keepalive: engine preload: {why}\nkeepalive: {what}\n");
}

fn not_startable(reason: NotStartable) -> Error {
    match reason {
        NotStartable::NotFound(path) => {
            Error::new(NOT_FOUND, format!("cannot run '{}': no such program", path.display()))
        }
        NotStartable::NotExecutable(path) => Error::new(
            NOT_EXECUTABLE,
            format!("cannot run '{}': it is not executable", path.display()),
        ),
    }
}

fn not_executed(program: &Program, error: &io::Error) -> Error {
    let status = if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    Error::new(
        status,
        format!("cannot run '{}': execve: {error}", program.command.display()),
    )
}
