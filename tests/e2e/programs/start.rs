//! How one program is started, and which of its sockets is looked at.

use super::peer::{Peer, Speech};
use super::stage::{ReservedPort, Stage, fill_in};
use crate::support::observe::{Seen, tcp_sockets};
use crate::support::process::{Running, within};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Long enough for a Java machine on a busy computer; nobody waits for it when all is well.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Which end of the connection the program has.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It connects to the test's peer.
    Client(Speech),
    /// The test connects to it.
    Server,
    /// The test connects to it, and it then connects to the test's peer: both its sockets count.
    Relay,
}

/// The recipe for one program. In its texts `@PORT@` stands for the port where a server or a client's peer listens,
/// `@PEER@` for the port of a relay's peer, and `@HOME@` for the program's directory.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub kind: Kind,
    /// The program, by name or path, and its arguments.
    pub command: &'static [&'static str],
    /// Other programs that it needs.
    pub also: &'static [&'static str],
    /// Files in its directory: name and content.
    pub files: &'static [(&'static str, &'static str)],
    /// Commands that run before it.
    pub prepare: &'static [&'static [&'static str]],
    /// What the test sends after connecting to a server.
    pub say: &'static str,
    /// The file that a server writes when its listener has its options: it sets them after listen(2), and a connection that
    /// is faster keeps the values before.
    pub ready: Option<&'static str>,
    /// The major version since which it sets what the table says; older ones set nothing.
    pub since: u32,
    /// The program does its work only as root.
    pub root: bool,
    /// The signal that it wants in order to leave nothing behind; most are just killed.
    pub ended_by: Option<Signal>,
}

impl Start {
    pub const fn client(command: &'static [&'static str]) -> Self {
        let kind = Kind::Client(Speech::Silent);
        Self {
            kind,
            command,
            also: &[],
            files: &[],
            prepare: &[],
            say: "",
            ready: None,
            since: 0,
            root: false,
            ended_by: None,
        }
    }

    pub const fn server(command: &'static [&'static str]) -> Self {
        Self {
            kind: Kind::Server,
            ..Self::client(command)
        }
    }

    pub const fn relay(command: &'static [&'static str]) -> Self {
        Self {
            kind: Kind::Relay,
            ..Self::client(command)
        }
    }

    pub const fn http(self) -> Self {
        Self {
            kind: Kind::Client(Speech::Http),
            ..self
        }
    }

    pub const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    pub const fn files(self, files: &'static [(&'static str, &'static str)]) -> Self {
        Self { files, ..self }
    }

    pub const fn prepare(self, prepare: &'static [&'static [&'static str]]) -> Self {
        Self { prepare, ..self }
    }

    pub const fn say(self, say: &'static str) -> Self {
        Self { say, ..self }
    }

    pub const fn ready(self, file: &'static str) -> Self {
        Self {
            ready: Some(file),
            ..self
        }
    }

    pub const fn since(self, major: u32) -> Self {
        Self { since: major, ..self }
    }

    pub const fn as_root(self) -> Self {
        Self { root: true, ..self }
    }

    pub const fn ended_by(self, signal: Signal) -> Self {
        Self {
            ended_by: Some(signal),
            ..self
        }
    }

    /// Every program that must be installed.
    pub fn needs(&self) -> impl Iterator<Item = &'static str> {
        self.command
            .iter()
            .take(1)
            .chain(self.also)
            .chain(self.prepare.iter().map(|words| &words[0]))
            .copied()
    }

    /// Whether the installed program is of a version that does not yet set what the table says.
    pub fn is_older(&self, stage: &Stage) -> bool {
        self.since > 0 && major_version(self.command[0], stage) < self.since
    }
}

