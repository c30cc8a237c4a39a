//! Contains the cgroup and the files of `cgroup.rs`, and the commands that it runs with them.

use crate::Error;
use keepalive_sys::cgroup::Tree;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The cgroup and the files of this run.
pub(crate) struct Fixture {
    files: TempDir,
    library: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) name: String,
}

impl Fixture {
    pub(crate) fn prepare() -> Result<Self, Error> {
        let tree = Tree::find().map_err(|why| format!("{why:?}"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let library = root.join("target/release/libkeepalive.so");
        let files = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        // In this namespace, process numbers start again from 1.
        let name = format!(
            "keepalive-bench{}",
            files.path().file_name().unwrap_or_default().display()
        );
        let fixture = Self {
            files,
            library: library
                .canonicalize()
                .map_err(|error| format!("{}: {error}", library.display()))?,
            cgroup: tree.mount().join(&name),
            name,
        };
        fs::create_dir(&fixture.cgroup)?;
        let mut command = Command::new("cc");
        command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        let status = command
            .arg(fixture.path("program"))
            .arg(root.join("benches/cgroup.c"))
            .status()?;
        if !status.success() {
            return Err(format!("cc: {status}").into());
        }
        fs::write(fixture.path("empty.conf"), "")?;
        for (name, last) in [("none", "connect 192.0.2.1 idle=1"), ("last", MATCHING)] {
            fs::write(fixture.path(name), rules(last))?;
        }
        Ok(fixture)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn keepalive(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepalive"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KEEPALIVE_LIBRARY", &self.library)
            .env("KEEPALIVE_CONFIG", self.path("empty.conf"));
        command
    }

    pub(crate) fn enable(&self, flags: &[&str]) -> Result<(), Error> {
        let flags = flags.iter().map(|flag| match *flag {
            "NONE" => self.path("none"),
            "LAST" => self.path("last"),
            flag => PathBuf::from(flag),
        });
        succeed(self.keepalive(&["cgroup", "enable", &self.name]).args(flags))
    }

    /// Starts `keepalive trace`, and waits until it traces.
    pub(crate) fn trace(&self) -> Result<Child, Error> {
        let mut child = self.keepalive(&["trace"]).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let errors = child.stderr.as_mut().ok_or("no pipe from trace")?;
        BufReader::new(errors).read_line(&mut line)?;
        if line.starts_with("keepalive: tracing ") {
            return Ok(child);
        }
        child.wait()?;
        Err(line.into())
    }

    pub(crate) fn disable(&self) -> Result<(), Error> {
        succeed(self.keepalive(&["cgroup", "disable", &self.name]).stderr(Stdio::null()))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.cgroup).is_err() && self.cgroup.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn succeed(command: &mut Command) -> Result<(), Error> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

const MATCHING: &str = "connect 127.0.0.0/8 idle=60 interval=15 count=5 user-timeout=135\n\
                        accept 127.0.0.0/8 idle=60 interval=15 count=5 user-timeout=135";

/// Returns 500 rules that end with `last`, half of them for each end, and a default that changes no socket.
fn rules(last: &str) -> String {
    let mut text = String::from("default off\n");
    for number in 0..500 - last.lines().count() {
        let end = ["connect", "accept"][number % 2];
        let (high, low, port, idle) = (number / 256, number % 256, 1000 + number, 1 + number);
        text += end;
        text += &[" 10.", &high.to_string(), ".", &low.to_string(), ".0/24:"].concat();
        text += &[&port.to_string(), " idle=", &idle.to_string(), "\n"].concat();
    }
    text + last + "\n"
}
