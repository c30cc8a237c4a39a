//! Commands of docs/recipes.md with the real programs: the options as they are there, without any other policy, and what
//! the kernel then has. Other recipes are rows of `programs`, and tests of `supervised` and `verify`.

use crate::support::go::GoProgram;
use crate::support::observe::{Seen, tcp_sockets};
use crate::support::process::{LIMIT, Running, within};
use crate::support::{PYTHON, find_program, keepalive, packaged_library};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// `keepalive run` without a policy from elsewhere.
fn run(options: &[&str], program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(keepalive());
    for variable in ["KEEPALIVE", "KEEPIDLE", "KEEPINTVL", "KEEPCNT", "LD_PRELOAD"] {
        command.env_remove(variable);
    }
    command
        .env("KEEPALIVE_LIBRARY", packaged_library())
        .arg("run")
        .args(options)
        .arg("--")
        .arg(program.as_ref())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Waits until a connection of the program to `peer` is as expected.
#[track_caller]
fn await_connection(program: &mut Running, peer: SocketAddr, is_as_expected: impl Fn(&Seen) -> bool) {
    let mut seen = Vec::new();
    let is_set = within(LIMIT, || {
        seen = tcp_sockets(program.pid());
        // gRPC's sockets are of IPv6, with mapped addresses.
        seen.retain(|seen| {
            let seen = seen.socket.peer;
            seen.is_some_and(|seen| (seen.ip().to_canonical(), seen.port()) == (peer.ip(), peer.port()))
        });
        seen.iter().any(&is_as_expected).then_some(())
    });
    assert!(is_set.is_some(), "{seen:?}");
}

/// Runs a client of a peer that stays silent. The peer's port is the last argument of the program, after `before`.
#[track_caller]
fn client(command: &mut Command, before: &str, is_as_expected: impl Fn(&Seen) -> bool) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let peer = listener.local_addr().expect("bound");
    let mut program = Running::start_with_input(command.arg(format!("{before}{}", peer.port())));
    await_connection(&mut program, peer, is_as_expected);
}

#[test]
fn redis_server_has_60_s_instead_of_300_s() {
    let Some(redis) = find_program("redis-server") else {
        skip!("redis-server is not installed");
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a port on loopback").port();
    let config = directory.path().join("redis.conf");
    fs::write(&config, format!("port {port}\nbind 127.0.0.1\nsave \"\"\n")).expect("our own file");
    let mut command = run(&["--mode", "cap"], redis);
    let mut server = Running::start_with_input(command.arg(&config).current_dir(directory.path()));
    let client = within(LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok()).expect("it listens");
    let here = client.local_addr().expect("connected");
    // Its own count of 3 is lower.
    await_connection(&mut server, here, |seen| seen.timing() == (true, 60, 15, 3));
}

/// Newer versions of Go set a count too, which is not lower.
fn is_60_15(seen: &Seen) -> bool {
    let (is_on, idle, interval, _) = seen.timing();
    (is_on, idle, interval) == (true, 60, 15)
}

#[test]
fn go_program_has_60_s_instead_of_15_s() {
    let go = match GoProgram::build() {
        Ok(go) => go,
        Err(why) => skip!("{why}"),
    };
    client(&mut run(&["--mode", "floor"], go.path()), "", is_60_15);
}

#[test]
fn kubectl_has_60_s_instead_of_30_s() {
    let Some(kubectl) = find_program("kubectl") else {
        skip!("kubectl is not installed");
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = run(&["--mode", "floor"], kubectl);
    command.env("HOME", home.path()).env_remove("KUBECONFIG");
    client(command.args(["get", "--raw=/"]), "--server=http://127.0.0.1:", is_60_15);
}

const GRPC_CLIENT: &str = "
import grpc, sys
channel = grpc.insecure_channel('127.0.0.1:' + sys.argv[1], options=[('grpc.keepalive_time_ms', 30000)])
grpc.channel_ready_future(channel).result()";

/// gRPC sets its 20 s when its own keepalive is on.
#[test]
fn grpc_has_the_user_timeout_of_the_default_times() {
    python!();
    let has_grpc = Command::new(PYTHON).args(["-c", "import grpc"]).output();
    if !has_grpc.is_ok_and(|output| output.status.success()) {
        skip!("python3-grpcio is not installed");
    }
    let mut command = run(&["--user-timeout", "auto", "--mode", "floor"], PYTHON);
    client(command.args(["-c", GRPC_CLIENT]), "", |seen| {
        seen.timing() == (true, 60, 15, 5) && seen.user_timeout() == 135_000
    });
}

#[test]
fn psycopg_has_the_times_of_the_preset() {
    python!();
    if find_program("/usr/lib/python3/dist-packages/psycopg2/__init__.py").is_none() {
        skip!("python3-psycopg2 is not installed");
    }
    let script = "import psycopg2, sys; psycopg2.connect(host='127.0.0.1', user='somebody', port=sys.argv[1])";
    let mut command = run(&["--preset", "aws-nlb"], PYTHON);
    client(command.args(["-c", script]), "", |seen| {
        seen.timing() == (true, 110, 30, 5)
    });
}
