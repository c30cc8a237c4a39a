//! `KEEPALIVE_LOG`: off by default; it reports what was set and what was ignored. Logging never waits, raises no
//! signal, keeps no descriptor and never writes into a file that has replaced the log's descriptor.

mod unread;

use crate::support::find_program;
use crate::support::target::{Libc, compile, output, with_library, without_library};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

fn sockets() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

/// Returns `targets/sockets.c` with this log.
fn logging_to(destination: impl AsRef<Path>) -> Command {
    let mut command = with_library(&sockets());
    command.env("KEEPALIVE_LOG", destination.as_ref());
    command
}

/// The line that is logged when a program creates a socket, after the process number.
const CREATED: &str = "created: keepalive=on idle=61s interval=13s count=4 user-timeout=0ms";

/// Asserts that every call of the program succeeds, and that its descriptors and signals are unchanged.
fn expect_undisturbed(command: &mut Command) {
    let words = "signals fds tcp close=0 connect show tcp listen client accept show fds signals".split(' ');
    let expected = output(with_library(&sockets()).args(words.clone()).stderr(Stdio::null()));
    assert_eq!(output(command.args(words)), expected);
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn nothing_is_logged_by_default() {
    for (variable, value) in [("KEEPIDLE", "60x"), ("KEEPALIVE_LOG", ""), ("KEEPALIVE_LOG", "stdout")] {
        let mut command = with_library(&sockets());
        let printed = command.args(["tcp", "show"]).env(variable, value).output();
        let printed = printed.expect("it starts");
        assert_eq!(String::from_utf8_lossy(&printed.stderr), "", "{variable}={value}");
        assert!(printed.stdout.starts_with(b"tcp: 1 "), "{variable}={value}");
    }
}

/// The process number, the descriptor, the action, the options afterwards; and the ignored variable.
#[test]
fn standard_error_has_a_line_for_each_socket_and_each_mistake() {
    let mut command = logging_to("stderr");
    command.env("KEEPALIVE_USER_TIMEOUT", "1 hour").args(["tcp", "show"]);
    let printed = command.output().expect("it starts");
    let text = String::from_utf8(printed.stderr).expect("ASCII");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("keepalive["), "{text}");
    assert!(
        lines[0].contains("]: ignored KEEPALIVE_USER_TIMEOUT=1?hour: "),
        "a space would be a separator: {text}"
    );
    assert!(lines[1].contains("]: socket ") && lines[1].ends_with(CREATED), "{text}");
}

#[test]
fn log_file_is_appended_to_and_private() {
    let directory = temporary();
    let log = directory.path().join("log");
    for lines in 1..3 {
        output(logging_to(&log).args(["tcp", "show"]));
        let text = fs::read_to_string(&log).expect("the log is there");
        assert_eq!(
            text.lines().filter(|line| line.ends_with(CREATED)).count(),
            lines,
            "{text}"
        );
    }
    let mode = rustix::fs::stat(&log).expect("the log is there").st_mode;
    assert_eq!(Mode::from_raw_mode(mode), Mode::RUSR | Mode::WUSR);
    expect_undisturbed(&mut logging_to(&log));
}

