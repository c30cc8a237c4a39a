//! Sockets that a program did not make itself: passed by inetd, by a service manager, across an exec or by another process.
//! What nobody has set on them is the policy's; what somebody has set stays.

use crate::support::library;
use crate::support::target::{Libc, TREATED, UNTOUCHED, compile, output, with_library};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn sockets() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

/// `targets/sockets.c` under the library, started by a shell that is not, with `socket` as standard input or wherever
/// `redirections` say.
fn started_with(socket: impl Into<OwnedFd>, redirections: &str) -> Command {
    let mut shell = with_library(Path::new("/bin/sh"));
    let script = format!(r#"export LD_PRELOAD="$LIBRARY"; exec "$@" {redirections}"#);
    shell
        .env_remove("LD_PRELOAD")
        .env("LIBRARY", library())
        .args(["-c", &script, "sh"])
        .arg(sockets())
        .stdin(Stdio::from(socket.into()));
    shell
}

/// A listener, and a client whose connection waits: it has the values that the listener has now.
fn listener_with_client() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    let client = connect_to(&listener);
    (listener, client)
}

fn connect_to(listener: &TcpListener) -> TcpStream {
    let address = listener.local_addr().expect("a bound socket has a name");
    TcpStream::connect(address).expect("the listener's queue has room")
}

/// inetd's `wait` passes the listener as descriptor 0.
#[test]
fn a_listener_of_inetd_is_treated() {
    let (listener, _client) = listener_with_client();
    assert_eq!(
        output(started_with(listener, "").args(["fd=0", "show", "accept", "show"])),
        format!("fd=0: {TREATED}\naccept: {TREATED}\n")
    );
}

/// inetd's `nowait` passes the connection as descriptors 0, 1 and 2, so that the program's answer comes through it.
#[test]
fn a_connection_of_inetd_is_treated() {
    let (listener, mut client) = listener_with_client();
    let (connection, _) = listener.accept().expect("a connection waits");
    let status = started_with(connection, ">&0 2>&0")
        .env("KEEPALIVE_USER_TIMEOUT", "30s")
        .args(["fd=0", "show"])
        .status();
    assert!(status.expect("sh starts").success());
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the other end is closed");
    assert_eq!(answer, "fd=0: 1 61 13 4 30000\n");
}

/// sd_listen_fds(3): that many descriptors from 3 on. They need not be listeners.
#[test]
fn sockets_of_a_service_manager_are_treated_at_the_start() {
    for (count, expected) in [
        ("2", TREATED),
        ("4", TREATED),
        ("1", UNTOUCHED),
        ("-1", UNTOUCHED),
        ("2x", UNTOUCHED),
    ] {
        let (listener, _client) = listener_with_client();
        let mut command = started_with(listener, "4<&0 3</dev/null 0</dev/null");
        command
            .env("LISTEN_FDS", count)
            .args(["fd=4", "show", "accept", "show"]);
        assert_eq!(
            output(&mut command),
            format!("fd=4: {expected}\naccept: {TREATED}\n"),
            "LISTEN_FDS={count}"
        );
    }
}

/// nginx and others start themselves anew and find their listeners by a variable of their own.
#[test]
fn a_listener_of_any_number_is_treated_when_it_accepts() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    assert_eq!(
        output(command.args(["fd=7", "show", "accept", "show"])),
        format!("fd=7: {UNTOUCHED}\naccept: {TREATED}\n")
    );
}

/// systemd's services often listen once more on what they were passed.
#[test]
fn a_listener_that_listens_once_more_stays_one_from_elsewhere() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    command
        .env("KEEPALIVE_USER_TIMEOUT", "30s")
        .args(["fd=7", "listen", "accept", "show"]);
    assert_eq!(output(&mut command), "accept: 1 61 13 4 30000\n");
}

/// The connection that waits is older than the option.
#[test]
fn a_listener_on_which_the_program_sets_an_option_stays_one_from_elsewhere() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    command.args(["fd=7", "idle=61", "accept", "show"]);
    assert_eq!(output(&mut command), format!("accept: {TREATED}\n"));
}

/// A parent may hand over a socket that is bound, or fresh, as well.
#[test]
fn a_fresh_socket_of_any_number_is_treated_when_it_is_used() {
    let fresh = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    for words in [&["listen", "client", "accept", "show"][..], &["connect", "show"]] {
        let mut command = started_with(fresh().expect("a socket"), "7<&0 0</dev/null");
        let seen = output(command.arg("fd=7").args(words));
        assert!(seen.ends_with(&format!(": {TREATED}\n")), "{words:?}: {seen}");
    }
}

#[test]
fn a_listener_received_from_another_process_is_treated_when_it_accepts() {
    let words = ["raw-tcp", "raw-listen", "client", "pass", "show", "accept", "show"];
    assert_eq!(
        output(with_library(&sockets()).args(words)),
        format!("pass: {UNTOUCHED}\naccept: {TREATED}\n")
    );
}

/// Whoever set them: only what is as the kernel makes it is taken for unset. What was off may have been left off, though,
/// and is switched on.
#[test]
fn values_that_somebody_has_set_stay() {
    let (listener, _) = listener_with_client();
    sockopt::set_socket_keepalive(&listener, true).expect("SO_KEEPALIVE");
    sockopt::set_tcp_keepidle(&listener, Duration::from_secs(300)).expect("TCP_KEEPIDLE");
    sockopt::set_tcp_user_timeout(&listener, 5000).expect("TCP_USER_TIMEOUT");
    let _first = listener.accept().expect("a connection waits");
    let _client = connect_to(&listener);
    for redirections in ["", "7<&0 0</dev/null"] {
        let number = if redirections.is_empty() { "fd=0" } else { "fd=7" };
        let _client = connect_to(&listener);
        let mut command = started_with(listener.try_clone().expect("a second descriptor"), redirections);
        command
            .env("KEEPALIVE_USER_TIMEOUT", "30s")
            .args([number, "accept", "show"]);
        assert_eq!(output(&mut command), "accept: 1 300 13 4 5000\n");
    }
}

/// What a UNIX listener accepts is no TCP socket, even if its number says nothing.
#[test]
fn what_a_unix_listener_accepts_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("socket");
    for (redirections, number) in [("", "fd=0"), ("7<&0 0</dev/null", "fd=7")] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket in our own directory");
        let _client = UnixStream::connect(&path).expect("the listener's queue has room");
        let mut command = started_with(listener, redirections);
        assert_eq!(
            output(command.args([number, "show", "accept", "show"])),
            format!("{number}: 0 -1 -1 -1 -1\naccept: 0 -1 -1 -1 -1\n")
        );
    }
}
