//! What benches have in common that run as root in namespaces of their own.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use crate::Error;

/// Returns the exit status for a number of missed targets.
pub(crate) fn status(result: Result<usize, Error>, checks: bool) -> ExitCode {
    match result {
        Ok(missed) if missed > 0 && checks => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns which of the programs is not installed, if one is not.
pub(crate) fn missing_tool(tools: &[&str]) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &&&str| env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let missing = tools.iter().find(|tool| !is_there(tool));
    missing.map(|tool| format!("{tool} is not installed"))
}

/// Executes this program again with `--inside`, in its own process and network namespaces and those of `more`, after the
/// shell command `prepare`. All its children end with it.
pub(crate) fn go_inside(more: &[&str], prepare: &str, arguments: &[String]) -> Result<usize, Error> {
    let mut command = Command::new("unshare");
    command
        .args(more)
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c"])
        .arg(format!("set -e\nip link set lo up\n{prepare}\nexec \"$@\""))
        .arg("sh")
        .arg(env::current_exe()?)
        .args(arguments)
        .arg("--inside");
    Err(format!("cannot run unshare: {}", command.exec()).into())
}
