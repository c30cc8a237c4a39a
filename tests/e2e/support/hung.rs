//! Runs programs with a file system that stops answering (`targets/hung_fuse.c`).

use super::observe::family;
use super::process::Running;
use super::py_peer::PyPeer;
use super::target::{Libc, compile};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tempfile::TempDir;

/// Skips a test if no file system can hang here.
macro_rules! hung {
    () => {{
        root!();
        python!();
        if let Some(why) = $crate::support::hung::HungFuse::missing() {
            skip!("{why}");
        }
        $crate::support::hung::HungFuse::new()
    }};
}

/// The limit for commands that encounter such a file system, which hangs for longer.
pub const TIME: Duration = Duration::from_secs(60);

/// While a process hangs that cannot be inspected, `keepalive` reports it in every command that examines all processes:
/// tests of such commands read-lock this, and tests with such a process write-lock it.
pub static ALL_PROCESSES: RwLock<()> = RwLock::new(());

/// Waits until no process hangs, and keeps it so until the guard is dropped.
pub fn without_hung_processes() -> RwLockReadGuard<'static, ()> {
    ALL_PROCESSES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no test inspects all processes, and keeps it so until the guard is dropped.
pub fn with_hung_process() -> RwLockWriteGuard<'static, ()> {
    ALL_PROCESSES.write().unwrap_or_else(PoisonError::into_inner)
}

/// A directory on which such a file system is mounted, in the mount namespace of the programs that run under
/// [`HungFuse::wrapper`] alone. The file system answers until [`PyPeer::hang`].
pub struct HungFuse {
    directory: TempDir,
    program: PathBuf,
}

impl HungFuse {
    /// Returns why such a file system is impossible here, if it is.
    pub fn missing() -> Option<String> {
        match fs::File::options().read(true).write(true).open("/dev/fuse") {
            Ok(_) => None,
            Err(error) => Some(format!("/dev/fuse: {error}")),
        }
    }

    pub fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
            program: compile(Libc::Host, "hung_fuse.c", &[]),
        }
    }

    /// Returns the path of the file with the bytes of the source, for programs under the wrapper.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    /// The words before a command that runs with the file system. The file in it has the bytes of `source`, and may be
    /// executed. The command finds the file in `HUNG_FILE`, and the server's pid in `HUNG_SERVER`.
    pub fn wrapper(&self, source: &Path) -> Vec<String> {
        let paths = [&self.program, self.directory.path(), source];
        paths
            .map(|path| path.to_str().expect("a UTF-8 path").to_owned())
            .to_vec()
    }

    /// Returns a Python program that runs with the file system. The file contains zeroes.
    pub fn py_peer(&self) -> PyPeer {
        let source = self.directory.path().with_extension("zeroes");
        fs::write(&source, [0; 16384]).expect("a file of the test");
        let wrapper = self.wrapper(&source);
        let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let py_peer = PyPeer::under(&words);
        fs::remove_file(source).expect("it is there");
        py_peer
    }
}

impl HungFuse {
    /// Makes the file system hang as [`PyPeer::hang`], for a program that was started under the wrapper.
    #[track_caller]
    pub fn hang(running: &Running) {
        let server = family(running.pid())[1];
        let server = Pid::from_raw(server.cast_signed()).expect("a number of a process");
        kill_process(server, Signal::USR1).expect("a child of the test");
    }
}

impl PyPeer {
    /// Makes the file system hang. From now on the server answers no request, and a process with a request waits,
    /// unkillable, until the server ends.
    #[track_caller]
    pub fn hang(&mut self) {
        self.execute("os.kill(int(os.environ['HUNG_SERVER']), 10)");
    }
}
