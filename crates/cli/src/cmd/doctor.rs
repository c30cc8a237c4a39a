//! `keepalive doctor`: which engine reaches a program, and what is in the way of the others.

use super::run::{find, not_startable};
use crate::cli::EngineChoice;
use crate::engine::cgroup::{Obstacle, Programs};
use crate::engine::choice::{Engines, choose};
use crate::engine::{preload, seccomp};
use crate::error::{Error, FAILED};
use crate::output::{WIDTH, print, wrap};
use clap::Args;
use keepalive_linux::cgroup::Tree;
use keepalive_linux::program::{Format, Program, privilege};
use std::ffi::OsString;

/// Show which engine reaches a program, and what is in the way of the others
///
/// Nothing is run.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive doctor [--] COMMAND [ARG]...", after_help = NOTES)]
pub(crate) struct Doctor {
    /// The program, as keepalive run would get it
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

const NOTES: &str = "\
Exit status: 0; 1 when no engine reaches the program, or there is none.";

/// Prints what was found.
///
/// # Errors
/// There is no such program, or nothing reaches it.
pub(crate) fn run(doctor: &Doctor) -> Result<(), Error> {
    let program = find(&doctor.command).map_err(|reason| not_startable(reason).with_status(FAILED))?;
    let trial = seccomp::trial();
    let choice = choose(EngineChoice::Auto, &program, false).and_then(|choice| match (&choice.engines, &trial) {
        (Engines::Preload(_), _) | (_, Ok(_)) => Ok(choice),
        // As keepalive run does it then.
        (_, Err(_)) if choice.is_preloadable => Ok(choice),
        (_, Err(reason)) => Err(Error::new(
            FAILED,
            format!("nothing reaches '{}': {reason}", program.command.display()),
        )),
    });
    let mut text = String::new();
    let mut say = |line: &str| text.push_str(&wrap(line, WIDTH, 2));
    say(&describe(&program));
    match preload::library(&program) {
        Ok(library) => {
            let obstacle = preload::obstacle(&program, &library);
            let obstacle = obstacle.map_or_else(|| String::from("reaches it"), |obstacle| obstacle.describe(&program));
            say(&format!(
                "engine preload: {obstacle}; the library is {}",
                library.path().display()
            ));
        }
        Err(error) => say(&format!("engine preload: {}", error.message())),
    }
    say(&match &trial {
        Ok(seccomp::Place::InPlace) => String::from("engine seccomp: works here"),
        Ok(seccomp::Place::Front) => String::from(
            "engine seccomp: works here, but the command gets another process id, with a process that stands in for it \
             (Yama allows to look into descendants alone)",
        ),
        Err(reason) => format!("engine seccomp: {reason}"),
    });
    if trial.is_ok() && !seccomp::may_keep_privileges() {
        say("engine seccomp: set-user-ID programs would run without their privilege under it (no_new_privs)");
    }
    let cgroup = match Tree::find() {
        Ok(_) => Programs::trial(),
        Err(reason) => Err(Obstacle::NoTree(reason)),
    };
    say(&match cgroup {
        Ok(()) => String::from("engine cgroup: works here, and reaches every program"),
        Err(obstacle) => format!("engine cgroup: {}", obstacle.reason()),
    });
    if let Ok(choice) = &choice {
        let engines = match (&choice.engines, &trial) {
            (Engines::Both(_), Err(_)) => "preload alone",
            (engines, _) => engines.name(),
        };
        say(&format!("keepalive run uses engine {engines}: {}", choice.why));
    }
    print(&text)?;
    choice.map(drop).map_err(|error| error.with_status(FAILED))
}

/// What the program is.
fn describe(program: &Program) -> String {
    let path = program.path.display();
    let kind = match &program.format {
        Format::Elf(elf) if elf.is_go => format!("a Go program for {}", elf.machine),
        Format::Elf(elf) if elf.interpreter.is_none() => format!("a static program for {}", elf.machine),
        Format::Elf(elf) => format!("a dynamic program for {}", elf.machine),
        Format::Unreadable => String::from("not readable"),
        Format::Other => String::from("no ELF file"),
    };
    let script = if program.command == program.path {
        String::new()
    } else {
        format!("{} is a script of ", program.command.display())
    };
    let privilege = privilege(&program.path).map_or("", |_| ", with privileges of its own");
    format!("{script}{path}, {kind}{privilege}").replacen(", a ", if script.is_empty() { " is a " } else { ", a " }, 1)
}
