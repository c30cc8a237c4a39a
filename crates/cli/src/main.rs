//! The `keepalive` command: TCP keepalive for programs one cannot change.
#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod engine;
mod error;
mod policy;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return cli::refuse(&refusal),
    };
    let Err(error) = match cli.command {
        Command::Run(run) => cmd::run::run(run),
    };
    error.report()
}
