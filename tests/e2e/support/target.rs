//! Compiles the small C programs and libraries of `tests/targets`, each once, and runs them under the library.

use super::chroot::{Chroot, root_of};
use super::process::output_within;
use super::{find_program, library, repository};
use std::collections::HashMap;
use std::env::consts::ARCH;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The C library that a target is compiled for, and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Libc {
    /// The machine's own C library.
    Host,
    /// musl, on the machine (`musl-gcc`).
    Musl,
    /// The C library of the chroot with this name (`scripts/test-chroot`).
    Chroot(&'static str),
    /// glibc of another architecture, by the name of its compiler (`i686-linux-gnu-gcc`).
    Cross(&'static str),
}

impl Libc {
    /// Returns why this machine cannot compile or run programs for this C library, if it cannot.
    pub fn missing(self) -> Option<String> {
        let compiler = self.compiler();
        if find_program(compiler).is_none() {
            return Some(format!("{compiler} is not installed"));
        }
        match self {
            Self::Chroot(suite) => root_of(suite).err(),
            Self::Host | Self::Musl | Self::Cross(_) => None,
        }
    }

    fn compiler(self) -> &'static str {
        match self {
            Self::Musl => "musl-gcc",
            Self::Host | Self::Chroot(_) => "cc",
            Self::Cross(compiler) => compiler,
        }
    }

    fn flags(self) -> Vec<OsString> {
        match self {
            Self::Host | Self::Cross(_) => Vec::new(),
            // musl does not install the kernel's headers.
            Self::Musl => ["/usr/include".to_owned(), format!("/usr/include/{ARCH}-linux-gnu")]
                .into_iter()
                .map(|directory| format!("-idirafter{directory}").into())
                .collect(),
            Self::Chroot(suite) => {
                let root = root_of(suite).unwrap_or_else(|why| panic!("{why}")).into_os_string();
                let mut sysroot = OsString::from("--sysroot=");
                sysroot.push(&root);
                let mut programs = OsString::from("-B");
                programs.push(&root);
                programs.push(format!("/usr/lib/{ARCH}-linux-gnu"));
                vec![sysroot, programs]
            }
        }
    }
}

/// Returns the program compiled from `tests/targets/SOURCE` (by `g++` if it ends in `.cpp`), or with `-shared` the
/// library.
pub fn compile(libc: Libc, source: &'static str, flags: &[&str]) -> PathBuf {
    type Built = Arc<OnceLock<PathBuf>>;
    static ALL: OnceLock<Mutex<HashMap<String, Built>>> = OnceLock::new();

    let key = format!("{libc:?} {source} {}", flags.join(" "));
    let built = {
        let mut all = ALL.get_or_init(Mutex::default).lock().expect("no thread panics here");
        Arc::clone(all.entry(key.clone()).or_default())
    };
    built
        .get_or_init(|| {
            let directory: String = key
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .collect();
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory);
            fs::create_dir_all(&directory).expect("a directory in the build directory");
            let stem = source.split('.').next().unwrap_or(source);
            let name = if flags.contains(&"-shared") {
                format!("lib{stem}.so")
            } else {
                stem.to_owned()
            };
            // Another test run may build the same file.
            let new = directory.join(format!("{name}.{}", id()));
            run_compiler(libc, source, &[flags, &[&format!("-Wl,-soname,{name}")]].concat(), &new);
            let program = directory.join(name);
            fs::rename(&new, &program).expect("a file in a directory of the test");
            program
        })
        .clone()
}

/// The builds of static targets, which load no library: 64 and 32 bits, and two C libraries. glibc for i386 makes all
/// socket calls by socketcall(2).
pub const BUILDS: [Libc; 3] = [Libc::Host, Libc::Musl, Libc::Cross("i686-linux-gnu-gcc")];

/// Compiles the target as a static program.
pub fn static_target(libc: Libc, source: &'static str) -> PathBuf {
    compile(libc, source, &["-static", "-pthread"])
}

