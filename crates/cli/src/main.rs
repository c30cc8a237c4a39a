//! The `keepalive` command: TCP keepalive for programs one cannot change.
#![forbid(unsafe_code)]

mod cli;
mod cmd;
#[cfg(test)]
mod documentation;
mod error;
mod json;
mod mistake;
mod output;
mod policy;
mod remarks;
mod requirements;
mod table;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return cli::refuse(&refusal),
    };
    let done = match cli.command {
        Command::Run(run) => cmd::run::run(&run).map(|never| match never {}),
        Command::Attach(attach) => cmd::attach::run(&attach),
        Command::Cgroup(cgroup) => cmd::cgroup::run(&cgroup),
        Command::Unit(unit) => cmd::unit::run(&unit),
        Command::List(list) => cmd::list::run(&list),
        Command::System(system) => cmd::system::run(&system),
        Command::Doctor(doctor) => cmd::doctor::run(&doctor),
        Command::Probe(probe) => cmd::probe::run(&probe),
        Command::Explain(explain) => cmd::explain::run(&explain),
        Command::Check(check) => cmd::check::run(&check),
        Command::Presets(presets) => cmd::presets::run(&presets),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
