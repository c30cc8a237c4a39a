//! The command under test and a program in C, in a directory of their own: their paths identify their processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Error;

pub(crate) struct Fixture {
    directory: TempDir,
    pub(crate) library: PathBuf,
}

impl Fixture {
    /// Compiles the program from this file of `benches/`.
    pub(crate) fn prepare(source: &str, flags: &[&str]) -> Result<Self, Error> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let fixture = Self {
            directory: TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?,
            library: root.join("target/release/libkeepalive.so").canonicalize()?,
        };
        fs::hard_link(env!("CARGO_BIN_EXE_keepalive"), fixture.path("keepalive"))?;
        fixture.write("empty.conf", "")?;
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror"])
            .args(flags)
            .arg("-o")
            .arg(fixture.path("program"))
            .arg(root.join("benches").join(source))
            .status()?;
        if status.success() {
            Ok(fixture)
        } else {
            Err(format!("cc: {status}").into())
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String, Error> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path
            .into_os_string()
            .into_string()
            .map_err(|_| "the path is not UTF-8")?)
    }

    /// Returns the command of `words`, with `KEEPALIVE` and `PROGRAM` replaced by their paths.
    pub(crate) fn command(&self, environment: &[(&str, &str)], words: &[&str]) -> Command {
        let path = |word: &&str| match *word {
            "KEEPALIVE" => self.path("keepalive"),
            "PROGRAM" => self.path("program"),
            other => PathBuf::from(other),
        };
        let mut words = words.iter().map(path);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KEEPALIVE_LIBRARY", &self.library)
            .env("KEEPALIVE_CONFIG", self.path("empty.conf"))
            .envs(environment.iter().copied());
        command
    }

    /// Returns the directories in /proc of the processes that run the command under test.
    pub(crate) fn processes(&self) -> Result<Vec<PathBuf>, Error> {
        let path = self.path("keepalive");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let process = entry?.path();
            if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == path) {
                found.push(process);
            }
        }
        Ok(found)
    }
}
