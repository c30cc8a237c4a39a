//! `keepalive run`: what it starts, what it leaves as it is, and what it refuses.

mod engines;
mod handover;
mod search;

use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, install};
use crate::support::{PYTHON, keepalive, library, packaged_library};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// `keepalive run` with the library under test and none of our variables from outside.
fn run() -> Command {
    let mut command = Command::new(keepalive());
    command
        .env("KEEPALIVE_LIBRARY", packaged_library())
        .env_remove("LD_PRELOAD")
        .arg("run");
    for variable in [
        "KEEPALIVE",
        "KEEPIDLE",
        "KEEPINTVL",
        "KEEPCNT",
        "KEEPALIVE_USER_TIMEOUT",
        "KEEPALIVE_LOG",
    ] {
        command.env_remove(variable);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that nothing was run, with this exit status and this text on standard error.
#[track_caller]
fn assert_refused(output: &Output, status: i32, message: &str) {
    assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), message);
    assert_eq!(text(&output.stdout), "");
}

/// The values that the program's own socket has, as a Python program under `keepalive run` sees them.
fn values_seen(command: &mut Command) -> String {
    let script = "import socket; s = socket.socket(); \
                  print(*[s.getsockopt(*o) for o in ((1, 9), (6, 4), (6, 5), (6, 6), (6, 18))])";
    let output = command
        .args(["--", PYTHON, "-c", script])
        .output()
        .expect("keepalive starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn sysctl(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"))
        .expect("Linux has IPv4")
        .trim()
        .to_owned()
}

fn executable(directory: &Path, name: &str, content: &str) -> std::path::PathBuf {
    let text = directory.join("text");
    fs::write(&text, content).expect("a file");
    let path = directory.join(name);
    install(&text, &path, 0o755);
    path
}

#[test]
fn default_values_survive_every_known_middlebox() {
    python!();
    assert_eq!(values_seen(&mut run()), "1 60 15 5 0");
}

/// A mode and a user timeout say nothing about the times of probes.
#[test]
fn mode_and_user_timeout_keep_the_default_times() {
    python!();
    for options in [
        &["--mode", "cap"][..],
        &["--mode", "floor", "--user-timeout", "auto"],
        &["--user-timeout", "30"],
    ] {
        let values = values_seen(run().args(options));
        assert!(values.starts_with("1 60 15 5 "), "{options:?}: {values}");
    }
    let (interval, count) = (sysctl("tcp_keepalive_intvl"), sysctl("tcp_keepalive_probes"));
    assert_eq!(
        values_seen(run().args(["--mode", "cap", "--idle", "2m"])),
        format!("1 120 {interval} {count} 0")
    );
}

#[test]
fn misspelt_option_is_no_command() {
    for words in [&["--idel", "5", "true"][..], &["--idle", "5", "-x", "true"]] {
        let output = run().args(words).output().expect("it starts");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("keepalive: unexpected argument '-"), "{error}");
    }
    let output = run()
        .args(["echo", "-n", "--idle", "--", "-x"])
        .output()
        .expect("it starts");
    assert_eq!(text(&output.stdout), "--idle -- -x");
    let output = run().args(["--", "--idel"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(127), "{output:?}");
}

/// As after `keepalive system enable`: the library in the supervisor sets nothing that the supervisor sets.
#[test]
fn options_count_although_the_library_is_loaded_into_the_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("some.conf");
    fs::write(&config, "default idle=60s interval=20s count=4\n").expect("a file of the test");
    let mut command = run();
    command.env("LD_PRELOAD", library()).env("KEEPALIVE_CONFIG", &config);
    command.args([
        "--engine",
        "seccomp",
        "--idle",
        "5",
        "--interval",
        "6",
        "--count",
        "7",
        "env",
        "-u",
        "LD_PRELOAD",
    ]);
    let script =
        "import socket; l = socket.create_server(('127.0.0.1', 0)); s = socket.create_connection(l.getsockname())
print(*[s.getsockopt(1, 9)] + [s.getsockopt(6, option) for option in (4, 5, 6)])";
    let output = command.args([PYTHON, "-c", script]).output().expect("it starts");
    assert_eq!(text(&output.stdout), "1 5 6 7\n", "{output:?}");
}