/// A byte of the log in a connection would corrupt its protocol: descriptor 2 is closed at the start, or later.
#[test]
fn socket_as_descriptor_2_is_not_written_to() {
    let mut closed_before = with_library(Path::new("/bin/sh"));
    closed_before
        .env("KEEPALIVE_LOG", "stderr")
        .args(["-c", r#"exec "$@" 2>&-"#, "sh"])
        .arg(sockets());
    let mut closed_later = logging_to("stderr");
    closed_later.arg("close=2");
    for command in [&mut closed_before, &mut closed_later] {
        // The last lines show that the connection is descriptor 2.
        let words = ["tcp", "connect", "so_error", "peer", "fd=2", "write", "peer"];
        assert_eq!(
            output(command.args(words)),
            "connect: 0\nso_error: 0\npeer: 0\npeer: 1\n"
        );
    }
}

/// inetd also passes the connection as standard error.
#[test]
fn connection_as_standard_error_is_not_written_to() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("room");
    let (connection, _) = listener.accept().expect("a connection waits");
    let mut command = logging_to("stderr");
    command.stderr(Stdio::from(OwnedFd::from(connection)));
    output(command.args(["tcp", "show"]));
    drop(command);
    let mut text = String::new();
    client.read_to_string(&mut text).expect("the other end is closed");
    assert_eq!(text, "");
}

/// Pipes and UNIX streams (as of the journal) whose other end is closed.
#[test]
fn closed_standard_error_raises_no_signal() {
    let (_, pipe) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let (stream, _) = UnixStream::pair().expect("two sockets");
    for gone in [pipe, stream.into()] {
        expect_undisturbed(logging_to("stderr").stderr(Stdio::from(gone)));
    }
}

/// Writes to `fd` until it is full, then makes it blocking.
fn fill(fd: impl AsFd) {
    fcntl_setfl(&fd, OFlags::NONBLOCK).expect("a UTF-8 flag");
    for size in [4096, 1] {
        while write(&fd, &[b'x'; 4096][..size]).is_ok() {}
    }
    fcntl_setfl(&fd, OFlags::empty()).expect("a UTF-8 flag");
}

#[test]
fn full_standard_error_does_not_block() {
    let (_reader, pipe) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let (stream, _peer) = UnixStream::pair().expect("two sockets");
    for full in [pipe, stream.into()] {
        fill(&full);
        expect_undisturbed(logging_to("stderr").stderr(Stdio::from(full)));
    }
}

fn fifo(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO in our own directory");
    path
}

#[test]
fn fifo_without_a_reader_or_space_does_not_block() {
    let directory = temporary();
    let fifo = fifo(&directory);
    expect_undisturbed(&mut logging_to(&fifo));

    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("a small number");
    let open = |options: &mut fs::OpenOptions| -> File {
        let file = options.custom_flags(nonblocking).open(&fifo);
        file.expect("a FIFO of the test")
    };
    let mut reader = open(File::options().read(true));
    fill(open(File::options().write(true)));
    expect_undisturbed(&mut logging_to(&fifo));

    let mut text = Vec::new();
    let _ = reader.read_to_end(&mut text);
    assert!(text.iter().all(|byte| *byte == b'x'), "half a line was written");
    output(logging_to(&fifo).args(["tcp"]));
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("no process writes any more");
    assert!(text.ends_with(&format!("{CREATED}\n")), "now there was room: {text}");
}

/// A missing directory, a directory, a full device, and a path that is longer than the library stores.
#[test]
fn unwritable_path_is_ignored() {
    let directory = temporary();
    let long = directory.path().join("x".repeat(250));
    for path in [Path::new("/nowhere/log"), Path::new("/"), Path::new("/dev/full"), &long] {
        expect_undisturbed(&mut logging_to(path));
    }
    let left = fs::read_dir(directory.path()).expect("our own directory").count();
    assert_eq!(left, 0, "a path that was cut would be another file");
}

/// The program changes its directory, so the file would be elsewhere each time.
#[test]
fn relative_path_is_refused() {
    let directory = temporary();
    for path in ["log", "./log", "../log", "stderr/", "~/log"] {
        expect_undisturbed(logging_to(path).current_dir(directory.path()));
    }
    assert_eq!(fs::read_dir(directory.path()).expect("our own directory").count(), 0);
}

/// A write beyond the limit of file sizes would end the program with SIGXFSZ.
#[test]
fn log_at_the_file_size_limit_raises_no_signal() {
    let directory = temporary();
    let log = directory.path().join("log");
    let words = ["limit=0", "tcp", "show", "signals"];
    let seen = output(logging_to(&log).args(words));
    assert_eq!(seen, "tcp: 1 61 13 4 0\nsignals: 0\n");
    assert_eq!(fs::read(&log).expect("it was created"), b"");
}

/// A background job that writes to a terminal with `stty tostop` is stopped by SIGTTOU.
#[test]
fn terminal_does_not_stop_a_background_job() {
    for needed in ["script", "stty"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let program = logging_to("stderr");
    let script = format!(
        "stty tostop; set -m; {} tcp close=0 >/dev/null & wait $!; echo ended with $?",
        program.get_program().display()
    );
    let mut command = without_library(&find_program("script").expect("it was there"));
    for (name, value) in program.get_envs() {
        command.env(name, value.expect("only set, not removed"));
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("SHELL", "/bin/sh").args(["-qec", &script, "/dev/null"]);
    let seen = output(&mut command);
    assert!(seen.contains("ended with 0"), "{seen}");
}

/// Returns a command in a mount namespace in which `directory` is /dev, with or without /dev/log.
fn with_dev(directory: &Path) -> Command {
    let mut command = without_library(&find_program("unshare").expect("it was asked for"));
    command.arg("--mount");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = r#"mount --bind "$1" /dev && shift && exec "$@""#;
    command.args(["sh", "-c", script, "sh"]).arg(directory);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[test]
fn system_log_gets_one_datagram_for_each_line() {
    if find_program("unshare").is_none() {
        skip!("unshare is not installed");
    }
    let dev = temporary();
    let possible = with_dev(dev.path()).arg("true").output().expect("unshare starts");
    if !possible.status.success() {
        skip!(
            "there are no mount namespaces: {}",
            String::from_utf8_lossy(&possible.stderr)
        );
    }
    let program = logging_to("syslog");
    let run = || {
        let mut command = with_dev(dev.path());
        command.arg("env").args(
            program
                .get_envs()
                .filter_map(|(name, value)| Some([name, value?].join("=".as_ref()))),
        );
        expect_undisturbed(command.arg(program.get_program()));
    };
    run();
    let log = UnixDatagram::bind(dev.path().join("log")).expect("a socket in our own directory");
    log.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    run();
    let mut line = [0; 512];
    let length = log.recv(&mut line).expect("a line within ten seconds");
    let line = String::from_utf8_lossy(&line[..length]);
    // Priority daemon.info (RFC 3164), and the tag by which log readers select messages.
    assert!(line.starts_with("<30>keepalive["), "{line}");
    assert!(line.trim_end().ends_with(CREATED), "{line}");

    // The socket of a daemon that does not read becomes full.
    log.set_nonblocking(true).expect("a UTF-8 flag");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.set_nonblocking(true).expect("a UTF-8 flag");
    sender.connect(dev.path().join("log")).expect("it is there");
    while sender.send(b"x").is_ok() {}
    run();
}
