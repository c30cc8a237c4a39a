//! Finds the library for other architectures, which `scripts/cross` builds.

use super::repository;
use std::path::PathBuf;
use std::process::Command;

/// Returns the library for `target`, or why there is none.
pub fn library_for(target: &str) -> Result<PathBuf, String> {
    let output = Command::new(repository().join("scripts/cross"))
        .args([target, "--quiet"])
        .output()
        .expect("the script starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(77) => return Err(errors.trim_end().replace('\n', "; ")),
        _ => panic!("scripts/cross {target}: {errors}"),
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(path.trim_end()))
}
