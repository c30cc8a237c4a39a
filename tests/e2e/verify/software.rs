//! Programs that set keepalive or a user timeout themselves, as users have them.

use super::{POLICY, Report, run, server};
use crate::support::line_peer::LinePeer;
use crate::support::observe::tcp_sockets;
use crate::support::ordinary::NOBODY;
use crate::support::process::{LIMIT, Running, eventually, output_within};
use crate::support::{PYTHON, find_program, keepalive, library};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Debian's libpostgresql-jdbc-java.
const PGJDBC: &str = "/usr/share/java/postgresql.jar";
const JDBC_PROGRAM: &str = "
public class Session {
    public static void main(String[] arguments) throws Exception {
        java.sql.DriverManager.getConnection(arguments[0], \"somebody\", \"\").createStatement().execute(\"select 1\");
        System.out.println(\"ready\");
        System.in.read();
    }
}";

/// Starts PostgreSQL in a network of its own, below a directory that is removed with the first value.
fn postgres(directory: &Path) -> Running {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("our own directory");
    let home = directory.join("home");
    fs::create_dir(&home).expect("a directory in our own");
    chown(&home, Some(65534), Some(65534)).expect("root can give it away");
    let data = home.join("data");
    let mut initdb = Command::new(find_program("initdb").expect("it was there"));
    initdb
        .arg("--pgdata")
        .arg(&data)
        .args(["--no-sync", "--auth=trust", "--username=somebody"]);
    let output = output_within(LIMIT, initdb.uid(65534).gid(65534).current_dir(&home));
    assert!(output.status.success(), "{output:?}");
    let log = directory.join("log");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .args(NOBODY)
        .arg(find_program("postgres").expect("it was there"))
        .arg("-D")
        .arg(&data)
        .args(["-p5432", "-clisten_addresses=127.0.0.1", "-cunix_socket_directories="])
        .args(["-cdynamic_shared_memory_type=mmap", "-cshared_memory_type=mmap"])
        .current_dir(&home)
        .stderr(File::create(&log).expect("a file of ours"));
    let server = Running::start(&mut command);
    eventually("postgres is ready", LIMIT, || {
        fs::read_to_string(&log)
            .ok()?
            .contains("ready to accept connections")
            .then_some(())
    });
    server
}

#[test]
fn pgjdbc_switches_keepalive_off_and_mode_cap_keeps_it_on() {
    root!();
    for needed in ["initdb", "postgres", "java", "javac", PGJDBC] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut server = postgres(directory.path());
    let source = directory.path().join("Session.java");
    fs::write(&source, JDBC_PROGRAM).expect("a file of ours");
    let mut javac = Command::new("javac");
    assert!(output_within(LIMIT, javac.arg(&source)).status.success());
    let off = "the connection is not set; fd 7: the program switched it off: --mode cap";
    for (options, is_on, status, summary) in [
        (&[][..], false, 1, off),
        (&["--mode", "cap"][..], true, 0, "the connection is set"),
    ] {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", server.pid()))
            .arg(keepalive())
            .args(["run", "--engine", "preload"])
            .args(POLICY)
            .args(options)
            .args(["--", "java", "-Xshare:auto", "-cp"])
            .arg(format!("{PGJDBC}:{}", directory.path().display()))
            .args(["Session", "jdbc:postgresql://127.0.0.1:5432/postgres"])
            .env("KEEPALIVE_LIBRARY", library());
        let mut program = LinePeer::start(&mut command);
        assert_eq!(program.answer(), "ready");
        let timings: Vec<_> = tcp_sockets(program.pid()).iter().map(timing).collect();
        assert_eq!(timings, [(is_on, 61, 13, 4)]);
        let report = Report::of(program.pid());
        let fd = report.sockets()[0]["fd"].to_string();
        report.expect(status, &summary.replace("fd 7", &format!("fd {fd}")));
        program.finish();
        program.wait_for_end();
    }
    // Its own way out removes its System V shared memory.
    let pid = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).expect("it is ours");
    server.wait_for_end();
}

const GRPC_PROGRAM: &str = "
import grpc, sys
from concurrent import futures
server = grpc.server(futures.ThreadPoolExecutor(2))
port = server.add_insecure_port('127.0.0.1:0')
server.start()
channel = grpc.insecure_channel(f'127.0.0.1:{port}', options=[('grpc.keepalive_time_ms', 30000)])
grpc.channel_ready_future(channel).result()
print('ready', flush=True)
sys.stdin.read()";

#[test]
fn grpc_limits_unacknowledged_data_itself_and_mode_floor_raises_that() {
    python!();
    let has_grpc = Command::new(PYTHON).args(["-c", "import grpc"]).output();
    if !has_grpc.is_ok_and(|output| output.status.success()) {
        skip!("python3-grpcio is not installed");
    }
    for (options, user_timeout, status, summary) in [
        (&[][..], 20_000, 1, "0 of 2 connections are set, the listener is set; "),
        (
            &["--user-timeout", "auto", "--mode", "floor"],
            113_000,
            0,
            "all 2 connections are set, the listener is set",
        ),
    ] {
        let options = [&["--engine", "preload"], &POLICY[..], options].concat();
        let mut program = LinePeer::start(run(&options, Path::new(PYTHON)).args(["-c", GRPC_PROGRAM]));
        assert_eq!(program.answer(), "ready");
        let connections = tcp_sockets(program.pid());
        let timeouts: Vec<u32> = connections
            .iter()
            .filter(|seen| seen.socket.peer.is_some())
            .map(crate::support::observe::Seen::user_timeout)
            .collect();
        assert_eq!(timeouts, [user_timeout; 2]);
        let report = Report::of(program.pid());
        assert_eq!(report.status, Some(status), "{}", report.json);
        assert!(report.summary().starts_with(summary), "{}", report.json);
        let advice = "its own user timeout of 20 s ends it after one lost probe: --user-timeout auto --mode floor";
        assert_eq!(report.summary().contains(advice), status == 1, "{}", report.json);
    }
}

#[test]
fn node_probes_every_second_and_mode_floor_prevents_it() {
    let Some(node) = find_program("node") else {
        skip!("node is not installed");
    };
    let (_server, port) = server();
    let script = format!(
        "const socket = require('net').connect({port}, '127.0.0.1', () => {{
            socket.setKeepAlive(true, 1000);
            console.log('ready');
            process.stdin.on('end', () => process.exit(0)).resume();
        }});"
    );
    for (options, idle, summary) in [
        (
            &[][..],
            1,
            "the program's own idle time of 1 s is shorter than the policy's 61 s: --mode floor",
        ),
        (&["--mode", "floor"], 61, "the connection is set"),
    ] {
        let options = [&["--engine", "preload"], &POLICY[..], options].concat();
        let mut program = LinePeer::start(run(&options, &node).args(["-e", &script]));
        assert_eq!(program.answer(), "ready");
        let timings: Vec<_> = tcp_sockets(program.pid()).iter().map(timing).collect();
        assert_eq!((timings[0].0, timings[0].1), (true, idle));
        let report = Report::of(program.pid());
        assert_eq!(report.status, Some(0), "{}", report.json);
        assert!(report.summary().contains(summary), "{}", report.json);
    }
}

fn timing(seen: &crate::support::observe::Seen) -> (bool, u64, u64, u32) {
    seen.timing()
}
