//! `KEEPALIVE_USER_TIMEOUT`: a connection gets it when it is complete, however the program notices that, and not
//! before, because it would also limit the connect.

use crate::support::engine::Engine;
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, within};
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile, output};
use crate::support::{PYTHON, find_program};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use rustix::process::geteuid;
use std::env;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn sockets() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

fn with_user_timeout(engine: Engine, timeout: &str, program: &Path) -> Command {
    let mut command = engine.command(program);
    command.env("KEEPALIVE_USER_TIMEOUT", timeout);
    command
}

/// Returns the user timeout in milliseconds that `command` prints last.
fn shown_last(command: &mut Command) -> String {
    let printed = output(command);
    let number = printed.trim_end().rsplit(' ').next();
    number.expect("it prints something").to_owned()
}

/// As [`shown_last`], for `targets/sockets.c` with these words.
fn after(engine: Engine, timeout: &str, words: &str) -> String {
    shown_last(with_user_timeout(engine, timeout, &sockets()).args(words.split(' ')))
}

/// Every way in which a program notices that its connection is complete.
const IDIOMS: [&str; 6] = [
    "tcp connect show",
    "tcp6 connect show",
    "nonblock tcp connect so_error show",
    "nonblock tcp connect writable connect show",
    "tcp listen client accept show",
    "raw-tcp raw-listen client pass accept show",
];

under_preload_and_cgroup! {
    every_complete_connection_has_the_user_timeout
    unconnected_sockets_have_no_user_timeout
    automatic_user_timeout_uses_timings_of_the_program
    user_timeout_of_the_program_stays
    complete_fast_open_connection_has_the_user_timeout
    a_blocking_connect_is_not_shortened
    a_polled_connect_is_not_shortened
    a_repeated_connect_is_not_shortened
    python_asyncio_is_not_shortened
    node_is_not_shortened
    user_timeout_of_the_program_shortens_its_connect
}

fn every_complete_connection_has_the_user_timeout(engine: Engine) {
    for words in IDIOMS {
        assert_eq!(after(engine, "2s", words), "2000", "{words}");
        assert_eq!(after(engine, "1500ms", words), "1500", "{words}");
        // 61 s + 13 s × 4: the time after which keepalive alone would end the connection.
        assert_eq!(after(engine, "auto", words), "113000", "{words}");
        assert_eq!(after(engine, "off", words), "0", "{words}");
    }
}

/// A socket that may still connect or listen has none.
fn unconnected_sockets_have_no_user_timeout(engine: Engine) {
    assert_eq!(after(engine, "2s", "tcp show"), "0");
    assert_eq!(after(engine, "2s", "tcp bind show"), "0");
}

fn automatic_user_timeout_uses_timings_of_the_program(engine: Engine) {
    assert_eq!(after(engine, "auto", "tcp idle=300 connect show"), "352000");
    assert_eq!(
        after(engine, "auto", "tcp count=127 listen client accept show"),
        "1712000"
    );
}

fn user_timeout_of_the_program_stays(engine: Engine) {
    assert_eq!(
        after(engine, "2s", "tcp user-timeout=5000 connect so_error show"),
        "5000"
    );
    assert_eq!(
        after(engine, "2s", "tcp connect user-timeout=5000 so_error show"),
        "5000"
    );
    assert_eq!(
        after(engine, "2s", "tcp user-timeout=5000 listen client accept show"),
        "5000"
    );
}

/// Of two sockets that are bound to one port only one can listen; the other can still connect.
#[test]
fn failed_listen_leaves_no_user_timeout() {
    let words = "tcp bind tcp bind listen first listen show".split(' ');
    let printed = output(with_user_timeout(Engine::Library, "2s", &sockets()).args(words));
    assert_eq!(printed, "listen: 98\nfirst: 1 61 13 4 0\n");
}

/// With `TCP_FASTOPEN_CONNECT` connect(2) returns without sending, and the first write connects (tcp(7)).
fn complete_fast_open_connection_has_the_user_timeout(engine: Engine) {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    // Makes all listeners and clients use fast open, without a cookie (Documentation/networking/ip-sysctl.rst,
    // tcp_fastopen).
    let script = r#"ip link set lo up && echo 1543 >/proc/sys/net/ipv4/tcp_fastopen && exec "$@""#;
    command.args(["sh", "-c", script, "sh"]);
    let can = command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
    let output = Command::new("unshare").args(can).arg("true").output();
    if !output.is_ok_and(|output| output.status.success()) {
        skip!("there is no network namespace for fast open");
    }

    let program = with_user_timeout(engine, "2s", &sockets());
    command.arg("env").arg("-i");
    for (name, value) in program.get_envs() {
        let mut entry = name.to_owned();
        entry.push("=");
        entry.push(value.expect("only set, not removed"));
        command.arg(entry);
    }
    command
        .arg(program.get_program())
        .args(program.get_args())
        .args("tcp fastopen-connect=1 connect show write so_error show".split(' '));
    let before = if engine.sets_new_sockets() {
        POLICY_VALUES
    } else {
        KERNEL_DEFAULTS
    };
    assert_eq!(
        crate::support::target::output(command.stdin(Stdio::null())),
        format!("connect: 0\ntcp: {before}\nso_error: 0\ntcp: 1 61 13 4 2000\n")
    );
}

