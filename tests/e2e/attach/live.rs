//! Programs in several languages with open sessions: their sockets get the new settings, and the sessions continue.

use super::{POLICY, attached};
use crate::support::go::GoProgram;
use crate::support::line_peer::LinePeer;
use crate::support::observe::{Seen, tcp_sockets};
use crate::support::ordinary::NOBODY;
use crate::support::process::{LIMIT, Running, eventually, output_within, text};
use crate::support::py_peer::PyPeer;
use crate::support::{PYTHON, find_program, repository};
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// (keepalive, idle, interval, count), as `Seen::timing` returns it.
type Timing = (bool, u64, u64, u32);

const POLICY_TIMING: Timing = (true, 61, 13, 4);
const KERNEL_TIMING: Timing = (false, 7200, 75, 9);

/// Sends data, which must come back.
#[track_caller]
fn talk(stream: &mut TcpStream) {
    let mut answer = [0; 6];
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream.write_all(b"hello\n").expect("an open connection");
    stream.read_exact(&mut answer).expect("an open connection");
    assert_eq!(&answer, b"hello\n");
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    eventually("a connection", LIMIT, || listener.accept().ok()).0
}

fn target(name: &str) -> PathBuf {
    repository().join("tests/targets").join(name)
}

/// A program of `targets/ends.*`. It has a connection to the test, and the test has one to it.
struct Ends {
    program: LinePeer,
    outgoing: TcpStream,
    incoming: TcpStream,
    port: u16,
}

impl Ends {
    fn start(command: &mut Command) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("bound").port();
        let mut program = LinePeer::start(command.arg(port.to_string()));
        let answer = program.answer();
        let port = answer
            .parse()
            .unwrap_or_else(|_| panic!("{command:?} printed: {answer}"));
        let outgoing = accept(&listener);
        let incoming = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        let mut ends = Self {
            program,
            outgoing,
            incoming,
            port,
        };
        ends.talk();
        ends
    }

    #[track_caller]
    fn talk(&mut self) {
        talk(&mut self.outgoing);
        talk(&mut self.incoming);
    }

    /// Returns the options of the connection that the program opened, of the one that it accepted, and of its listener.
    fn has(&self) -> [Timing; 3] {
        let all = tcp_sockets(self.program.pid());
        let name = |stream: &TcpStream| stream.local_addr().ok();
        let find = |what: &str, is: &dyn Fn(&Seen) -> bool| {
            all.iter()
                .find(|seen| is(seen))
                .unwrap_or_else(|| panic!("{what} is not in {all:?}"))
                .timing()
        };
        let of_stream = |stream: &TcpStream| {
            let (own, peer_address) = (stream.peer_addr().ok(), name(stream));
            find("the connection", &|seen| {
                canonical(seen.socket.local) == own && canonical(seen.socket.peer) == peer_address
            })
        };
        let listens =
            |seen: &Seen| seen.socket.listening && seen.socket.local.is_some_and(|own| own.port() == self.port);
        [
            of_stream(&self.outgoing),
            of_stream(&self.incoming),
            find("the listener", &listens),
        ]
    }

    /// Expects these options before attach, in fill mode, and in enforce mode.
    #[track_caller]
    fn expect(mut self, before: [Timing; 3], filled: [Timing; 3]) {
        assert_eq!(self.has(), before, "before");
        attached(self.program.pid(), &POLICY);
        assert_eq!(self.has(), filled, "in fill mode");
        self.talk();
        attached(self.program.pid(), &[&POLICY[..], &["--mode=enforce"]].concat());
        assert_eq!(self.has(), [POLICY_TIMING; 3], "in enforce mode");
        self.talk();
        let mut late = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it still listens");
        talk(&mut late);
    }
}

