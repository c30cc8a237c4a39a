//! `--engine auto`: what is chosen for which program, and what becomes of it where an engine is impossible.

use super::{Keepalive, LIMIT, OWN_NETWORK, line_of, outcome, printed, sockets, start, static_target, until_it_holds};
use crate::support::PYTHON;
use crate::support::find_program;
use crate::support::process::{eventually, install, output_within};
use crate::support::target::{Libc, POLICY_VALUES, compile};
use keepalive_sys::proc;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// `targets/sockets.c`, into which the library can be loaded.
fn dynamic() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

/// `targets/client.c`, whose files show no call that the library does not see.
fn plain() -> PathBuf {
    compile(Libc::Host, "client.c", &[])
}

const CONNECTS: [&str; 3] = ["tcp", "connect", "show"];

fn connected() -> String {
    format!("connect: 0\ntcp: {POLICY_VALUES}\n")
}

/// The first line that `-v` prints.
fn told(keepalive: &Keepalive, options: &[&str], command: &[&Path]) -> String {
    let (_, message, _) = outcome(keepalive.run().arg("-v").args(options).args(command));
    message.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn each_kind_of_program_has_its_engines_and_verbose_says_why() {
    let keepalive = Keepalive::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = directory.path().join("text");
    let script = |name: &str, first_line: &str| {
        fs::write(&text, format!("{first_line}\n")).expect("a file of the test");
        let path = directory.path().join(name);
        install(&text, &path, 0o755);
        path
    };
    let mut rows = vec![
        (sockets(), "is statically linked: no library can be loaded into it"),
        ("/bin/sh".into(), "calls execve and may start any program"),
        ("/usr/bin/env".into(), "calls execvp and may start any program"),
        (script("shell", "#!/bin/sh"), "is a script, and may start any program"),
        (
            script("static", &format!("#!{}", sockets().display())),
            "is statically linked: no library can be loaded into it",
        ),
    ];
    if find_program(PYTHON).is_some() {
        rows.push((
            script("python", &format!("#!{PYTHON}")),
            "is a script, and may start any program",
        ));
    }
    let cross = Libc::Cross("i686-linux-gnu-gcc");
    if cross.missing().is_none() {
        rows.push((static_target(cross, "sockets.c"), "is statically linked"));
    }
    for (path, why) in rows {
        let told = told(&keepalive, &[], &[&path]);
        assert!(told.starts_with("keepalive: engine preload and seccomp: "), "{told}");
        assert!(told.contains(why), "{told}");
    }
    for (engine, why) in [
        ("seccomp", "because --engine seccomp asks for it"),
        ("preload", "/bin/sh is a dynamic program"),
    ] {
        let told = told(&keepalive, &["--engine", engine], &[Path::new("/bin/sh")]);
        assert_eq!(told, format!("keepalive: engine {engine}: {why}"));
    }
    let told = told(&keepalive, &["--io-uring", "deny"], &[&plain()]);
    assert_eq!(told, "keepalive: engine preload and seccomp: io_uring is denied");
}

/// A copy of `id` or of a target that belongs to nobody, and runs as such.
fn privileged(keepalive: &Keepalive, program: &Path) -> PathBuf {
    let copy = keepalive.bring(program, "privileged");
    rustix::fs::chown(&copy, Some(rustix::fs::Uid::from_raw(65534)), None).expect("root can give a file away");
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).expect("a file of the test");
    copy
}

#[test]
fn a_set_user_id_program_keeps_its_privilege_where_root_starts_it() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let id = find_program("id").expect("one of coreutils");
    let privileged = privileged(&keepalive, &id);
    for options in [&[][..], &["--engine", "seccomp"]] {
        let mut command = keepalive.run();
        let user = printed(command.args(options).arg(&privileged).arg("-u"));
        assert_eq!(user, "65534\n", "{options:?}");
        // Those that the command starts, too.
        let mut command = keepalive.run();
        command.args(options).args(["sh", "-c", "\"$0\" -u; :"]);
        assert_eq!(printed(command.arg(&privileged)), "65534\n", "{options:?}");
    }
    let told = told(&keepalive, &[], &[&privileged]);
    assert!(
        told.starts_with("keepalive: engine seccomp: ") && told.contains("is set-user-ID"),
        "{told}"
    );
}

