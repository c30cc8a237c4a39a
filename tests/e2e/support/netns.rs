//! Runs a program in its own network and with its own /etc: any address and any port is free, and the host's
//! /etc/keepalive.conf is neither used nor changed.

use super::engine::Engine;
use super::target::POLICY;
use super::{PYTHON, find_program, keepalive, library, repository};
use rustix::process::geteuid;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Loopback has these addresses. 192.0.2.0/24 (TEST-NET-1) is routed to it too, but does not answer. The first argument
/// is the file that becomes /etc/keepalive.conf, or empty.
const PREPARE: &str = "set -e
ip link set lo up
for address in 10.1.2.3/32 10.2.0.1/32 172.16.0.1/32; do ip address add $address dev lo; done
for address in 2001:db8::1/128 2001:db8:1::1/128 fd00::1/128; do ip address add $address dev lo nodad; done
ip route add 192.0.2.0/24 dev lo
config=$1; shift
mount -t tmpfs none /etc
if [ -n \"$config\" ]; then cp \"$config\" /etc/keepalive.conf; fi
exec \"$@\"";

/// Builds the command that runs one program in the namespaces.
pub struct NetNs {
    engine: Engine,
    directory: TempDir,
    environment: Vec<(String, OsString)>,
    wrapper: Vec<String>,
    config: OsString,
}

impl NetNs {
    /// Returns why the namespaces are impossible here, if they are.
    pub fn missing() -> Option<String> {
        for needed in ["unshare", "ip", "mount", PYTHON] {
            if find_program(needed).is_none() {
                return Some(format!("{needed} is not installed"));
            }
        }
        let output = unshare().arg("true").output().expect("unshare starts");
        let why = String::from_utf8_lossy(&output.stderr);
        (!output.status.success()).then(|| format!("there are no namespaces: {}", why.trim_end()))
    }

    /// Creates a builder with this engine, and the policy 61/13/4 in the environment.
    pub fn new(engine: Engine) -> Self {
        let mut netns = Self::without_policy(engine);
        for (name, value) in POLICY {
            netns = netns.with(name, value);
        }
        netns
    }

    /// Creates a builder with the engine, and without a policy.
    pub fn without_policy(engine: Engine) -> Self {
        let netns = Self {
            engine,
            directory: TempDir::new().expect("a temporary directory"),
            environment: Vec::new(),
            wrapper: Vec::new(),
            config: OsString::new(),
        };
        match engine {
            Engine::Library => netns.with("LD_PRELOAD", library()),
            Engine::Supervisor | Engine::Kernel => netns,
        }
    }

    /// Adds a variable to the environment.
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a command before the program, which changes the program's permissions.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Sets the content of /etc/keepalive.conf.
    pub fn with_etc(mut self, text: &str) -> Self {
        self.config = self.write("etc.conf", text).into_os_string();
        self
    }

    /// Writes a file of this test. Returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Returns the path of a file of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `program`, which must succeed. Returns its output.
    pub fn run(&self, program: &Path, words: &[&str]) -> String {
        let mut command = unshare();
        command.args(["sh", "-c", PREPARE, "sh"]).arg(&self.config);
        command.args(&self.wrapper).args(["env", "-i"]);
        for (name, value) in &self.environment {
            let mut entry = OsString::from(format!("{name}="));
            entry.push(value);
            command.arg(entry);
        }
        if self.engine != Engine::Library {
            command
                .arg(keepalive())
                .args(["run", "--engine", self.engine.name(), "--"]);
        }
        let output = command.arg(program).args(words).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} {words:?}: {}\n{errors}",
            program.display(),
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `targets/meet.py` with /usr/bin/python3. Returns its output.
    pub fn meet(&self, words: &[&str]) -> String {
        let script = meet();
        let script = script.to_str().expect("a UTF-8 path");
        self.run(Path::new(PYTHON), &[&["-I", "-S", script], words].concat())
    }
}

/// Returns the path of `targets/meet.py`.
pub fn meet() -> PathBuf {
    repository().join("tests/targets/meet.py")
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--");
    command
}
