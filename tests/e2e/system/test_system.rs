//! A small system with two programs, a shell and the command.

use crate::support::process::text;
use crate::support::root::SmallRoot;
use crate::support::target::{Libc, POLICY, compile, without_library};
use crate::support::{find_program, library, released_keepalive};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The name of the library's copy.
pub const COPY: &str = "keepalive-system.so";
/// The loader's file.
pub const FILE: &str = "/etc/ld.so.preload";
/// The previous content of the file.
pub const BACKUP: &str = "/etc/ld.so.preload.before-keepalive";
/// The directory of the command in the system, with the library.
pub const COMMAND: &str = "/opt/keepalive";

/// A root directory with a C library and programs.
pub struct TestSystem {
    pub root: SmallRoot,
    /// The directory of its C library.
    pub directory: PathBuf,
}

impl TestSystem {
    pub fn new() -> Self {
        let root = SmallRoot::new();
        for program in ["/bin/true", "/bin/sh"] {
            root.bring(Path::new(program));
        }
        let command = released_keepalive();
        let directory = root.bring_needed_by(&command);
        root.install(&command, &Path::new(COMMAND).join("keepalive"), 0o755);
        root.install(&library(), &Path::new(COMMAND).join("libkeepalive.so"), 0o644);
        root.install(&compile(Libc::Host, "sockets.c", &[]), Path::new("/sockets"), 0o755);
        fs::create_dir(root.path().join("etc")).expect("a directory of the test");
        Self { root, directory }
    }

    /// Returns the path of the library's copy in the system.
    pub fn copy(&self) -> String {
        format!("{}/{COPY}", self.directory.display())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.root.outside(Path::new(path)).symlink_metadata().is_ok()
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.root.outside(Path::new(path));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let path = self.root.outside(Path::new(path));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn mode(&self, path: &str) -> u32 {
        let path = self.root.outside(Path::new(path));
        path.symlink_metadata().expect("it is there").mode() & 0o7777
    }

    /// Returns the command of a program in the system, without variables.
    pub fn program(&self, program: &str, words: &[&str]) -> Command {
        let mut command = without_library(&find_program("chroot").expect("it was there"));
        command.arg(self.root.path()).arg(program).args(words);
        command
    }

    /// Returns `keepalive system` in the system, as an administrator runs it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program(&format!("{COMMAND}/keepalive"), &[&["system"], words].concat());
        command.env("KEEPALIVE_LIBRARY", format!("{COMMAND}/libkeepalive.so"));
        command
    }

    /// Returns `keepalive system` of this machine, for that system.
    pub fn host_command(&self, words: &[&str]) -> Command {
        let mut command = without_library(&released_keepalive());
        command.arg("system").args(words).arg("--root").arg(self.root.path());
        command.env("KEEPALIVE_LIBRARY", library());
        command
    }

    /// Runs `keepalive system`, which must succeed. Returns its output.
    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        succeeded(&mut self.command(words))
    }

    /// Runs `keepalive system`, which must fail. Returns its error.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> String {
        failed(&mut self.command(words))
    }

    /// Returns the options of a new socket in a program of the system.
    #[track_caller]
    pub fn socket(&self) -> String {
        let printed = succeeded(self.program("/sockets", &["tcp", "show"]).envs(POLICY));
        let (_, values) = printed.trim_end().split_once(": ").expect("a name and values");
        values.to_owned()
    }

    /// Fails if a program does not start, or prints something.
    #[track_caller]
    pub fn assert_quiet(&self, when: &str) {
        for (program, words) in [("/bin/true", &[][..]), ("/bin/sh", &["-c", ":"][..])] {
            let output = self.program(program, words).output().expect("chroot starts");
            let printed = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success() && printed.is_empty(),
                "{when}: {program}: {}: {}",
                output.status,
                text(&printed)
            );
        }
    }

    /// Returns the names of all files of keepalive, without the directory of the command.
    pub fn keepalive_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = ["usr", "etc", "data"].map(|name| self.root.path().join(name)).to_vec();
        directories.retain(|directory| directory.symlink_metadata().is_ok_and(|found| found.is_dir()));
        while let Some(directory) = directories.pop() {
            for entry in directory.read_dir().expect("a directory").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().expect("an entry").is_dir() {
                    directories.push(entry.path());
                } else if name.contains("keepalive") || name.starts_with("ld.so.preload") {
                    found.push(name);
                }
            }
        }
        found.sort();
        found
    }
}

/// Runs `command`, which must succeed without messages. Returns its output.
#[track_caller]
pub fn succeeded(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{command:?}: {}: {}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs `command`, which must print only an error and return exit status 1. Returns the error.
#[track_caller]
pub fn failed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    assert_eq!(
        status.code(),
        Some(1),
        "{command:?}: {}{}",
        text(&stdout),
        text(&stderr)
    );
    assert!(stdout.is_empty(), "{command:?}: {}", text(&stdout));
    let errors = text(&stderr);
    assert!(errors.starts_with("keepalive: "), "{errors}");
    errors
}