#[test]
fn the_sockets_of_a_set_user_id_program_are_set() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let privileged = privileged(&keepalive, &dynamic());
    assert_eq!(printed(keepalive.run().arg(&privileged).args(CONNECTS)), connected());
}

#[test]
fn a_set_user_id_program_is_refused_to_who_would_take_its_privilege() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let privileged = keepalive.bring(&find_program("id").expect("one of coreutils"), "privileged");
    fs::set_permissions(&privileged, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).expect("a file of the test");
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let as_user = |words: &[&str], program: &Path| {
        let mut command = keepalive.environment("setpriv".as_ref());
        command.args(user).arg(keepalive.path()).arg("run").args(words);
        outcome(command.arg(program))
    };
    let (_, message, status) = as_user(&[], &privileged);
    assert_eq!(status, Some(125), "{message}");
    assert!(
        message.contains("is set-user-ID") && message.contains("hint: "),
        "{message}"
    );
    // A shell might start one.
    let (_, message, status) = as_user(&["-v", "sh", "-c", ":"], "x".as_ref());
    assert_eq!(status, Some(0), "{message}");
    assert_eq!(message.matches("(no_new_privs)").count(), 1, "{message}");
}

#[test]
fn a_keepalive_inside_another_is_supervised_by_the_outer_one() {
    let keepalive = Keepalive::new();
    let path = keepalive.path();
    let script = r#"exec "$0" run -v --engine "$2" "$1" tcp connect show hold"#;
    for engine in ["auto", "seccomp"] {
        let mut command = keepalive.run();
        command.args(["sh", "-c", script]).arg(&path).arg(sockets()).arg(engine);
        let (lines, message, status) = outcome(&mut command);
        assert_eq!(
            (&*lines, status),
            (&*format!("{}holding\n", connected()), Some(0)),
            "{message}"
        );
        // As wide as a terminal.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            message.contains("keepalive: a keepalive around this one supervises it already"),
            "{message}"
        );
        let (_program, mut output) = start(&mut command);
        until_it_holds(&mut output);
        // Those of the run before may still be ending.
        eventually("one pair", LIMIT, || keepalive.supervisors());
    }
}

/// The words that start keepalive where the seccomp engine is impossible, and what it says of that.
fn impossible(command: &mut Command, reason: &str) {
    let (lines, message, status) = outcome(command);
    assert_eq!((status, &*lines), (Some(125), ""), "{message}");
    assert!(message.contains(reason) && message.contains("hint: "), "{message}");
}

#[test]
fn where_the_engine_is_impossible_the_library_serves_alone_or_the_program_is_refused() {
    let keepalive = Keepalive::new();
    let denied = static_target(Libc::Host, "denied.c").display().to_string();
    let foreign = static_target(Libc::Host, "foreign.c").display().to_string();
    let deny = |call: i64, errno: &str| vec![denied.clone(), call.to_string(), errno.to_owned()];
    let (seccomp, getfd) = (317, 438);
    let sandboxes = [
        (vec![foreign.clone()], "another program supervises the system calls"),
        (deny(seccomp, "1"), "seccomp: Operation not permitted"),
        (deny(seccomp, "38"), "seccomp: Function not implemented"),
        (deny(seccomp, "22"), "the kernel is older than Linux 5.19"),
        (deny(getfd, "1"), "pidfd_getfd: Operation not permitted"),
    ];
    if cfg!(not(target_arch = "x86_64")) {
        skip!("the numbers of system calls are those of x86_64");
    }
    for (sandbox, reason) in sandboxes {
        let inside = |options: &[&str]| {
            let mut command = keepalive.environment(sandbox[0].as_ref());
            command
                .args(&sandbox[1..])
                .arg(keepalive.path())
                .arg("run")
                .args(options);
            command
        };
        // Explicitly asked for, and where nothing else reaches the program.
        impossible(inside(&["--engine", "seccomp", "true"]).stdin(Stdio::null()), reason);
        impossible(inside(&["--io-uring", "deny", "true"]).stdin(Stdio::null()), reason);
        impossible(inside(&[]).arg(sockets()).args(CONNECTS), reason);
        // A script may do without, and is warned once.
        let (lines, message, status) = outcome(inside(&["sh", "-c", "\"$@\"", "sh"]).arg(dynamic()).args(CONNECTS));
        assert_eq!((&*lines, status), (&*connected(), Some(0)), "{message}");
        assert_eq!(message.matches("keepalive: ").count(), 1, "{message}");
        assert!(message.contains("engine preload alone"), "{message}");
        // What the library reaches needs no other engine, and nobody is warned.
        let quiet = outcome(inside(&[]).arg(plain()));
        assert_eq!(quiet, (String::new(), String::new(), Some(2)), "{reason}");
    }
}

