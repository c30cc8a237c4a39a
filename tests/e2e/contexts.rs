//! Every call that the library hooks, from every context in which a program may make it: the sockets have the same
//! settings in all contexts, under every C library.

use crate::support::library;
use crate::support::target::{Libc, POLICY_VALUES, PreloadRoot, compile, output, with_library};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The output of `targets/calls.c`: keepalive, idle, interval, count, user timeout in milliseconds.
const EXPECTED: &str = "\
socket: 1 61 13 4 0
connect: 1 61 13 4 113000
raw connect: 1 61 13 4 0
getsockopt: 1 61 13 4 113000
accept: 1 61 13 4 113000
accept4: 1 61 13 4 113000
listen: 1 61 13 4 113000
raw accept: 1 61 13 4 113000
syscall socket: 1 61 13 4 0
syscall connect: 1 61 13 4 113000
syscall raw connect: 1 61 13 4 0
syscall getsockopt: 1 61 13 4 113000
syscall accept: 1 61 13 4 113000
syscall accept4: 1 61 13 4 113000
syscall listen: 1 61 13 4 113000
syscall raw accept: 1 61 13 4 113000
prctl: 0 7200 75 9 0
syscall prctl: 0 7200 75 9 0
syscall seccomp: 0 7200 75 9 0
";

/// Defines the same tests for each C library.
macro_rules! under {
    ($($libc_name:ident: $libc:expr;)*) => {
        $(mod $libc_name {
            use super::Libc;
            const LIBC: Libc = $libc;

            #[test]
            fn from_main() {
                super::from_program(LIBC, "main", "");
            }

            #[test]
            fn from_a_signal_handler() {
                super::from_program(LIBC, "handler", "");
            }

            #[test]
            fn from_a_child_of_fork() {
                super::from_program(LIBC, "fork", "");
            }

            #[test]
            fn from_a_child_of_vfork() {
                super::from_program(LIBC, "vfork", &format!("parent: {}\n", super::POLICY_VALUES));
            }

            #[test]
            fn from_a_thread() {
                super::from_thread(LIBC);
            }

            #[test]
            fn from_the_constructor_of_a_linked_library() {
                super::from_linked_library(LIBC);
            }

            #[test]
            fn from_the_constructor_of_a_library_preloaded_before() {
                super::from_preloaded_library(LIBC, true);
            }

            #[test]
            fn from_the_constructor_of_a_library_preloaded_after() {
                super::from_preloaded_library(LIBC, false);
            }

            #[test]
            fn with_a_large_environment() {
                super::with_a_large_environment(LIBC);
            }

            #[test]
            fn signals_at_the_start() {
                super::with_signals_at_the_start(LIBC);
            }
        })*
    };
}

under! {
    glibc: Libc::Host;
    musl: Libc::Musl;
    // glibc before 2.34: dlsym is in libdl and connect in libpthread too, and most programs here are linked to neither.
    bullseye: Libc::Chroot("bullseye");
    trixie: Libc::Chroot("trixie");
}

fn calls(libc: Libc) -> PathBuf {
    compile(libc, "calls.c", &[])
}

/// Returns the library that makes the calls in its constructor.
fn constructor(libc: Libc) -> PathBuf {
    compile(libc, "calls.c", &["-DCONSTRUCTOR", "-shared", "-fPIC"])
}

/// Returns the program that is linked to that library, which it finds through LD_LIBRARY_PATH.
fn linked_to_constructor(libc: Libc) -> PathBuf {
    let library = constructor(libc);
    let library = library.to_str().expect("an ASCII path");
    compile(libc, "calls.c", &["-Wl,--no-as-needed", library])
}

/// The user timeout shows which calls have noticed a complete connection.
fn with_user_timeout(command: &mut Command) -> &mut Command {
    command.env("KEEPALIVE_USER_TIMEOUT", "auto")
}

fn expect(command: &mut Command, after: &str) {
    assert_eq!(output(with_user_timeout(command)), format!("{EXPECTED}{after}"));
}

fn from_program(libc: Libc, context: &str, after: &str) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let root = PreloadRoot::new(libc);
    expect(root.command(&calls(libc), &[&library()]).arg(context), after);
}

fn from_thread(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let program = compile(libc, "calls.c", &["-DTHREADS", "-pthread"]);
    expect(
        PreloadRoot::new(libc).command(&program, &[&library()]).arg("thread"),
        "",
    );
}

/// Libraries that the program needs are initialised before preloaded ones: the calls come before this library's
/// constructor.
fn from_linked_library(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let root = PreloadRoot::new(libc);
    let program = linked_to_constructor(libc);
    let library_path = root.bring(&constructor(libc));
    let mut command = root.command(&program, &[&library()]);
    expect(command.arg("nothing").env("LD_LIBRARY_PATH", parent(&library_path)), "");
}

/// Preloaded libraries are initialised last to first.
fn from_preloaded_library(libc: Libc, before: bool) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let (ours, theirs) = (library(), constructor(libc));
    let order: [&Path; 2] = if before { [&theirs, &ours] } else { [&ours, &theirs] };
    expect(PreloadRoot::new(libc).command(&calls(libc), &order).arg("nothing"), "");
}

/// 200 KB of variables, many of them with similar names.
fn with_a_large_environment(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let root = PreloadRoot::new(libc);
    let program = calls(libc);
    let mut command = root.command(&program, &[&library()]);
    for number in 0..1000 {
        command.env(format!("KEEPIDLE{number}"), "x".repeat(10));
    }
    for name in ["KEEPALIVE_", "KEEP", "X", "LISTEN"] {
        command.env(name, "1".repeat(45_000));
    }
    expect(command.arg("main"), "");
}

/// The handler of each signal creates a socket: before the library's constructor, in it, and after. No process ends, and
/// later sockets have the policy. A first call from a signal handler inside dlsym(3) sometimes ended older libraries.
fn with_signals_at_the_start(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let root = PreloadRoot::new(libc);
    let program = linked_to_constructor(libc);
    let library_path = root.bring(&constructor(libc));
    for microseconds in 1..100 {
        let mut command = root.command(&program, &[&library()]);
        command
            .arg("signals")
            .env("SIGNAL_INTERVAL", microseconds.to_string())
            .env("LD_LIBRARY_PATH", parent(&library_path));
        assert_eq!(
            output(&mut command),
            format!("main: {POLICY_VALUES}\n"),
            "a signal each {microseconds} µs"
        );
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("the path of a file")
}

/// As for a daemon that has closed its outputs, new descriptors get low numbers. Here 0 and 2 are closed.
#[test]
fn with_closed_descriptors() {
    let program = calls(Libc::Host);
    let mut shell = with_library(Path::new("/bin/sh"));
    shell.args(["-c", r#"exec "$@" 0<&- 2>&-"#, "sh"]);
    expect(shell.arg(program).arg("main"), "");
}
