//! What `--engine auto` finds in the files of a program, and that it reaches the connections that the library alone would
//! not: for root, and for an ordinary user.

use super::{Keepalive, LIMIT, outcome, start};
use crate::support::go::GoProgram;
use crate::support::observe::tcp_sockets;
use crate::support::ordinary::NOBODY;
use crate::support::process::within;
use crate::support::target::{Libc, compile, static_target};
use crate::support::{PYTHON, find_program};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// The policy of `Keepalive::environment`.
const OURS: (bool, u64, u64, u32) = (true, 61, 13, 4);

/// `keepalive run` as root, or as nobody.
fn run(keepalive: &Keepalive, is_user: bool) -> Command {
    if !is_user {
        return keepalive.run();
    }
    let mut command = keepalive.environment(NOBODY[0].as_ref());
    command.args(&NOBODY[1..]).arg(keepalive.path()).arg("run");
    command
}

/// The first line of `-v`: the engine and the reason.
fn reason(keepalive: &Keepalive, is_user: bool, program: &Path) -> String {
    let mut command = run(keepalive, is_user);
    // No program here takes this for anything but a mistake.
    let (_, message, _) = outcome(command.arg("-v").arg(program).arg("--no-such-option"));
    message.lines().next().unwrap_or_default().to_owned()
}

/// Runs the words, in which `@PORT@` stands for the port of a listener, and requires that the connection to it gets the
/// policy. The words on standard error are returned.
#[track_caller]
fn is_reached(command: &mut Command, words: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let there = listener.local_addr().expect("bound");
    let port = there.port().to_string();
    command.env("PORT", &port);
    command.args(words.iter().map(|word| word.replace("@PORT@", &port)));
    let (mut program, _output) = start(command.stderr(Stdio::piped()));
    let mut seen = Vec::new();
    let is_set = within(LIMIT, || {
        seen = tcp_sockets(program.pid());
        seen.retain(|seen| seen.socket.peer == Some(there));
        let is_set = !seen.is_empty() && seen.iter().all(|seen| seen.timing() == OURS);
        (is_set || program.has_ended()).then_some(is_set)
    });
    let _ = program.child.kill();
    let mut message = String::new();
    let mut errors = program.child.stderr.take().expect("a pipe");
    // The connection's end ends its holder, which may have been started by the killed one.
    drop(listener);
    drop(program.child.stdin.take());
    let _ = std::io::Read::read_to_string(&mut errors, &mut message);
    assert_eq!(is_set, Some(true), "{words:?}: {seen:?}\n{message}");
    message
}

#[test]
fn a_user_has_the_library_alone_for_a_program_that_shows_no_other_calls() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let client = keepalive.bring(&compile(Libc::Host, "client.c", &[]), "client");
    let why = reason(&keepalive, true, &client);
    let expected = format!(
        "keepalive: engine preload: {} is a dynamic program that starts no other and loads no modules",
        client.display()
    );
    assert_eq!(why, expected);
    is_reached(run(&keepalive, true).arg(&client), &["@PORT@"]);
    // Root, and a user who has lost all privileges already, lose nothing by the supervisor.
    let why = reason(&keepalive, false, &client);
    assert!(why.starts_with("keepalive: engine preload and seccomp: "), "{why}");
    let mut command = keepalive.environment(NOBODY[0].as_ref());
    command
        .args(&NOBODY[1..4])
        .args(["--no-new-privs"])
        .arg(keepalive.path())
        .args(["run", "-v"]);
    let (_, message, _) = outcome(command.arg(&client));
    assert!(
        message.starts_with("keepalive: engine preload and seccomp: "),
        "{message}"
    );
}

#[test]
fn system_call_instructions_are_found_and_reached() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let raw = keepalive.bring(&compile(Libc::Host, "client.c", &["-DRAW"]), "raw");
    for is_user in [false, true] {
        let why = reason(&keepalive, is_user, &raw);
        let expected = format!(
            "keepalive: engine preload and seccomp: {} has system call instructions of its own",
            raw.display()
        );
        assert_eq!(why, expected);
        is_reached(run(&keepalive, is_user).arg(&raw), &["@PORT@"]);
    }
}

#[test]
fn modules_with_their_own_symbol_scope_are_reached() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let loader = keepalive.bring(&compile(Libc::Host, "loader.c", &["-ldl"]), "loader");
    let module = compile(Libc::Host, "client.c", &["-DMODULE", "-shared", "-fPIC"]);
    let module = keepalive.bring(&module, "libclient.so").display().to_string();
    for is_user in [false, true] {
        let why = reason(&keepalive, is_user, &loader);
        let expected = format!(
            "keepalive: engine preload and seccomp: {} loads modules, which may have their own symbol scope (dlopen)",
            loader.display()
        );
        assert_eq!(why, expected);
        for scope in ["now", "deepbind", "apart"] {
            is_reached(run(&keepalive, is_user).arg(&loader), &[scope, &module]);
        }
    }
}

