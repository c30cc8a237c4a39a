//! `keepalive doctor`: examines everything that decides whether connections get keepalive.

mod apparmor;
mod finding;
mod library_files;
mod machine;
mod process;
mod program;
mod selinux;

use super::run::{find, not_startable};
use crate::error::{Error, FAILED, describe};
use crate::help::{Json, Notes, SUCCESS, USAGE};
use crate::json::line;
use crate::output::print;
use clap::Args;
use finding::{Finding, Findings, Level};
use keepalive_engine::sockets::Process;
use keepalive_sys::program::Program;
use serde::Serialize;
use std::ffi::{OsStr, OsString};

/// Show which engines work on this machine, reach a program, or reach a process
///
/// Problems come first, each with a remedy. Changes nothing, and does not run COMMAND.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive doctor [OPTIONS] [--] [COMMAND [ARG]...]")]
pub(crate) struct Doctor {
    /// Examine a running process and its connections
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "command")]
    pid: Option<u32>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    /// A program and its arguments, as for keepalive run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) const NOTES: Notes = Notes {
    command: "doctor",
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            ("engine", "string", "the engine that 'keepalive run' uses for COMMAND"),
            ("findings[].level", "string", "wrong, note or fine"),
            ("findings[].subject", "string", "what it is about, in a word or two"),
            ("findings[].text", "string", ""),
            ("findings[].advice", "string", "what to do"),
        ],
        null: "Null means none.",
    }),
    statuses: &[
        SUCCESS,
        (
            "1",
            "There is a problem, no engine reaches the program, or the program does not exist.",
        ),
        USAGE,
    ],
    examples: &[(
        "The machine; a program to run; a running process:",
        &[
            "keepalive doctor",
            "keepalive doctor -- docker ps",
            "keepalive doctor --pid 4242",
        ],
    )],
    ..Notes::DEFAULT
};

/// The report, in the form of the JSON output.
#[derive(Serialize)]
struct Report {
    /// The engine that keepalive run uses for COMMAND; null without COMMAND, or if no engine reaches it.
    engine: Option<&'static str>,
    findings: Vec<Finding>,
}

/// Prints the findings.
///
/// # Errors
/// The program or process does not exist, or there is a problem.
pub(crate) fn run(doctor: &Doctor) -> Result<(), Error> {
    let mut findings = Findings::default();
    let mut engine = None;
    if let Some(pid) = doctor.pid {
        let process = Process::find(pid).map_err(|obstacle| obstacle.error("examine", pid))?;
        process::examine(&mut findings, &process).map_err(|error| {
            Error::new(
                FAILED,
                format!("cannot examine process {pid}: fork: {}", describe(&error)),
            )
        })?;
    } else if !doctor.command.is_empty() {
        let program = find(&doctor.command).map_err(|reason| not_startable(reason).with_status(FAILED))?;
        engine = program::examine(&mut findings, &program);
    }
    machine::examine(&mut findings);
    let findings = findings.ranked();
    let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong).count();
    print(&if doctor.json {
        line(&Report { engine, findings }) + "\n"
    } else {
        findings.iter().map(Finding::show).collect()
    })?;
    match wrong {
        0 => Ok(()),
        1 => Err(Error::new(FAILED, "one thing is wrong")),
        several => Err(Error::new(FAILED, format!("{several} things are wrong"))),
    }
}

/// Returns this command itself, as a substitute for an unknown program.
pub(super) fn own_program() -> Result<Program, Error> {
    let failed = || Error::new(FAILED, "cannot find this command's own file");
    let path = std::env::current_exe().map_err(|_| failed())?;
    keepalive_sys::program::inspect(&path, OsStr::new("")).map_err(|_| failed())
}
