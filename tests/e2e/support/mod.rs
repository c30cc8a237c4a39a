//! Code that the end-to-end tests share: finds built files, reports skipped tests, runs and observes programs.

pub mod built;
pub mod chroot;
pub mod cross;
pub mod engine;
pub mod go;
pub mod line_peer;
pub mod test_cgroup;
#[macro_use]
pub mod hung;
pub mod netns;
pub mod observe;
pub mod ordinary;
pub mod process;
pub mod py_peer;
pub mod root;
pub mod skip;
pub mod table;
pub mod target;

pub use skip::report_skip;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Reports why a test cannot run here, and returns from the test. Fails with `KEEPALIVE_TEST_REQUIRE=all`.
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::support::report_skip(&format!($($why)*));
        return;
    }};
}

/// The interpreter that many tests use. Tests use its path, because the one in PATH may be a version manager's script.
pub const PYTHON: &str = "/usr/bin/python3";

/// Skips a test if there is no Python.
macro_rules! python {
    () => {
        if $crate::support::find_program($crate::support::PYTHON).is_none() {
            skip!("{} is not installed", $crate::support::PYTHON);
        }
    };
}

/// Skips a test of namespaces and other users if this process cannot use them.
macro_rules! root {
    () => {
        if !rustix::process::geteuid().is_root() {
            skip!("only root has namespaces and other users");
        }
        for needed in ["unshare", "nsenter", "setpriv", "ip"] {
            if $crate::support::find_program(needed).is_none() {
                skip!("{needed} is not installed");
            }
        }
    };
}

/// Returns a cgroup to apply policies for; skips a test if a cgroup is impossible here.
macro_rules! test_cgroup {
    () => {{
        root!();
        match $crate::support::test_cgroup::TestCgroup::new() {
            Ok(test_cgroup) => test_cgroup,
            Err(why) => skip!("{why}"),
        }
    }};
}

/// Creates tests of functions that take an engine: each runs with the library, and with eBPF programs.
macro_rules! under_preload_and_cgroup {
    ($($name:ident)*) => {
        mod preload {
            $(#[test] fn $name() { super::$name($crate::support::engine::Engine::Library); })*
        }

        mod cgroup {
            use $crate::support::engine::Engine::Kernel;
            $(
                #[test]
                fn $name() {
                    if let Some(why) = Kernel.missing() {
                        skip!("{why}");
                    }
                    super::$name(Kernel);
                }
            )*
        }
    };
}

/// Skips the test if a static build is impossible here.
macro_rules! builds {
    () => {
        for libc in $crate::support::target::BUILDS {
            if let Some(why) = libc.missing() {
                skip!("{why}");
            }
        }
    };
}

/// Skips the test with the laboratory's own reason if this machine cannot run one.
macro_rules! output_or_skip {
    ($run:expr) => {{
        let output = $run;
        if output.status.code() == Some(77) {
            skip!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        output
    }};
}

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository has a path")
}

/// Returns the library under test: `target/release/libkeepalive.so`, which must not be older than its sources, or
/// `KEEPALIVE_TEST_LIBRARY`.
#[track_caller]
pub fn library() -> PathBuf {
    match env::var_os("KEEPALIVE_TEST_LIBRARY") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "KEEPALIVE_TEST_LIBRARY: {} is missing", path.display());
            path
        }
        None => built::up_to_date(repository().join("target/release/libkeepalive.so"), "make build"),
    }
}

/// Returns the library under test as packages install it: on a machine that can run 32-bit programs, together with the
/// library for these. Without that, `keepalive run` would not preload the library into programs that may start 32-bit
/// ones.
pub fn packaged_library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            if !Path::new("/lib/ld-linux.so.2").exists() {
                return library();
            }
            let Ok(i386) = cross::library_for("i586-unknown-linux-gnu") else {
                return library();
            };
            let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libraries");
            let install = |file: &Path, directory: &str| -> PathBuf {
                let directory = root.join(directory);
                fs::create_dir_all(&directory).expect("a directory in the build directory");
                let path = directory.join("libkeepalive.so");
                process::install(file, &path, 0o755);
                path
            };
            for directory in ["lib", "lib32", "lib/i386-linux-gnu"] {
                install(&i386, directory);
            }
            install(&library(), "lib64");
            install(&library(), "lib/x86_64-linux-gnu")
        })
        .clone()
}

/// Returns the command under test: `target/debug/keepalive`, or the one next to these tests in another build directory.
/// It must not be older than its sources.
#[track_caller]
pub fn keepalive() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_echo_server")).with_file_name("keepalive");
    built::up_to_date(path, "cargo build")
}

/// Returns the release build of the command: it is small, and tests copy it often.
#[track_caller]
pub fn released_keepalive() -> PathBuf {
    built::up_to_date(repository().join("target/release/keepalive"), "make build")
}

/// Returns the path of the server for the client of scripts/lab.
pub fn echo_server() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_echo_server"))
}

/// Returns an address as it is written before a port.
pub fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

/// Returns the path of the program `name`, searched in PATH and in the directories of servers.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(postgresql_directories())
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Returns `/usr/lib/postgresql/VERSION/bin`, where Debian installs programs that are not in PATH.
fn postgresql_directories() -> impl Iterator<Item = PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin"))
}
