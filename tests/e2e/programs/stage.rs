//! Where a program runs: a directory of its own, an ordinary user, a clean environment, with the library or without.

use super::{COUNT, IDLE, INTERVAL};
use crate::support::engine::Engine;
use crate::support::ordinary::NOBODY;
use crate::support::{self, process::install};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use rustix::process::geteuid;
use std::env;
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// nobody and nogroup: who runs the programs when root runs the tests.
const ORDINARY: u32 = 65534;

/// One directory that everyone can read and in which the program may write, removed with this value.
pub struct Stage {
    directory: TempDir,
    engine: Option<Engine>,
    ordinary: bool,
    environment: Vec<(&'static str, &'static str)>,
}

impl Stage {
    /// Without an engine programs get nothing. `as_root`: they stay root where the tests are.
    pub fn new(engine: Option<Engine>, as_root: bool) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("keepalive-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory");
        let stage = Self {
            directory,
            engine,
            ordinary: is_root() && !as_root,
            environment: Vec::new(),
        };
        fs::create_dir(stage.home()).expect("a directory in an empty directory");
        if stage.ordinary {
            chown(stage.home(), Some(ORDINARY), Some(ORDINARY)).expect("root can give a directory away");
        }
        // The build directory may be closed to the program's user.
        match engine {
            Some(Engine::Library) => install(&support::library(), &stage.library(), 0o755),
            Some(Engine::Supervisor) => install(&support::released_keepalive(), &stage.keepalive(), 0o755),
            Some(Engine::Kernel) | None => {}
        }
        stage
    }

    /// With another variable in the programs' environment.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// The program's own directory, also its HOME.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("libkeepalive.so")
    }

    fn keepalive(&self) -> PathBuf {
        match self.engine {
            // Root executes this one.
            Some(Engine::Kernel) => support::keepalive(),
            _ => self.directory.path().join("keepalive"),
        }
    }

    /// Whether the program becomes the ordinary user only after the engine has done what takes root.
    fn becomes_ordinary(&self) -> bool {
        self.ordinary && self.engine == Some(Engine::Kernel)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What the programs wrote to their outputs.
    pub fn output(&self) -> String {
        fs::read(self.log())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.home().join(name), content).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
    }

    /// The command `words`, its input a pipe that stays open, its outputs in the log.
    pub fn command(&self, words: &[String]) -> Command {
        let program = support::find_program(&words[0]).unwrap_or_else(|| panic!("{} was there before", words[0]));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log in our own directory");
        let mut command = match self.engine {
            None | Some(Engine::Library) => Command::new(program),
            Some(engine) => {
                let mut command = Command::new(self.keepalive());
                command.args(["run", "--engine", engine.name(), "--"]);
                if self.becomes_ordinary() {
                    command.args(NOBODY);
                }
                command.arg(program);
                command
            }
        };
        command.args(&words[1..]).current_dir(self.home()).env_clear();
        command
            .env("HOME", self.home())
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm");
        command
            .env("TMPDIR", self.home())
            .env("PATH", env::var_os("PATH").unwrap_or_default());
        if self.engine == Some(Engine::Library) {
            command.env("LD_PRELOAD", self.library());
        }
        if self.engine.is_some() {
            command.env("KEEPIDLE", IDLE.to_string());
            command.env("KEEPINTVL", INTERVAL.to_string());
            command.env("KEEPCNT", COUNT.to_string());
        }
        command.envs(self.environment.iter().copied());
        if self.ordinary && !self.becomes_ordinary() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a second log"))
            .stderr(log);
        command
    }

    /// Runs a command that prepares the ground for a server, and requires its success.
    pub fn prepare(&self, words: &[String]) {
        let mut command = self.command(words);
        let status = command
            .stdin(Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(status.success(), "{words:?}: {status}\n{}", self.output());
    }
}

/// A port of loopback that nobody else is given while this lives. A server that sets `SO_REUSEADDR`, as all here do,
/// can still bind and listen on it, because the socket that holds it is bound and does not listen.
pub struct ReservedPort {
    _holder: OwnedFd,
    port: u16,
}

impl ReservedPort {
    pub fn new() -> Self {
        // Not for the programs that other tests start meanwhile.
        let holder = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let holder = holder.expect("a socket");
        sockopt::set_socket_reuseaddr(&holder, true).expect("SO_REUSEADDR");
        bind(&holder, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = SocketAddr::try_from(getsockname(&holder).expect("a bound socket has a name"));
        Self {
            port: address.expect("an IPv4 address").port(),
            _holder: holder,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Puts the stage's directory and ports in place of `@HOME@`, `@PORT@` and `@PEER@`.
pub fn fill_in(template: &str, home: &Path, port: u16, peer: u16) -> String {
    template
        .replace("@HOME@", &home.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@PEER@", &peer.to_string())
}