/// Maps an IPv4-mapped IPv6 address to IPv4.
fn canonical(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[test]
fn python_sessions_continue() {
    python!();
    Ends::start(Command::new(PYTHON).arg(target("ends.py"))).expect([KERNEL_TIMING; 3], [POLICY_TIMING; 3]);
}

#[test]
fn node_sessions_continue() {
    let Some(node) = find_program("node") else {
        skip!("node is not installed")
    };
    Ends::start(Command::new(node).arg(target("ends.js"))).expect([KERNEL_TIMING; 3], [POLICY_TIMING; 3]);
}

#[test]
fn java_sessions_continue() {
    let Some(java) = find_program("java") else {
        skip!("java is not installed")
    };
    let mut command = Command::new(java);
    command.args(["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]);
    Ends::start(command.arg(target("Ends.java"))).expect([KERNEL_TIMING; 3], [POLICY_TIMING; 3]);
}

/// A static Go program has no C library and cannot load the preload library. Go sets keepalive on connections itself.
#[test]
fn static_go_sessions_continue() {
    let program = match GoProgram::build() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    let goes = (true, 15, 15, 9);
    Ends::start(&mut Command::new(program.path())).expect(
        [goes, goes, KERNEL_TIMING],
        [(true, 15, 15, 4), (true, 15, 15, 4), POLICY_TIMING],
    );
}

#[test]
fn sessions_of_64_threads_continue() {
    const THREADS: usize = 64;
    python!();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let port = listener.local_addr().expect("bound").port();
    let mut program = PyPeer::start();
    program
        .0
        .send_line(&format!("len([start_echo({port}) for _ in range({THREADS})])"));
    let mut streams: Vec<TcpStream> = (0..THREADS).map(|_| accept(&listener)).collect();
    assert_eq!(program.answer(), THREADS.to_string());
    streams.iter_mut().for_each(talk);
    attached(program.pid(), &POLICY);
    let timings: Vec<Timing> = tcp_sockets(program.pid()).iter().map(Seen::timing).collect();
    assert_eq!(timings, [POLICY_TIMING; THREADS]);
    streams.iter_mut().for_each(talk);
}

/// Shell commands that create a network and an empty `/run` and `/var/log`, then execute the arguments.
const APART: &str = "ip link set lo up && mount -t tmpfs none /run && mount -t tmpfs none /var/log && \
                     mkdir -m 755 /run/sshd && exec \"$@\"";

fn apart(log: &Path) -> Command {
    let log = File::create(log).expect("a file of the test");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", APART, "sh"]);
    command.stdout(log.try_clone().expect("a second log")).stderr(log);
    command
}

fn into_network_of(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net"));
    command
}

/// Returns the processes among `pid` and its descendants that hold a connection from port `own` to port `peer`.
fn holders(pid: u32, own: u16, peer: u16) -> Vec<(u32, Timing)> {
    let mut found = Vec::new();
    for pid in crate::support::observe::family(pid) {
        for fd in keepalive_sys::proc::fds(pid).unwrap_or_default() {
            let Ok(Ok(Some(socket))) = keepalive_sys::sockopt::duplicate(pid, fd).map(keepalive_sys::sockopt::read)
            else {
                continue;
            };
            let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
            let is_it = |wanted, address| wanted == 0 || port(address) == wanted;
            if socket.peer.is_some() && is_it(own, socket.local) && is_it(peer, socket.peer) {
                found.push((pid, Seen { socket }.timing()));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Attaches to every process that holds an end of the session. Checks both ends before and after.
fn attach_to_session(server: u32, client: u32, port: u16) {
    let ends = || [holders(server, port, 0), holders(client, 0, port)];
    let before = ends();
    let timings = |ends: &[Vec<(u32, Timing)>; 2]| ends.iter().flatten().map(|end| end.1).collect::<Vec<_>>();
    assert!(before.iter().all(|end| !end.is_empty()), "{before:?}");
    assert!(
        timings(&before).iter().all(|timing| *timing == (true, 7200, 75, 9)),
        "{before:?}"
    );
    for (pid, _) in before.iter().flatten() {
        attached(*pid, &POLICY);
    }
    let after = ends();
    assert!(
        timings(&after).iter().all(|timing| *timing == POLICY_TIMING),
        "{after:?}"
    );
}

#[test]
fn postgresql_session_continues() {
    root!();
    for needed in ["initdb", "postgres", "psql"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("our own directory");
    let home = directory.path().join("home");
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

    let log = directory.path().join("log");
    let mut command = apart(&log);
    command.args(NOBODY);
    command
        .arg(find_program("postgres").expect("it was there"))
        .arg("-D")
        .arg(&data);
    command.args(["-p5432", "-clisten_addresses=127.0.0.1", "-cunix_socket_directories="]);
    command.args(["-cdynamic_shared_memory_type=mmap", "-cshared_memory_type=mmap"]);
    let mut server = Running::start(command.current_dir(&home));
    eventually("postgres is ready", LIMIT, || {
        fs::read_to_string(&log)
            .ok()?
            .contains("ready to accept connections")
            .then_some(())
    });

    let mut command = into_network_of(server.pid());
    command.arg(find_program("psql").expect("it was there"));
    command
        .args(["-AtX", "host=127.0.0.1 user=somebody dbname=postgres"])
        .env_clear();
    let mut client = LinePeer::start(&mut command);
    client.send_line("select 40 + 2;");
    assert_eq!(client.answer(), "42");
    attach_to_session(server.pid(), client.pid(), 5432);
    client.send_line("select 50 + 5;");
    assert_eq!(client.answer(), "55");
    // With SIGQUIT, PostgreSQL removes its System V shared memory.
    client.finish();
    client.wait_for_end();
    let server_pid = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(server_pid, rustix::process::Signal::QUIT).expect("a child of the test");
    server.wait_for_end();
}

#[test]
fn sshd_session_continues() {
    root!();
    for needed in ["sshd", "ssh", "ssh-keygen"] {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let key = directory.path().join("key");
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen
        .args(["-q", "-ted25519", "-N", "", "-f"])
        .arg(&key)
        .stdin(Stdio::null())
        .status();
    assert!(made.expect("it starts").success());

    let log = directory.path().join("log");
    let mut command = apart(&log);
    command
        .arg(find_program("sshd").expect("it was there"))
        .args(["-D", "-e", "-f/dev/null", "-p22"]);
    command
        .arg("-h")
        .arg(&key)
        .arg(format!("-oAuthorizedKeysFile={}.pub", key.display()));
    command.args([
        "-oListenAddress=127.0.0.1",
        "-oPidFile=none",
        "-oPermitRootLogin=yes",
        "-oStrictModes=no",
    ]);
    let server = Running::start(&mut command);
    eventually("sshd listens", LIMIT, || {
        fs::read_to_string(&log)
            .ok()?
            .contains("Server listening")
            .then_some(())
    });

    let mut command = into_network_of(server.pid());
    command.args(["ssh", "-F/dev/null", "-T", "-i"]).arg(&key);
    command.args([
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oLogLevel=ERROR",
    ]);
    command.args(["-oIdentityAgent=none", "root@127.0.0.1", "cat"]);
    let mut client = LinePeer::start(&mut command);
    client.send_line("before");
    assert_eq!(
        client.answer(),
        "before",
        "{}",
        text(&fs::read(&log).unwrap_or_default())
    );
    attach_to_session(server.pid(), client.pid(), 22);
    client.send_line("after");
    assert_eq!(client.answer(), "after");
    client.finish();
    client.wait_for_end();
}
