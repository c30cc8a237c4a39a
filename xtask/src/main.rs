//! Tasks of the repository: `cargo run -p xtask -- docs` writes the manuals and completions, `-- docs --check` compares them.
#![forbid(unsafe_code)]

mod completions;
mod docs;
mod manual;
mod markup;
mod requirements;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        _ => Err(String::from("usage: cargo run -p xtask -- docs [--check]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