/// The script ends when standard input does.
fn php(call: &str) -> String {
    format!("{call}; fgets(STDIN);")
}

#[test]
fn extensions_of_php_are_reached() {
    root!();
    let Some(program) = find_program("php") else {
        skip!("php is not installed");
    };
    let (modules, _, _) = outcome(Command::new(&program).arg("-m").stdin(Stdio::null()));
    let keepalive = Keepalive::for_all_users();
    for (module, call) in [
        ("curl", "curl_exec(curl_init('http://127.0.0.1:@PORT@/'))"),
        ("pgsql", "pg_connect('host=127.0.0.1 port=@PORT@ user=u dbname=d')"),
    ] {
        if !modules.lines().any(|line| line == module) {
            skip!("php-{module} is not installed");
        }
        for is_user in [false, true] {
            is_reached(run(&keepalive, is_user).arg(&program), &["-r", &php(call)]);
        }
    }
}

/// Programs that start the program which their last arguments name. A static one is out of the library's reach.
#[test]
fn children_of_python_are_reached() {
    root!();
    python!();
    let keepalive = Keepalive::for_all_users();
    let client = keepalive
        .bring(&static_target(Libc::Host, "client.c"), "client")
        .display()
        .to_string();
    let script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))";
    for is_user in [false, true] {
        is_reached(
            &mut run(&keepalive, is_user),
            &[PYTHON, "-ISc", script, &client, "@PORT@"],
        );
    }
}

#[test]
fn children_of_a_go_program_are_reached() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let starter = match GoProgram::build_from("starts.go") {
        Ok(program) => keepalive.bring(&program.path(), "starts"),
        Err(why) => skip!("{why}"),
    };
    for target in [
        static_target(Libc::Host, "client.c"),
        compile(Libc::Host, "client.c", &[]),
    ] {
        let client = keepalive.bring(&target, "client").display().to_string();
        for is_user in [false, true] {
            is_reached(run(&keepalive, is_user).arg(&starter), &[&client, "@PORT@"]);
        }
    }
}

/// In the sandbox there is the client, but not the library: its loader would print an error for each program.
#[test]
fn programs_in_a_bwrap_sandbox_are_reached_without_loader_errors() {
    root!();
    if find_program("bwrap").is_none() {
        skip!("bwrap (bubblewrap) is not installed");
    }
    let keepalive = Keepalive::for_all_users();
    for (name, target) in [
        ("static", static_target(Libc::Host, "client.c")),
        ("dynamic", compile(Libc::Host, "client.c", &[])),
    ] {
        let client = keepalive.bring(&target, name).display().to_string();
        let sandbox = [
            "bwrap",
            "--ro-bind",
            "/usr",
            "/usr",
            "--symlink",
            "usr/lib",
            "/lib",
            "--symlink",
            "usr/lib64",
            "/lib64",
            "--symlink",
            "usr/bin",
            "/bin",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--unshare-pid",
            "--ro-bind",
            &client,
            "/client",
            "/client",
            "@PORT@",
        ];
        for is_user in [false, true] {
            let message = is_reached(&mut run(&keepalive, is_user), &sandbox);
            assert_eq!(message, "", "{name}, as a user: {is_user}");
        }
    }
}

#[test]
fn programs_in_another_network_or_root_are_reached_silently() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let client = keepalive.bring(&compile(Libc::Host, "client.c", &[]), "client");
    for starter in [
        &["unshare", "--mount"][..],
        &["chroot", "/"],
        &["nsenter", "--net=/proc/self/ns/net"],
    ] {
        let message = is_reached(keepalive.run().args(starter).arg(&client), &["@PORT@"]);
        assert_eq!(message, "", "{starter:?}");
        let why = reason(
            &keepalive,
            false,
            &find_program(starter[0]).expect("one of util-linux or coreutils"),
        );
        assert!(
            why.starts_with("keepalive: engine seccomp: ") && why.contains("changes the root directory"),
            "{why}"
        );
    }
}

/// A set-user-ID helper that a program names would not do its work.
#[test]
fn a_user_keeps_the_privilege_of_the_helper_that_a_program_names() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let Some(sshfs) = find_program("sshfs") else {
        skip!("sshfs is not installed");
    };
    let why = reason(&keepalive, true, &sshfs);
    assert!(why.starts_with("keepalive: engine preload: "), "{why}");
    assert!(why.contains("which would run without its privilege"), "{why}");
    let why = reason(&keepalive, false, &sshfs);
    assert!(why.starts_with("keepalive: engine preload and seccomp: "), "{why}");
}
