//! The `keepalive` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    keepalive_cli::main()
}