/// A listener with a full queue: it does not answer until it accepts.
struct SilentListener {
    listener: TcpListener,
    _first: TcpStream,
    port: u16,
}

impl SilentListener {
    fn new() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let listener = socket.expect("a socket");
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        listen(&listener, 0).expect("a bound socket can listen");
        let address = SocketAddr::try_from(getsockname(&listener).expect("a bound socket has a name"));
        let address = address.expect("an IPv4 address");
        Self {
            listener: listener.into(),
            _first: TcpStream::connect(address).expect("room for one"),
            port: address.port(),
        }
    }
}

/// Longer than the user timeout in these tests, and than the SYN retransmission at which it would end a connect.
const PATIENCE: Duration = Duration::from_millis(3200);
const LIMIT: Duration = Duration::from_secs(30);

/// Returns the user timeout of the program's connection to `port`, if that is complete and so has a peer.
fn user_timeout(program: &Running, port: u16) -> Option<u32> {
    tcp_sockets(program.pid())
        .into_iter()
        .find(|seen| seen.socket.peer.is_some_and(|peer| peer.port() == port))
        .map(|seen| seen.user_timeout())
}

/// Asserts that a connect without an answer for longer than the user timeout does not fail: after an answer the
/// connection is complete, and has the user timeout.
fn assert_keeps_connecting(start: impl FnOnce(u16) -> Command) {
    let silent = SilentListener::new();
    let mut command = start(silent.port);
    command.env("KEEPALIVE_USER_TIMEOUT", "1s");
    // `hold` ends when its standard input is closed.
    let program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let early = within(PATIENCE, || user_timeout(&program, silent.port));
    assert_eq!(early, None, "there is no answer");
    let trying = tcp_sockets(program.pid());
    assert!(!trying.is_empty(), "it has given up");
    assert!(trying.iter().all(|seen| seen.user_timeout() == 0), "{trying:#?}");

    let _first = silent.listener.accept().expect("the first client");
    eventually("a connection with the user timeout", LIMIT, || {
        user_timeout(&program, silent.port).filter(|timeout| *timeout == 1000)
    });
}

fn words(engine: Engine, port: u16, words: &str) -> Command {
    let mut command = engine.command(&sockets());
    command.args(words.replace("@PORT@", &port.to_string()).split(' '));
    command
}

fn a_blocking_connect_is_not_shortened(engine: Engine) {
    assert_keeps_connecting(|port| words(engine, port, "tcp connect=@PORT@ hold"));
}

fn a_polled_connect_is_not_shortened(engine: Engine) {
    assert_keeps_connecting(|port| words(engine, port, "nonblock tcp connect=@PORT@ so_error hold"));
}

fn a_repeated_connect_is_not_shortened(engine: Engine) {
    assert_keeps_connecting(|port| {
        words(
            engine,
            port,
            "nonblock tcp connect=@PORT@ connect=@PORT@ writable connect=@PORT@ hold",
        )
    });
}

fn python_asyncio_is_not_shortened(engine: Engine) {
    if find_program(PYTHON).is_none() {
        skip!("python3 is not installed");
    }
    assert_keeps_connecting(|port| {
        let script = format!(
            "import asyncio\n\
             async def main():\n    \
                 reader, writer = await asyncio.open_connection('127.0.0.1', {port})\n    \
                 await reader.read()\n\
             asyncio.run(main())"
        );
        let mut command = engine.command(Path::new(PYTHON));
        command.args(["-c", &script]);
        command
    });
}

fn node_is_not_shortened(engine: Engine) {
    let Some(node) = find_program("node") else {
        skip!("node is not installed");
    };
    assert_keeps_connecting(|port| {
        let mut command = engine.command(&node);
        command
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .args(["-e", &format!("require('net').connect({port}, '127.0.0.1')")]);
        command
    });
}

/// The counterpart, which shows that the tests above would detect it: with a user timeout from the start a connect ends
/// with ETIMEDOUT. The program has set it, so it stays.
fn user_timeout_of_the_program_shortens_its_connect(engine: Engine) {
    let silent = SilentListener::new();
    let mut command = words(engine, silent.port, "tcp user-timeout=1000 connect=@PORT@ show");
    let rest = if engine.sets_new_sockets() {
        "1 61 13 4"
    } else {
        "0 7200 75 9"
    };
    assert_eq!(
        output(command.env("KEEPALIVE_USER_TIMEOUT", "1h")),
        format!("connect: 110\ntcp: {rest} 1000\n")
    );
}
