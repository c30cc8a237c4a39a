//! The `keepalive` command: TCP keepalive for unmodified programs. The library contains its entry point, and
//! the data from which `xtask` writes manuals and completions.
#![forbid(unsafe_code)]

mod annotation;
mod cli;
mod cmd;
mod date;
mod error;
mod flags;
mod followed;
pub mod help;
mod interrupts;
mod json;
mod mistake;
mod output;
mod policy;
mod remarks;
mod requirements;
mod table;

pub use requirements::{REQUIREMENTS, Requirement};

use cli::{Cli, Command};
use std::process::ExitCode;

/// Returns the definition of the command line.
pub fn command() -> clap::Command {
    cli::command()
}

/// Returns the notes on the subcommand with these words, such as `system enable`.
pub fn notes(command: &str) -> Option<&'static help::Notes> {
    cli::NOTES.into_iter().find(|notes| notes.command == command)
}

/// Runs the command line of this process, and returns the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(refusal) => return cli::refuse(&refusal),
    };
    let done = match cli.command {
        Command::Run(run) => cmd::run::run(&run).map(|never| match never {}),
        Command::Attach(attach) => cmd::attach::run(&attach),
        Command::Cgroup(cgroup) => cmd::cgroup::run(&cgroup),
        Command::Unit(unit) => cmd::unit::run(&unit),
        Command::List(list) => cmd::list::run(&list),
        Command::Trace(trace) => cmd::trace::run(&trace),
        Command::System(system) => cmd::system::run(&system),
        Command::Doctor(doctor) => cmd::doctor::run(&doctor),
        Command::Probe(probe) => cmd::probe::run(&probe),
        Command::Explain(explain) => cmd::explain::run(&explain),
        Command::Check(check) => cmd::check::run(&check),
        Command::Presets(presets) => cmd::presets::run(&presets),
        Command::Nri(nri) => cmd::nri::run(&nri),
        Command::OciHook(hook) => cmd::oci_hook::run(&hook),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
