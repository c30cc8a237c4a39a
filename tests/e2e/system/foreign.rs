//! Root directories that are not trusted: their programs are not run to inspect them, and can access nothing when they
//! are tried.

use super::test_system::{FILE, TestSystem};
use crate::support::process::{eventually, install, output_within, text, wrapped};
use crate::support::target::{Libc, POLICY_VALUES, compile};
use crate::support::{find_program, library, released_keepalive};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(1);

/// Resources outside of the root directory that a program could access, and whether it has.
struct Outside {
    victim: Child,
    port: TcpListener,
    local: UnixListener,
    path: UnixListener,
    memory: String,
}

impl Outside {
    /// Creates the resources, and writes their names into the root directory.
    fn of(system: &TestSystem) -> Self {
        let victim = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let name = format!("keepalive-test-{}", victim.id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let local = UnixListener::bind_addr(&address).expect("a socket");
        let path = UnixListener::bind(system.root.path().join("listener")).expect("a socket");
        port.set_nonblocking(true).expect("a socket");
        for socket in [&local, &path] {
            socket.set_nonblocking(true).expect("a socket");
        }
        system.root.write("/victim", victim.id().to_string());
        system
            .root
            .write("/port", port.local_addr().expect("an address").port().to_string());
        system.root.write("/name", &name);
        let made = Command::new("ipcmk")
            .args(["--shmem", "4096"])
            .output()
            .expect("ipcmk starts");
        let memory = text(&made.stdout)
            .rsplit(' ')
            .next()
            .expect("a number")
            .trim()
            .to_owned();
        system.root.write("/memory", &memory);
        let null = system.root.path().join("null");
        mknodat(
            CWD,
            &null,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(1, 3),
        )
        .expect("a device");
        Self {
            victim,
            port,
            local,
            path,
            memory,
        }
    }

    #[track_caller]
    fn assert_untouched(&mut self) {
        assert_eq!(
            self.victim.try_wait().expect("a child of the test"),
            None,
            "it was ended"
        );
        assert!(self.port.accept().is_err(), "the port was reached");
        assert!(self.local.accept().is_err(), "the abstract socket was reached");
        assert!(self.path.accept().is_err(), "the socket in the tree was reached");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ipcrm").args(["--shmem-id", &self.memory]).status();
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Returns the processes of this machine that run this file of the root directory.
fn running(system: &TestSystem, program: &str) -> Vec<String> {
    let identity = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    let wanted = identity(&real(system, program)).expect("it is there");
    let all = fs::read_dir("/proc")
        .expect("it is there")
        .flatten()
        .map(|entry| entry.path());
    let processes = all.filter(|process| identity(&process.join("exe")) == Some(wanted));
    processes.map(|process| process.display().to_string()).collect()
}

/// Returns this machine's path of a program, with links resolved in the root directory.
fn real(system: &TestSystem, program: &str) -> PathBuf {
    let real = system
        .root
        .outside(Path::new(program))
        .canonicalize()
        .expect("it is there");
    // Copied links are absolute, and relative to the root directory.
    if real.starts_with(system.root.path()) {
        real
    } else {
        system.root.outside(&real)
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn with_loader(flags: &[&str]) -> TestSystem {
    let system = TestSystem::new();
    let hostile = compile(Libc::Host, "escape.c", &[&["-static"], flags].concat());
    install(&hostile, &system.root.path().join("suid"), 0o4755);
    let real = real(&system, LOADER);
    fs::remove_file(&real).expect("a file of the test");
    install(&hostile, &real, 0o755);
    system
}

fn run(command: &mut Command) -> Output {
    output_within(LIMIT, command)
}

macro_rules! on_x86_64 {
    () => {
        if !cfg!(target_arch = "x86_64") {
            skip!("the loader's path is that of x86-64");
        }
        if let Some(why) = Libc::Host.missing() {
            skip!("{why}");
        }
    };
}

#[test]
fn status_runs_no_program_of_another_root() {
    let _ = system!();
    on_x86_64!();
    let system = with_loader(&[]);
    let mut outside = Outside::of(&system);
    for words in [&["status"][..], &["status", "--json"], &["disable"], &["status"]] {
        let output = run(&mut system.host_command(words));
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        if words == ["status"] {
            assert!(
                text(&output.stdout).contains("no program of that system was run"),
                "{output:?}"
            );
        }
        outside.assert_untouched();
        assert!(!system.exists("/escaped"), "{words:?}: a program of the tree was run");
    }
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let status = system.host_command(&["status"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=execve,execveat,clone,clone3,fork,vfork", "-o"]);
    command
        .arg(trace.path())
        .arg(status.get_program())
        .args(status.get_args());
    assert!(run(command.env("KEEPALIVE_LIBRARY", library())).status.success());
    let calls = fs::read_to_string(trace.path()).expect("strace wrote it");
    let calls: Vec<&str> = calls
        .lines()
        .filter(|line| line.contains("exec") || line.contains("clone"))
        .collect();
    assert_eq!(calls.len(), 1, "{calls:#?}");
}

#[track_caller]
fn assert_confined(system: &TestSystem, outside: &mut Outside, command: &mut Command, name: &str) {
    let output = run(command);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}{errors}", text(&output.stdout));
    // The program was run, and could access nothing.
    let printed = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(printed.contains("ends with status 3: worked:."), "{printed}");
    outside.assert_untouched();
    assert!(!system.exists("/escaped") && !system.exists("/made") && !system.exists(FILE));
    assert_eq!(running(system, name), [""; 0], "processes are left");
}

#[test]
fn tried_loader_can_access_nothing() {
    let _ = system!();
    on_x86_64!();
    let system = with_loader(&[]);
    let mut outside = Outside::of(&system);
    assert_confined(&system, &mut outside, &mut system.host_command(&["enable"]), LOADER);
}

/// The loader and the C library are good, and another program that is tried is hostile.
#[test]
fn tried_program_can_access_nothing() {
    let _ = system!();
    on_x86_64!();
    for program in ["/bin/true", "/bin/sh"] {
        let system = TestSystem::new();
        let hostile = compile(Libc::Host, "escape.c", &[]);
        install(&hostile, &system.root.path().join("suid"), 0o4755);
        system.root.install(&hostile, Path::new(program), 0o755);
        let mut outside = Outside::of(&system);
        let output = run(&mut system.host_command(&["enable"]));
        let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(errors.contains("ends with status 3: worked:."), "{program}: {errors}");
        outside.assert_untouched();
        assert_eq!(system.keepalive_files(), [""; 0]);
        assert_eq!(running(&system, program), [""; 0], "{program}: processes are left");
    }
}

/// A terminal, descriptors and a keyring must not be inherited.
#[test]
fn tried_program_inherits_nothing() {
    let _ = system!();
    on_x86_64!();
    let Some(script) = find_program("script") else {
        skip!("script is not installed");
    };
    let system = with_loader(&[]);
    let mut outside = Outside::of(&system);
    let line = format!(
        "exec 7</etc/passwd 9>>{0}/kept 200<>{0}/kept; '{1}' system enable --root '{0}'",
        system.root.path().display(),
        released_keepalive().display()
    );
    let mut command = Command::new(script);
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command
        .env("KEEPALIVE_LIBRARY", library())
        .env("SHELL", "/bin/bash")
        .stdin(Stdio::null());
    let output = run(&mut command);
    let printed = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(printed.contains("ends with status 3: worked:."), "{printed}");
    outside.assert_untouched();
}

/// An ordinary user has no privileges to drop, and uses a user namespace.
#[test]
fn programs_are_confined_for_an_ordinary_user() {
    let _ = system!();
    on_x86_64!();
    let system = with_loader(&[]);
    let mut outside = Outside::of(&system);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let tree = system.root.path();
    for path in ["", "etc", "usr/lib/x86_64-linux-gnu"] {
        chown(tree.join(path), Some(65534), Some(65534)).expect("root may do that");
    }
    let shared = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory");
    for (file, name) in [(released_keepalive(), "keepalive"), (library(), "libkeepalive.so")] {
        install(&file, &shared.path().join(name), 0o755);
    }
    let mut command = wrapped(&nobody, shared.path().join("keepalive"));
    command.args(["system", "enable", "--root"]).arg(tree);
    let output = run(&mut command);
    let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    if output.status.success() && text(&output.stdout).contains("NOT tried") {
        skip!(
            "ordinary users may not make user namespaces here: {}",
            text(&output.stdout)
        );
    }
    assert!(errors.contains("ends with status 3: worked:."), "{errors}");
    outside.assert_untouched();
}

#[test]
fn endless_program_is_ended() {
    let _ = system!();
    on_x86_64!();
    for flag in ["-DHANG", "-DFLOOD"] {
        let system = with_loader(&[flag]);
        let mut outside = Outside::of(&system);
        let output = run(&mut system.host_command(&["enable"]));
        let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(1), "{flag}: {errors}");
        assert!(errors.contains("does not end"), "{flag}: {errors}");
        outside.assert_untouched();
        assert_eq!(running(&system, LOADER), [""; 0], "{flag}: processes are left");
    }
}

/// If the command is killed, the programs that it tries are killed too.
#[test]
fn no_process_outlives_the_command() {
    let _ = system!();
    on_x86_64!();
    let system = with_loader(&["-DHANG"]);
    let _outside = Outside::of(&system);
    let mut command = system.host_command(&["enable"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    eventually("the program runs", LIMIT, || {
        (!running(&system, LOADER).is_empty()).then_some(())
    });
    child.kill().expect("a child of the test");
    child.wait().expect("a child of the test");
    eventually("the program has ended", LIMIT, || {
        running(&system, LOADER).is_empty().then_some(())
    });
}

/// The root directory may be accessible only to root: an unprivileged user cannot try its programs.
#[test]
fn root_directory_for_root_only_is_changed_without_a_trial() {
    for path in ["", "etc/../usr/lib"] {
        let system = system!();
        let closed = system.root.path().join(path);
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("a directory of the test");
        let printed = super::test_system::succeeded(&mut system.host_command(&["enable"]));
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            printed.contains("NOT tried: a user without privileges cannot run them there"),
            "{printed}"
        );
        assert_eq!(system.socket(), POLICY_VALUES);
    }
}