fn run_compiler(libc: Libc, source: &str, flags: &[&str], program: &Path) {
    let is_cxx = Path::new(source)
        .extension()
        .is_some_and(|extension| extension == "cpp");
    let mut command = Command::new(if is_cxx { "g++" } else { libc.compiler() });
    command
        .args(["-O1", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(libc.flags())
        .arg("-o")
        .arg(program)
        .arg(repository().join("tests/targets").join(source))
        .args(flags);
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// The policy of tests that need no particular one: values that no program sets itself.
pub const POLICY: [(&str, &str); 3] = [("KEEPIDLE", "61"), ("KEEPINTVL", "13"), ("KEEPCNT", "4")];

/// The output of a target about a socket with this policy: keepalive, idle, interval, count, user timeout.
pub const POLICY_VALUES: &str = "1 61 13 4 0";
/// The output about a socket with the kernel's defaults.
pub const KERNEL_DEFAULTS: &str = "0 7200 75 9 0";

/// Returns an empty configuration file, because the machine may have an /etc/keepalive.conf.
pub fn no_config() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty.conf");
        fs::write(&path, "").expect("a file in the build directory");
        path
    })
}

/// Returns the command of `program` with the library and this policy, and no other variables or standard input.
pub fn with_library(program: &Path) -> Command {
    let mut command = without_library(program);
    command
        .env("LD_PRELOAD", library())
        .env("KEEPALIVE_CONFIG", no_config())
        .envs(POLICY);
    command
}

/// Returns the command of `program` without any variable or standard input.
pub fn without_library(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs programs as [`with_library`], in the root directory of their C library, with other libraries preloaded before
/// or after this one.
pub struct PreloadRoot(Option<Chroot>);

impl PreloadRoot {
    pub fn new(libc: Libc) -> Self {
        Self(match libc {
            Libc::Chroot(suite) => Some(Chroot::new(suite)),
            Libc::Host | Libc::Musl | Libc::Cross(_) => None,
        })
    }

    pub fn command(&self, program: &Path, preload: &[&Path]) -> Command {
        let preload: Vec<_> = preload.iter().map(|file| self.bring(file)).collect();
        let preload = std::env::join_paths(preload).expect("no colon in our paths");
        let program = self.bring(program);
        let mut command = if let Some(chroot) = &self.0 {
            // `env` in the chroot sets the variable: its files are found by the chroot's loader.
            let mut variable = OsString::from("LD_PRELOAD=");
            variable.push(preload);
            let mut command = without_library(&find_program("chroot").expect("one of coreutils"));
            command
                .arg(chroot.root())
                .arg("/usr/bin/env")
                .arg(variable)
                .arg(program);
            command
        } else {
            let mut command = without_library(&program);
            command.env("LD_PRELOAD", preload).env("KEEPALIVE_CONFIG", no_config());
            command
        };
        command.envs(POLICY);
        command
    }

    /// Returns the path of this file for the program.
    pub fn bring(&self, file: &Path) -> PathBuf {
        self.0
            .as_ref()
            .map_or_else(|| file.to_owned(), |chroot| chroot.bring(file))
    }
}

/// Runs `command`, which must succeed. Returns its output.
pub fn output(command: &mut Command) -> String {
    let output = command.output();
    let words = || {
        [command.get_program()]
            .into_iter()
            .chain(command.get_args())
            .collect::<Vec<_>>()
    };
    let output = output.unwrap_or_else(|error| panic!("cannot start {:?}: {error}", words()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{:?}: {}; it printed:\n{text}{}",
        words(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Runs `command`, which must succeed within the limit, without messages: the loader prints one for a library that it
/// cannot load. Returns its output.
pub fn quiet_output(command: &mut Command) -> String {
    let output = output_within(Duration::from_secs(60), command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{command:?}: {}: {errors}",
        output.status
    );
    String::from_utf8(output.stdout).expect("text")
}