/// They must not lose it for a filter that was not installed.
#[test]
fn without_a_supervisor_set_user_id_programs_keep_their_privilege() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let setpriv = find_program("setpriv").expect("one of util-linux");
    let mut command = keepalive.environment(&static_target(Libc::Host, "foreign.c"));
    command
        .arg(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(keepalive.path())
        .args(["run", "sh", "-c", "grep NoNewPrivs /proc/self/status"]);
    let (lines, message, status) = outcome(&mut command);
    assert_eq!((&*lines, status), ("NoNewPrivs:\t0\n", Some(0)), "{message}");
    assert!(message.contains("engine preload alone"), "{message}");
}

#[test]
fn io_uring_is_denied_where_that_is_asked_for() {
    python!();
    let keepalive = Keepalive::new();
    // It has no parameters, which the kernel finds out where it has got so far.
    let script =
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(425, 1, None); print(ctypes.get_errno())";
    for engine in ["auto", "seccomp"] {
        for (choice, errno) in [("deny", "38\n"), ("allow", "14\n")] {
            let mut command = keepalive.run();
            command.args(["--engine", engine, "--io-uring", choice]);
            assert_eq!(
                printed(command.args([PYTHON, "-IS", "-c", script])),
                errno,
                "{engine} {choice}"
            );
        }
    }
}

#[test]
fn io_uring_cannot_be_denied_by_the_library() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.run();
    command.args(["--engine", "preload", "--io-uring", "deny", "true"]);
    let output = output_within(LIMIT, &mut command);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("--io-uring deny: ") && errors.contains("--engine auto"),
        "{errors}"
    );
}

/// How often the thread that serves has gone to sleep by itself. The first thread of the process watches it, and wakes now
/// and then.
fn rests(pid: u32) -> u64 {
    let threads = proc::threads(pid).expect("a process of the test");
    let [serving] = threads.into_iter().filter(|tid| *tid != pid).collect::<Vec<_>>()[..] else {
        panic!("one thread serves");
    };
    let status = fs::read_to_string(format!("/proc/{pid}/task/{serving}/status")).expect("a thread of the test");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("proc(5)").trim().parse().expect("a number")
}

/// The library has set these sockets, and its calls pass.
#[test]
fn with_both_engines_the_librarys_own_calls_wake_no_supervisor() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.run();
    command
        .arg("env")
        .arg(compile(Libc::Host, "connect_load.c", &["-pthread"]))
        .args(["1", "0"]);
    let (mut program, mut output) = start(&mut command);
    assert_eq!(line_of(&mut output), "ready\n");
    let (_, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    eventually("a thread that serves", LIMIT, || {
        proc::threads(serving.pid).ok().filter(|threads| threads.len() == 2)
    });
    let before = rests(serving.pid);
    sleep(Duration::from_millis(500));
    let after = rests(serving.pid);
    drop(program.child.stdin.take());
    let line = line_of(&mut output);
    let made: u64 = line.split(' ').next().unwrap_or_default().parse().expect("a number");
    assert!(line.ends_with("0 failed, 0 slow, 0 unset\n"), "{line}");
    assert!(made > 100, "{line}");
    // It may have begun to wait only now.
    assert!(after - before < 5, "{} times: {line}", after - before);
}

/// A command that changes its network finds nothing changed about the engines.
#[test]
fn both_engines_reach_programs_in_another_network() {
    root!();
    let keepalive = Keepalive::new();
    for program in [dynamic(), sockets()] {
        let mut command = keepalive.run();
        command.arg("env").args(OWN_NETWORK).arg(program).args(CONNECTS);
        assert_eq!(printed(&mut command), connected());
    }
}
