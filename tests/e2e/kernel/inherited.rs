//! Sockets that a program did not create. A socket belongs to the cgroup in which it was created, and so do the sockets
//! that it accepts.

use super::{run, sockets};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Returns what `command` prints with this socket as its standard input and these words.
#[track_caller]
fn output(mut command: Command, socket: impl Into<OwnedFd>, words: &str) -> String {
    command.arg(sockets()).args(words.split(' '));
    let output = command.stdin(Stdio::from(socket.into())).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{words}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback")
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = listener();
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (client, listener.accept().expect("a client waits").0)
}

fn unused() -> OwnedFd {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket")
}

/// The command sets the sockets before it starts the program: those of inetd, with or without `wait`.
#[test]
fn inherited_sockets_are_set_before_the_command_starts() {
    kernel!();
    let accepts = "fd=0 show client accept show";
    let both = format!("fd=0: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n");
    assert_eq!(output(run(&[]), listener(), accepts), both);
    let (_client, accepted) = connection();
    assert_eq!(
        output(run(&[]), accepted, "fd=0 show"),
        format!("fd=0: {POLICY_VALUES}\n")
    );
    assert_eq!(
        output(run(&[]), unused(), "fd=0 connect show"),
        format!("connect: 0\nfd=0: {POLICY_VALUES}\n")
    );
    // Options that have been set stay.
    let (_client, accepted) = connection();
    sockopt::set_tcp_keepcnt(&accepted, 7).expect("TCP_KEEPCNT");
    assert_eq!(output(run(&[]), accepted, "fd=0 show"), "fd=0: 1 61 13 7 0\n");
}

/// `cgroup enable` does not set them: systemd creates sockets in the cgroup of the socket unit, or in its own.
#[test]
fn sockets_created_outside_of_the_cgroup_are_unchanged() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&["--idle=61", "--interval=13", "--count=4", "--mode=enforce"]);
    let enter = || test_cgroup.enter("env");
    assert_eq!(
        output(enter(), listener(), "fd=0 client accept show"),
        format!("accept: {KERNEL_DEFAULTS}\n")
    );
    assert_eq!(
        output(enter(), unused(), "fd=0 connect idle=600 show"),
        "connect: 0\nfd=0: 0 600 75 9 0\n"
    );
    // Sockets that the program creates have the policy.
    let lines = output(enter(), unused(), "tcp connect idle=600 show");
    assert_eq!(lines, format!("connect: 0\ntcp: {POLICY_VALUES}\n"));
}
