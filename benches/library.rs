//! Builds and finds the compared libraries (none, two empty ones, libkeepalive 0.3, the measured one and peers), and
//! the C programs that load them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::contestant::Contestant;

/// A failure of the bench itself. The bench prints it and ends.
pub(crate) type Error = Box<dyn std::error::Error>;

/// The names and values of environment variables.
pub(crate) type Environment = Vec<(OsString, OsString)>;

/// The policy that the benches set. `calls.c` sets the same values itself.
pub(crate) const TIMINGS: [(&str, &str); 3] = [("KEEPIDLE", "60"), ("KEEPINTVL", "15"), ("KEEPCNT", "5")];

/// The paths at which distributions install libkeepalive 0.3.
const OLD_PATHS: [&str; 5] = [
    "/usr/lib/libkeepalive.so.0",
    "/usr/lib/x86_64-linux-gnu/libkeepalive.so.0",
    "/usr/lib/aarch64-linux-gnu/libkeepalive.so.0",
    "/usr/lib64/libkeepalive.so.0",
    "/usr/local/lib/libkeepalive.so.0",
];

/// The role of a library in the comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// No library.
    NoLibrary,
    /// No library again. Shows how far the ratio of two equal contestants is from 1.
    Control,
    /// An empty shared object as the linker makes it by default, with four mappings.
    Empty,
    /// The leanest empty shared object, with two mappings: the minimum cost of preloading.
    Leanest,
    /// libkeepalive 0.3.
    Old,
    /// The library to which the targets apply.
    Measured,
    /// A library named in `KEEPALIVE_BENCH_PEERS`.
    Peer,
}

pub(crate) struct Library {
    pub(crate) role: Role,
    pub(crate) name: String,
    /// The path at which the library was found.
    pub(crate) origin: Option<PathBuf>,
    /// The copy that is loaded. All copies are in one directory: a deeper path or another file system would take longer
    /// to load.
    pub(crate) path: Option<PathBuf>,
}

impl Library {
    fn none(role: Role, name: &str) -> Self {
        Self {
            role,
            name: name.to_owned(),
            origin: None,
            path: None,
        }
    }

    /// Copies the library at `origin` into `directory`.
    fn copied(role: Role, name: &str, origin: &Path, directory: &Path) -> Result<Self, Error> {
        let path = directory.join(format!("{}.so", name.replace(' ', "-")));
        fs::copy(origin, &path)
            .map_err(|e| format!("no library '{}': {e}\nhint: `make` builds it", origin.display()))?;
        Ok(Self {
            origin: Some(origin.to_owned()),
            path: Some(path),
            ..Self::none(role, name)
        })
    }

    /// Returns the environment that makes a program load this library, with the variables in `more`.
    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let preload = self.path.iter().map(|path| ("LD_PRELOAD".into(), path.into()));
        preload
            .chain(more.iter().map(|(name, value)| (name.into(), value.into())))
            .collect()
    }
}

/// All compared libraries and programs.
pub(crate) struct Bench {
    libraries: Vec<Library>,
    directory: TempDir,
}

impl Bench {
    /// Compiles the C programs and the empty library, and finds the others.
    pub(crate) fn prepare() -> Result<Self, Error> {
        let directory = tempfile::tempdir()?;
        let here = &directory.path().canonicalize()?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches");
        for program in ["exec", "calls"] {
            let source = sources.join(program).with_extension("c");
            compile(&source, &here.join(program), &["-O2", "-Wall", "-Wextra"])?;
        }
        let (source, nothing) = (here.join("nothing.c"), here.join("nothing.so"));
        fs::write(&source, "void nothing(void) {}\n")?;
        compile(&source, &nothing, &["-shared", "-nostdlib", "-Wl,-z,norelro"])?;
        let leanest = here.join("least.so");
        let flags = ["-shared", "-nostdlib", "-Wl,-z,norelro", "-Wl,-z,noseparate-code"];
        compile(&source, &leanest, &flags)?;

        let mut libraries = vec![
            Library::none(Role::NoLibrary, "no library"),
            Library::none(Role::Control, "control"),
            Library::copied(Role::Empty, "empty", &nothing, here)?,
            Library::copied(Role::Leanest, "leanest", &leanest, here)?,
        ];
        match OLD_PATHS.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => libraries.push(Library::copied(Role::Old, "libkeepalive0", path, here)?),
            None => println!("libkeepalive0 is not installed: no comparison with it"),
        }
        libraries.push(Library::copied(Role::Measured, "keepalive", &measured()?, here)?);
        let peers = std::env::var_os("KEEPALIVE_BENCH_PEERS").unwrap_or_default();
        let peers = std::env::split_paths(&peers).filter(|path| !path.as_os_str().is_empty());
        for (n, path) in peers.enumerate() {
            libraries.push(Library::copied(Role::Peer, &format!("peer {}", n + 1), &path, here)?);
        }
        Ok(Self { libraries, directory })
    }

    pub(crate) fn libraries(&self) -> &[Library] {
        &self.libraries
    }

    /// Returns the element of `each`, which has one element for each library, for the first library of a role.
    pub(crate) fn of<'a, T>(&self, role: Role, each: &'a [T]) -> Option<&'a T> {
        each.get(self.libraries.iter().position(|library| library.role == role)?)
    }

    /// Writes a file to the directory of the libraries. Returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String, Error> {
        let path = self.directory.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Returns the contestant `calls CASE MILLISECONDS PORT`, with a library preloaded and a policy in the environment.
    pub(crate) fn calls(
        &self,
        library: &Library,
        policy: &[(&str, &str)],
        case: &str,
        milliseconds: u32,
        port: u16,
    ) -> Contestant {
        Contestant {
            name: format!("{case}, {}", library.name),
            program: self.directory.path().join("calls"),
            arguments: vec![case.into(), milliseconds.to_string().into(), port.to_string().into()],
            environment: library.environment(policy),
        }
    }

    /// Returns the contestant `exec MILLISECONDS PROGRAM`, which preloads a library into the program only.
    pub(crate) fn exec(
        &self,
        library: &Library,
        more: &[(&str, &str)],
        milliseconds: u32,
        program: &str,
    ) -> Contestant {
        let mut arguments = vec![milliseconds.to_string().into(), program.into()];
        for (name, value) in library.environment(more) {
            arguments.push(
                [name.as_os_str(), OsStr::new("="), value.as_os_str()]
                    .into_iter()
                    .collect(),
            );
        }
        Contestant {
            name: library.name.clone(),
            program: self.directory.path().join("exec"),
            arguments,
            environment: Environment::new(),
        }
    }
}

/// Returns `KEEPALIVE_BENCH_LIBRARY`, otherwise the library that cargo built alongside this bench
/// (`target/release/deps/cost-…`).
fn measured() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("KEEPALIVE_BENCH_LIBRARY") {
        return Ok(path.into());
    }
    let bench = std::env::current_exe()?;
    let built = bench
        .parent()
        .and_then(Path::parent)
        .ok_or("this bench is not in a target directory")?;
    Ok(built.join("libkeepalive.so"))
}

fn compile(source: &Path, output: &Path, flags: &[&str]) -> Result<(), Error> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(&compiler)
        .args(flags)
        .arg("-o")
        .arg(output)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot compile {}: {status}", source.display()).into()),
        Err(e) => Err(format!("cannot run {}: {e}", compiler.display()).into()),
    }
}