#[test]
fn unset_options_keep_the_kernel_defaults() {
    python!();
    let (interval, count) = (sysctl("tcp_keepalive_intvl"), sysctl("tcp_keepalive_probes"));
    assert_eq!(
        values_seen(run().args(["--idle", "2m"])),
        format!("1 120 {interval} {count} 0")
    );
    assert_eq!(
        values_seen(run().args(["--idle=31s", "--interval=7", "--count=3"])),
        "1 31 7 3 0"
    );
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_default() {
    python!();
    assert_eq!(values_seen(run().env("KEEPIDLE", "99")), "1 99 15 5 0");
    assert_eq!(
        values_seen(
            run()
                .env("KEEPIDLE", "99")
                .args(["--idle", "31", "--interval", "7", "--count", "3"])
        ),
        "1 31 7 3 0"
    );
    assert_eq!(values_seen(run().env("KEEPALIVE", "skip")), "0 60 15 5 0");
    let idle = sysctl("tcp_keepalive_time");
    assert!(values_seen(run().env("KEEPALIVE", "off")).starts_with(&format!("0 {idle} ")));
}

#[test]
fn a_user_timeout_is_set_on_a_connection() {
    python!();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port().to_string();
    let script = "import socket, sys, time; s = socket.create_connection(('127.0.0.1', sys.argv[1])); time.sleep(60)";
    let program = Running::start(run().args(["--user-timeout", "1500ms", "--", PYTHON, "-c", script, &port]));
    eventually("a connection with a user timeout", Duration::from_secs(10), || {
        let sockets = tcp_sockets(program.pid());
        sockets
            .iter()
            .any(|seen| seen.socket.peer.is_some() && seen.user_timeout() == 1500)
            .then_some(())
    });
}

#[test]
fn exit_status_and_output_are_those_of_the_command() {
    let output = run()
        .args(["sh", "-c", "echo out; echo err >&2; exit 42"])
        .output()
        .expect("keepalive starts");
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(42), "out\n".into(), "err\n".into())
    );
    let killed = run()
        .args(["sh", "-c", "kill -TERM $$"])
        .status()
        .expect("keepalive starts");
    assert_eq!(killed.signal(), Some(15));
}