/// The first number that `program --version` prints.
fn major_version(program: &str, stage: &Stage) -> u32 {
    let words = [program, "--version"].map(str::to_owned);
    let output = stage
        .command(&words)
        .stdout(Stdio::piped())
        .output()
        .expect("the program is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .split(|character: char| !character.is_ascii_digit())
        .find(|part| !part.is_empty());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{program} --version prints {text}"))
}

/// A program that runs, and the connection to look at. The fields are dropped in this order: the program goes first.
pub struct Session {
    running: Running,
    ended_by: Option<Signal>,
    connections: Vec<Connection>,
    client: Option<TcpStream>,
    _peer: Option<Peer>,
    _port: Option<ReservedPort>,
}

/// The ports of one connection, as the program sees it; a client's own port is not known.
struct Connection {
    local: Option<u16>,
    peer: u16,
}

impl Connection {
    fn is(&self, seen: &Seen) -> bool {
        let has_port = |address: Option<SocketAddr>, port| address.is_some_and(|address| address.port() == port);
        has_port(seen.socket.peer, self.peer) && self.local.is_none_or(|port| has_port(seen.socket.local, port))
    }
}

impl Session {
    pub fn start(start: &Start, stage: &Stage) -> Self {
        let peer = match start.kind {
            Kind::Client(speech) => Some(Peer::start(speech)),
            Kind::Relay => Some(Peer::start(Speech::Silent)),
            Kind::Server => None,
        };
        let peer_port = peer.as_ref().map_or(0, Peer::port);
        let reserved = (!matches!(start.kind, Kind::Client(_))).then(ReservedPort::new);
        let port = reserved.as_ref().map_or(peer_port, ReservedPort::port);
        let home = stage.home();
        let fill = |text: &str| fill_in(text, &home, port, peer_port);
        let words = |words: &[&str]| words.iter().map(|word| fill(word)).collect::<Vec<_>>();

        for (name, content) in start.files {
            stage.write(name, &fill(content));
        }
        for command in start.prepare {
            stage.prepare(&words(command));
        }
        let mut running = Running::start_with_input(&mut stage.command(&words(start.command)));

        if let Some(file) = start.ready {
            let path = fill(file);
            let is_ready = within(LIMIT, || Path::new(&path).exists().then_some(()));
            assert!(is_ready.is_some(), "no {path}; the server wrote:\n{}", stage.output());
        }
        let client = reserved.is_some().then(|| {
            let mut client = connect(port, &mut running, stage);
            client
                .write_all(fill(start.say).as_bytes())
                .expect("a fresh connection takes a few bytes");
            client
        });
        let from = client
            .as_ref()
            .map(|client| client.local_addr().expect("a connected socket has a name").port());
        let accepted = from.map(|from| Connection {
            local: Some(port),
            peer: from,
        });
        let connected = peer.as_ref().map(|peer| Connection {
            local: None,
            peer: peer.port(),
        });
        let connections = accepted.into_iter().chain(connected).collect();
        Self {
            running,
            ended_by: start.ended_by,
            connections,
            client,
            _peer: peer,
            _port: reserved,
        }
    }

    /// The program's ends of the connection, one entry for each process that holds it; empty until all are there.
    pub fn sockets(&self) -> Vec<Seen> {
        let all = tcp_sockets(self.running.pid());
        if self
            .connections
            .iter()
            .any(|connection| !all.iter().any(|seen| connection.is(seen)))
        {
            return Vec::new();
        }
        let is_ours = |seen: &Seen| self.connections.iter().any(|connection| connection.is(seen));
        all.into_iter().filter(is_ours).collect()
    }

    /// The test's end of the connection to a server.
    pub fn client(&self) -> Option<&TcpStream> {
        self.client.as_ref()
    }

    /// Whether the program has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.running.child.try_wait(), Ok(None))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let (Some(signal), Some(pid)) = (self.ended_by, Pid::from_raw(self.running.pid().cast_signed())) {
            self.client = None; // Some wait for their clients.
            let _ = kill_process(pid, signal);
            within(LIMIT, || self.is_over().then_some(()));
        }
    }
}

/// Connects to a server as soon as it listens.
fn connect(port: u16, running: &mut Running, stage: &Stage) -> TcpStream {
    let connected = within(LIMIT, || match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Ok(stream) => Some(Some(stream)),
        Err(_) if !matches!(running.child.try_wait(), Ok(None)) => Some(None),
        Err(_) => None,
    });
    connected
        .flatten()
        .unwrap_or_else(|| panic!("the server does not listen; it says:\n{}", stage.output()))
}
