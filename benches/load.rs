//! The programs that commands are measured on: `load.c`, and the command under test.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::Error;

/// The command and the program, in a directory of this run: their paths identify its processes.
pub(crate) struct Fixture {
    directory: TempDir,
    pub(crate) library: PathBuf,
}

impl Fixture {
    pub(crate) fn prepare() -> Result<Self, Error> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let fixture = Self {
            directory: TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?,
            library: root.join("target/release/libkeepalive.so").canonicalize()?,
        };
        fs::hard_link(env!("CARGO_BIN_EXE_keepalive"), fixture.path("keepalive"))?;
        fixture.write("empty.conf", "")?;
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .arg(fixture.path("load"))
            .arg(root.join("benches/load.c"))
            .status()?;
        if status.success() {
            Ok(fixture)
        } else {
            Err(format!("cc: {status}").into())
        }
    }

    fn path(&self, name: &str) -> PathBuf {
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

    /// Returns the command of `words`, in which `KEEPALIVE` stands for the command under test.
    pub(crate) fn command(&self, environment: &[(&str, &str)], words: &[&str]) -> Command {
        let path = |word: &&str| match *word {
            "KEEPALIVE" => self.path("keepalive"),
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

    /// Returns the proportional memory (PSS), in KiB, of the processes that run the command under test: the supervisors.
    pub(crate) fn commands_memory(&self) -> Result<f64, Error> {
        let path = self.path("keepalive");
        let mut sum = 0.0;
        for entry in fs::read_dir("/proc")? {
            let process = entry?.path();
            if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == path) {
                let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
                let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0");
                sum += line.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
            }
        }
        Ok(sum)
    }
}

/// A process of `load.c`.
pub(crate) struct Load {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Load {
    /// Starts the program and waits until it is ready.
    pub(crate) fn start(fixture: &Fixture, environment: &[(&str, &str)], words: &[&str]) -> Result<Self, Error> {
        Self::start_under(fixture, environment, &[], words)
    }

    /// As [`start`](Self::start), with the words of another command before the program.
    pub(crate) fn start_under(
        fixture: &Fixture,
        environment: &[(&str, &str)],
        before: &[&str],
        words: &[&str],
    ) -> Result<Self, Error> {
        let program = fixture.path("load");
        let program = program.to_str().ok_or("the path is not UTF-8")?;
        let mut command = fixture.command(environment, &[before, &[program], words].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut load = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("no pipe from a program")?),
            child,
        };
        load.line()?;
        Ok(load)
    }

    /// Orders the program to do its work again. Returns the line that it prints then.
    pub(crate) fn again(&mut self) -> Result<String, Error> {
        self.orders.as_mut().ok_or("no pipe to a program")?.write_all(b"a")?;
        self.line()
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("a program ended early: {}", self.child.wait()?).into());
        }
        Ok(line)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}