#[test]
fn run_keeps_the_process_id() {
    for options in [&[][..], &["--in-place"]] {
        let child = run()
            .args(options)
            .args(["sh", "-c", "echo $$"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("keepalive starts");
        let pid = child.id();
        let output = child.wait_with_output().expect("sh ends");
        assert_eq!(text(&output.stdout), format!("{pid}\n"));
    }
}

#[test]
fn arguments_reach_the_command_as_they_are() {
    let odd = OsStr::from_bytes(b"\xff --idle");
    let output = run()
        .args(["printf", "%s|", "-v", "", "--", "a b"])
        .arg(odd)
        .output()
        .expect("keepalive starts");
    assert_eq!(output.stdout, b"-v||--|a b|\xff --idle|");
}

/// Rust's runtime ignores SIGPIPE and fills closed standard descriptors; the program must not see that.
#[test]
fn signals_and_descriptors_are_inherited_as_they_were() {
    let script = "for fd in 0 2; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; \
                  exec grep -E 'Sig(Blk|Ign)' /proc/self/status";
    for (name, redirection) in [("open", ""), ("closed", "<&- 2>&-")] {
        for trap in ["", "trap '' PIPE;", "trap '' PIPE HUP;"] {
            let shell = |command: &str| {
                let line = format!("{trap} exec {command} {redirection}");
                let output = Command::new("bash")
                    .env("KEEPALIVE_LIBRARY", library())
                    .args(["-c", &line, "bash", script])
                    .output()
                    .expect("bash starts");
                text(&output.stdout)
            };
            let bare = shell("sh -c \"$1\"");
            let run = shell(&format!("'{}' run sh -c \"$1\"", keepalive().display()));
            assert!(bare.contains("SigIgn"), "{bare}");
            assert_eq!(run, bare, "{name} {trap}");
        }
    }
}

#[test]
fn an_existing_preload_is_kept_and_ours_is_not_named_twice() {
    let preload = |value: &str| {
        let output = run()
            .env("KEEPALIVE_LIBRARY", library())
            .env("LD_PRELOAD", value)
            .args(["--engine", "preload", "sh", "-c", "echo $LD_PRELOAD"])
            .output()
            .expect("keepalive starts");
        text(&output.stdout).trim().to_owned()
    };
    let ours = library().display().to_string();
    assert_eq!(preload(""), ours);
    assert_eq!(preload("libc.so.6"), format!("libc.so.6:{ours}"));
    assert_eq!(preload(&format!("{ours}:libc.so.6")), format!("{ours}:libc.so.6"));
}

#[test]
fn library_path_that_ld_preload_cannot_express_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["with space", "with:colon", "with$dollar", "with\ttab"] {
        let path = directory.path().join(name);
        symlink(library(), &path).expect("a link");
        let output = run()
            .env("KEEPALIVE_LIBRARY", &path)
            .arg("true")
            .output()
            .expect("keepalive starts");
        assert_eq!(output.status.code(), Some(125));
        let message = text(&output.stderr);
        assert!(
            message.contains("in LD_PRELOAD: '") && message.contains("hint: copy the library"),
            "{message}"
        );
    }
    let missing = directory.path().join("missing.so");
    let output = run()
        .env("KEEPALIVE_LIBRARY", &missing)
        .arg("true")
        .output()
        .expect("keepalive starts");
    assert_refused(
        &output,
        125,
        &format!(
            "keepalive: cannot find libkeepalive.so (looked for {})\nhint: name it in KEEPALIVE_LIBRARY, or run make install\n",
            missing.display()
        ),
    );
}

#[test]
fn missing_and_unexecutable_commands_have_their_own_status() {
    let output = run().arg("no-such-program").output().expect("keepalive starts");
    assert_refused(
        &output,
        127,
        "keepalive: cannot run 'no-such-program': no such program\n",
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    fs::write(&path, "").expect("a file");
    let output = run().arg(&path).output().expect("keepalive starts");
    assert_refused(
        &output,
        126,
        &format!("keepalive: cannot run '{}': it is not executable\n", path.display()),
    );
    let script = executable(directory.path(), "script", "#!/no/such/interpreter\n");
    let output = run().arg(&script).output().expect("keepalive starts");
    assert_refused(
        &output,
        127,
        "keepalive: cannot run '/no/such/interpreter': no such program\n",
    );
}

#[test]
fn usage_errors_are_125_under_run_and_2_elsewhere() {
    let output = run()
        .args(["--idle", "60x", "true"])
        .output()
        .expect("keepalive starts");
    let message = "keepalive: invalid value '60x' for '--idle <TIME>': unknown unit after the number\n\
                   hint: expected 1 to 32767 seconds, such as 90, 90s, 5m or 2h\n\n\
                   For more information, try '--help'.\n";
    assert_refused(&output, 125, message);
    assert_eq!(run().status().expect("keepalive starts").code(), Some(125));
    let unknown = Command::new(keepalive())
        .arg("walk")
        .stderr(Stdio::null())
        .status()
        .expect("keepalive starts");
    assert_eq!(unknown.code(), Some(2));
}

#[test]
fn a_variable_that_the_library_would_ignore_is_refused() {
    for (name, value, message) in [
        (
            "KEEPIDLE",
            "0",
            "too small\nhint: expected 1 to 32767 seconds, such as 90, 90s, 5m or 2h\n",
        ),
        (
            "KEEPCNT",
            "128",
            "too large\nhint: expected 1 to 127 probes, such as 5\n",
        ),
        (
            "KEEPALIVE_LOG",
            "log",
            "not a place to write to\nhint: expected stderr, syslog or an absolute path\n",
        ),
    ] {
        let output = run().env(name, value).arg("true").output().expect("keepalive starts");
        assert_refused(&output, 125, &format!("keepalive: {name}={value}: {message}"));
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let output = Command::new("bash")
        .args(["-c", "\"$0\" --help | true; echo ${PIPESTATUS[0]}"])
        .arg(keepalive())
        .output()
        .expect("bash starts");
    assert_eq!(text(&output.stdout), "0\n");
    assert_eq!(text(&output.stderr), "");
}
