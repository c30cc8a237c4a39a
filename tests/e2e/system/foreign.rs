//! Trees that are not trusted: their programs are not run to look at them, and reach nothing when they are tried.

use super::stage::{FILE, Stage};
use crate::support::process::{eventually, install, output_within, text, wrapped};
use crate::support::target::{Libc, TREATED, compile};
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

/// What a program of the tree could reach, and whether it has.
struct Outside {
    victim: Child,
    port: TcpListener,
    local: UnixListener,
    path: UnixListener,
    memory: String,
}

impl Outside {
    /// Names it in the tree.
    fn of(stage: &Stage) -> Self {
        let victim = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let name = format!("keepalive-test-{}", victim.id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let local = UnixListener::bind_addr(&address).expect("a socket");
        let path = UnixListener::bind(stage.root.path().join("listener")).expect("a socket");
        port.set_nonblocking(true).expect("a socket");
        for socket in [&local, &path] {
            socket.set_nonblocking(true).expect("a socket");
        }
        stage.root.write("/victim", victim.id().to_string());
        stage
            .root
            .write("/port", port.local_addr().expect("an address").port().to_string());
        stage.root.write("/name", &name);
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
        stage.root.write("/memory", &memory);
        let null = stage.root.path().join("null");
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
        assert_eq!(self.victim.try_wait().expect("it is ours"), None, "it was ended");
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

/// The processes of this machine that run this file of the tree.
fn running(stage: &Stage, program: &str) -> Vec<String> {
    let identity = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    let wanted = identity(&real(stage, program)).expect("it is there");
    let all = fs::read_dir("/proc")
        .expect("it is there")
        .flatten()
        .map(|entry| entry.path());
    let those = all.filter(|process| identity(&process.join("exe")) == Some(wanted));
    those.map(|process| process.display().to_string()).collect()
}

/// Where a program of the tree is for us, links followed as the tree has them.
fn real(stage: &Stage, program: &str) -> PathBuf {
    let real = stage
        .root
        .outside(Path::new(program))
        .canonicalize()
        .expect("it is there");
    // The links that were brought are absolute: they are the tree's.
    if real.starts_with(stage.root.path()) {
        real
    } else {
        stage.root.outside(&real)
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn with_loader(flags: &[&str]) -> Stage {
    let stage = Stage::new();
    let hostile = compile(Libc::Host, "escape.c", &[&["-static"], flags].concat());
    install(&hostile, &stage.root.path().join("suid"), 0o4755);
    let real = real(&stage, LOADER);
    fs::remove_file(&real).expect("a file of ours");
    install(&hostile, &real, 0o755);
    stage
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
fn status_runs_no_program_of_another_system() {
    let _ = system!();
    on_x86_64!();
    let stage = with_loader(&[]);
    let mut outside = Outside::of(&stage);
    for words in [&["status"][..], &["status", "--json"], &["disable"], &["status"]] {
        let output = run(&mut stage.outside(words));
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        if words == ["status"] {
            assert!(
                text(&output.stdout).contains("no program of that system was run"),
                "{output:?}"
            );
        }
        outside.assert_untouched();
        assert!(!stage.exists("/escaped"), "{words:?}: a program of the tree was run");
    }
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let status = stage.outside(&["status"]);
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
fn assert_confined(stage: &Stage, outside: &mut Outside, command: &mut Command, name: &str) {
    let output = run(command);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}{errors}", text(&output.stdout));
    // It was run, and could do nothing of all that.
    let told = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("ends with status 3: worked:."), "{told}");
    outside.assert_untouched();
    assert!(!stage.exists("/escaped") && !stage.exists("/made") && !stage.exists(FILE));
    assert_eq!(running(stage, name), [""; 0], "processes are left");
}

#[test]
fn a_loader_that_is_tried_reaches_nothing() {
    let _ = system!();
    on_x86_64!();
    let stage = with_loader(&[]);
    let mut outside = Outside::of(&stage);
    assert_confined(&stage, &mut outside, &mut stage.outside(&["enable"]), LOADER);
}

/// The loader and the C library are good, and a program that is tried beside them is not.
#[test]
fn a_program_that_is_tried_reaches_nothing() {
    let _ = system!();
    on_x86_64!();
    for program in ["/bin/true", "/bin/sh"] {
        let stage = Stage::new();
        let hostile = compile(Libc::Host, "escape.c", &[]);
        install(&hostile, &stage.root.path().join("suid"), 0o4755);
        stage.root.install(&hostile, Path::new(program), 0o755);
        let mut outside = Outside::of(&stage);
        let output = run(&mut stage.outside(&["enable"]));
        let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(errors.contains("ends with status 3: worked:."), "{program}: {errors}");
        outside.assert_untouched();
        assert_eq!(stage.ours(), [""; 0]);
        assert_eq!(running(&stage, program), [""; 0], "{program}: processes are left");
    }
}

/// With a terminal, descriptors and a keyring that must not be inherited.
#[test]
fn nothing_that_the_caller_has_is_inherited() {
    let _ = system!();
    on_x86_64!();
    let Some(script) = find_program("script") else {
        skip!("script is not installed");
    };
    let stage = with_loader(&[]);
    let mut outside = Outside::of(&stage);
    let line = format!(
        "exec 7</etc/passwd 9>>{0}/kept 200<>{0}/kept; '{1}' system enable --root '{0}'",
        stage.root.path().display(),
        released_keepalive().display()
    );
    let mut command = Command::new(script);
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command
        .env("KEEPALIVE_LIBRARY", library())
        .env("SHELL", "/bin/bash")
        .stdin(Stdio::null());
    let output = run(&mut command);
    let told = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("ends with status 3: worked:."), "{told}");
    outside.assert_untouched();
}

/// An ordinary user has no privileges to drop, and a user namespace.
#[test]
fn an_ordinary_users_tree_is_confined_too() {
    let _ = system!();
    on_x86_64!();
    let stage = with_loader(&[]);
    let mut outside = Outside::of(&stage);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let tree = stage.root.path();
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
fn what_does_not_end_or_prints_without_end_is_ended() {
    let _ = system!();
    on_x86_64!();
    for flag in ["-DHANG", "-DFLOOD"] {
        let stage = with_loader(&[flag]);
        let mut outside = Outside::of(&stage);
        let output = run(&mut stage.outside(&["enable"]));
        let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(1), "{flag}: {errors}");
        assert!(errors.contains("does not end"), "{flag}: {errors}");
        outside.assert_untouched();
        assert_eq!(running(&stage, LOADER), [""; 0], "{flag}: processes are left");
    }
}

/// When the command is killed, so is what it tries.
#[test]
fn nothing_outlives_the_command() {
    let _ = system!();
    on_x86_64!();
    let stage = with_loader(&["-DHANG"]);
    let _outside = Outside::of(&stage);
    let mut command = stage.outside(&["enable"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    eventually("the program runs", LIMIT, || {
        (!running(&stage, LOADER).is_empty()).then_some(())
    });
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    eventually("the program has ended", LIMIT, || {
        running(&stage, LOADER).is_empty().then_some(())
    });
}

/// Whoever made the tree may have made it for root alone: nobody else can try its programs.
#[test]
fn a_tree_for_root_alone_is_changed_and_not_tried() {
    for path in ["", "etc/../usr/lib"] {
        let stage = system!();
        let closed = stage.root.path().join(path);
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("a directory of ours");
        let told = super::stage::succeeded(&mut stage.outside(&["enable"]));
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains("NOT tried: a user without privileges cannot run them there"),
            "{told}"
        );
        assert_eq!(stage.socket(), TREATED);
    }
}
