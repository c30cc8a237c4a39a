//! The packages: their contents, and the effects of installing, upgrading, removing and purging them on whole
//! distributions while `keepalive system enable` is active.

/// Returns the packages; skips the test where they cannot be built.
macro_rules! packages {
    () => {
        match $crate::packages::packages() {
            Ok(packages) => packages,
            Err(why) => skip!("{why}"),
        }
    };
}

mod contents;
mod debian;
mod rpm;

use crate::support::chroot::root_of;
use crate::support::process::text;
use crate::support::{find_program, library, repository};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The packages as `make package` builds them, and a later version with another library.
struct Packages {
    first: PathBuf,
    second: PathBuf,
}

impl Packages {
    fn deb(directory: &Path) -> PathBuf {
        only(directory, ".deb")
    }

    fn rpm(directory: &Path) -> PathBuf {
        only(directory, ".rpm")
    }
}

/// The version of [`Packages::second`].
const SECOND: &str = "99.1";

/// Builds the packages once for all tests; or returns what is missing.
fn packages() -> Result<&'static Packages, String> {
    static BUILT: OnceLock<Result<Packages, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().map_err(Clone::clone)
}

fn build() -> Result<Packages, String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let _ = fs::remove_dir_all(&directory);
    let [first, second] = ["first", "second"].map(|name| directory.join(name));
    fs::create_dir_all(&directory).expect("a directory in the build directory");
    // The same library with a different length, so that the tests can distinguish the two.
    let longer = directory.join("libkeepalive.so");
    fs::copy(library(), &longer).expect("a file of the test");
    let appended = OpenOptions::new().append(true).open(&longer);
    appended
        .and_then(|mut file| file.write_all(b"second"))
        .expect("a file of the test");
    pack(&first, &[])?;
    pack(&second, &[("VERSION", SECOND.as_ref()), ("LIBRARY", longer.as_ref())])?;
    Ok(Packages { first, second })
}

/// Runs `scripts/package`.
fn pack(output: &Path, variables: &[(&str, &Path)]) -> Result<(), String> {
    let mut command = Command::new(repository().join("scripts/package"));
    command
        .env("OUTPUT", output)
        .env("LIBRARY", library())
        .envs(variables.iter().copied());
    let output = command.output().expect("the script starts");
    let errors = text(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(()),
        Some(77) => Err(errors.trim_end().replace('\n', "; ")),
        _ => panic!("scripts/package: {errors}"),
    }
}

fn only(directory: &Path, end: &str) -> PathBuf {
    let entries = directory
        .read_dir()
        .expect("it was built")
        .flatten()
        .map(|entry| entry.path());
    let mut found = entries.filter(|path| path.to_string_lossy().ends_with(end));
    let path = found.next().unwrap_or_else(|| panic!("no {end}"));
    assert_eq!(found.next(), None);
    path
}

/// Returns why no script can be run in this distribution, if it cannot.
fn no_distribution(suite: &str) -> Option<String> {
    if find_program("unshare").is_none() {
        return Some("unshare is not installed".to_owned());
    }
    root_of(suite).err()
}

/// Runs `script` in the distribution (`system.sh`), with arguments from `$2`. It must succeed without messages. Returns
/// its output.
#[track_caller]
fn in_distribution(suite: &str, script: &str, arguments: &[&Path]) -> String {
    let root = root_of(suite).unwrap_or_else(|why| panic!("{why}"));
    let script = format!("{}\n{script}", include_str!("packages/system.sh"));
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh"])
        .arg(root)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .expect("unshare starts");
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && errors.is_empty(),
        "{suite}: {}: {printed}{errors}",
        output.status
    );
    printed
}
