//! Sockets that a program did not create: passed by inetd, by a service manager, across execve(2) or by another
//! process. Unset options get the policy; options that have been set stay.

use crate::support::library;
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile, output, with_library};
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

/// Returns `targets/sockets.c` under the library, started by a shell without it, with `socket` as standard input or
/// where `redirections` put it.
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

/// Returns a listener, and a client whose connection is in the accept queue with the listener's present options.
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
fn listener_of_inetd_has_the_policy() {
    let (listener, _client) = listener_with_client();
    assert_eq!(
        output(started_with(listener, "").args(["fd=0", "show", "accept", "show"])),
        format!("fd=0: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n")
    );
}

/// inetd's `nowait` passes the connection as descriptors 0, 1 and 2, so that the program's answer comes through it.
#[test]
fn connection_of_inetd_has_the_policy() {
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

/// sd_listen_fds(3): this number of descriptors from 3 on, which may also be connections.
#[test]
fn sockets_of_a_service_manager_have_the_policy_at_the_start() {
    for (count, expected) in [
        ("2", POLICY_VALUES),
        ("4", POLICY_VALUES),
        ("1", KERNEL_DEFAULTS),
        ("-1", KERNEL_DEFAULTS),
        ("2x", KERNEL_DEFAULTS),
    ] {
        let (listener, _client) = listener_with_client();
        let mut command = started_with(listener, "4<&0 3</dev/null 0</dev/null");
        command
            .env("LISTEN_FDS", count)
            .args(["fd=4", "show", "accept", "show"]);
        assert_eq!(
            output(&mut command),
            format!("fd=4: {expected}\naccept: {POLICY_VALUES}\n"),
            "LISTEN_FDS={count}"
        );
    }
}

/// nginx and others execute themselves again and find their listeners by a variable of their own.
#[test]
fn listener_with_any_number_passes_the_policy_to_accepted_sockets() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    assert_eq!(
        output(command.args(["fd=7", "show", "accept", "show"])),
        format!("fd=7: {KERNEL_DEFAULTS}\naccept: {POLICY_VALUES}\n")
    );
}

/// systemd services often call listen(2) on the listeners that they were passed.
#[test]
fn inherited_listener_stays_adopted_after_listen() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    command
        .env("KEEPALIVE_USER_TIMEOUT", "30s")
        .args(["fd=7", "listen", "accept", "show"]);
    assert_eq!(output(&mut command), "accept: 1 61 13 4 30000\n");
}

/// The waiting connection was established before the option was set.
#[test]
fn inherited_listener_stays_adopted_after_setsockopt() {
    let (listener, _client) = listener_with_client();
    let mut command = started_with(listener, "7<&0 0</dev/null");
    command.args(["fd=7", "idle=61", "accept", "show"]);
    assert_eq!(output(&mut command), format!("accept: {POLICY_VALUES}\n"));
}

/// A parent can also pass a bound or a new socket.
#[test]
fn inherited_new_socket_has_the_policy_when_it_is_used() {
    let fresh = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    for words in [&["listen", "client", "accept", "show"][..], &["connect", "show"]] {
        let mut command = started_with(fresh().expect("a socket"), "7<&0 0</dev/null");
        let seen = output(command.arg("fd=7").args(words));
        assert!(seen.ends_with(&format!(": {POLICY_VALUES}\n")), "{words:?}: {seen}");
    }
}

#[test]
fn received_listener_passes_the_policy_to_accepted_sockets() {
    let words = ["raw-tcp", "raw-listen", "client", "pass", "show", "accept", "show"];
    assert_eq!(
        output(with_library(&sockets()).args(words)),
        format!("pass: {KERNEL_DEFAULTS}\naccept: {POLICY_VALUES}\n")
    );
}

/// Only an option with the kernel's default counts as unset. SO_KEEPALIVE that is off may never have been set, so it is
/// switched on.
#[test]
fn values_set_by_another_process_stay() {
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

/// A connection that a UNIX listener accepts is not a TCP socket, whatever its descriptor's number.
#[test]
fn connections_of_a_unix_listener_are_unchanged() {
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
