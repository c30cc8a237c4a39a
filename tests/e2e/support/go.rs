//! Programs without a C library: `targets/ends.go`, which sets keepalive itself, and others.

use super::line_peer::LinePeer;
use super::observe::tcp_sockets;
use super::process::LIMIT;
use super::{find_program, repository};
use keepalive_policy::Mode;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// (keepalive, idle, interval, count), as `Seen::timing` returns it.
pub type Timing = (bool, u64, u64, u32);

/// The compiled program. Dropping this value removes its files.
pub struct GoProgram {
    directory: TempDir,
}

impl GoProgram {
    /// # Errors
    /// Why the program cannot be built.
    pub fn build() -> Result<Self, String> {
        Self::build_from("ends.go")
    }

    /// As [`Self::build`], from another file of `targets/`.
    pub fn build_from(source: &str) -> Result<Self, String> {
        let go = find_program("go").ok_or("go is not installed")?;
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        fs::create_dir_all(&home).expect("a directory in the build directory");
        let program = Self {
            directory: TempDir::new_in(&home).expect("a directory of the test"),
        };
        let built = Command::new(go)
            .args(["build", "-ldflags=-s -w", "-o"])
            .arg(program.path())
            .arg(repository().join("tests/targets").join(source))
            .env("CGO_ENABLED", "0")
            .env("HOME", &home)
            .env("GOFLAGS", "-modcacherw")
            .status();
        assert!(built.expect("go starts").success());
        Ok(program)
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ends")
    }

    /// Returns the options of its sockets under each mode of the policy 61/13/4. Go's dialer and listener set 15 s
    /// after the call, unless they are configured otherwise.
    pub fn expected(&self) -> [(Mode, Timing); 4] {
        let alone = timings(&mut Command::new(self.path()));
        for (is_on, idle, interval, _) in alone {
            assert_eq!((is_on, idle, interval), (true, 15, 15));
        }
        // Newer versions of Go also set the count.
        let counts = match alone[0].3 {
            9 => [4, 4, 4, 4],
            count => [count, count.min(4), count.max(4), 4],
        };
        [
            (Mode::Fill, (true, 15, 15, counts[0])),
            (Mode::Cap, (true, 15, 13, counts[1])),
            (Mode::Floor, (true, 61, 15, counts[2])),
            (Mode::Enforce, (true, 61, 13, counts[3])),
        ]
    }
}

/// Runs the program by this command. Returns the options of the connected and of the accepted socket.
pub fn timings(command: &mut Command) -> [Timing; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let there = listener.local_addr().expect("bound");
    let mut program = LinePeer::start(command.arg(there.port().to_string()));
    // Go sets its options after the call, and before the program continues: they are set when the program answers and
    // echoes.
    let port: u16 = program.answer().parse().expect("its port");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    client.set_read_timeout(Some(LIMIT)).expect("SO_RCVTIMEO");
    client.write_all(b"x").expect("a fresh connection takes a byte");
    client.read_exact(&mut [0]).expect("its echo");
    let here = client.local_addr().expect("connected");
    let sockets = tcp_sockets(program.pid());
    [there, here].map(|peer| {
        let found = sockets.iter().find(|seen| seen.socket.peer == Some(peer));
        found.expect("a connection of its own").timing()
    })
}
