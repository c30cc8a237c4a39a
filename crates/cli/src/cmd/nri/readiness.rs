//! Whether the plugin is ready. The plugin answers `keepalive nri --status` at an abstract socket, which ends with it and whose name
//! contains the mount namespace: a probe in a container asks the plugin of this container, whatever else the node runs.

use crate::date::utc;
use crate::error::{Error, FAILED, describe};
use crate::output::{log, sanitize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest name of an abstract socket (unix(7)).
const LONGEST_NAME: usize = 107;

/// How long `--status` waits for the plugin. The probe of the component has 10 seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer, in bytes.
const LONGEST_ANSWER: u64 = 4096;

/// The pause after accept(2) failed, as with EMFILE.
const PAUSE: Duration = Duration::from_millis(100);

/// The first line of the answer of a plugin that is ready.
const READY: &str = "ready";

/// The state of the plugin.
#[derive(Clone)]
pub(super) struct Readiness(Arc<Mutex<State>>);

struct State {
    is_ready: bool,
    text: String,
    hint: Option<&'static str>,
    /// When the state began, in seconds since 1970-01-01.
    since: Option<u64>,
    /// The connection to the runtime, which the runtime can close before the plugin looks.
    connection: Option<OwnedFd>,
}

impl State {
    fn new(text: String) -> Self {
        Self {
            is_ready: false,
            text,
            hint: None,
            since: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .map(|since| since.as_secs()),
            connection: None,
        }
    }

    fn answer(&self) -> String {
        if self.connection.as_ref().is_some_and(is_closed) {
            return String::from("unready\nthe runtime has closed the connection");
        }
        let word = if self.is_ready { READY } else { "unready" };
        let since = self.since.map(|since| format!(", since {}", utc(since)));
        let hint = self.hint.map(|hint| format!("\nhint: {hint}"));
        let text = &self.text;
        format!(
            "{word}\n{text}{}{}",
            since.unwrap_or_default(),
            hint.unwrap_or_default()
        )
    }
}

impl Readiness {
    /// Starts to answer for the plugin of this socket of a runtime. Where that is not possible, the log says so: the plugin works
    /// without.
    pub(super) fn start(socket: &Path) -> Self {
        let readiness = Self(Arc::new(Mutex::new(State::new(String::from("it starts")))));
        let started = name(socket)
            .and_then(SocketAddr::from_abstract_name)
            .and_then(|address| UnixListener::bind_addr(&address))
            .and_then(|listener| {
                let readiness = readiness.clone();
                let thread = thread::Builder::new().name(String::from("status"));
                thread.spawn(move || readiness.serve(&listener))
            });
        if let Err(error) = started {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    String::from("the name of its socket is taken, as by another keepalive nri in this container")
                }
                _ => describe(&error),
            };
            log(&format!("keepalive nri --status will not show this command: {why}"));
        }
        readiness
    }

    fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            // The buffer of a new socket takes the answer: no client can make this thread wait.
            let answered = stream.and_then(|mut stream| {
                stream.set_nonblocking(true)?;
                let answer = self.lock().answer();
                stream.write_all(answer.as_bytes())
            });
            if answered.is_err() {
                thread::sleep(PAUSE);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that there is no connection to the runtime.
    pub(super) fn lose(&self, text: &str, failure: &io::Error) {
        let mut state = self.lock();
        // Each attempt fails for the same reason.
        if state.text == text {
            return;
        }
        let is_absent = matches!(
            failure.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        );
        *state = State {
            hint: is_absent.then_some(
                "the Node Resource Interface of the runtime must be on; containerd 1.7 has it off (man keepalive-nri)",
            ),
            ..State::new(text.to_owned())
        };
    }

    /// Records a connection to the runtime that has not registered the plugin.
    pub(super) fn connect(&self, connection: &impl AsFd) {
        *self.lock() = State {
            connection: connection.as_fd().try_clone_to_owned().ok(),
            ..State::new(String::from("the runtime has not registered the plugin yet"))
        };
    }

    /// Records a step after the connection.
    pub(super) fn advance(&self, text: &str, is_ready: bool) {
        let mut state = self.lock();
        *state = State {
            is_ready,
            connection: state.connection.take(),
            ..State::new(sanitize(text))
        };
    }
}

/// Asks the plugin of this container. Returns the answer of one that is ready.
///
/// # Errors
/// It is not ready, or there is none.
pub(super) fn ask(socket: &Path) -> Result<String, Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::new(FAILED, "not ready: no keepalive nri runs in this container")
            .hint("its log tells why it has ended; ask in its mount and network namespaces, with the same --socket"),
        io::ErrorKind::WouldBlock => Error::new(
            FAILED,
            format!("not ready: keepalive nri has not answered for {} s", PATIENCE.as_secs()),
        ),
        _ => Error::new(
            FAILED,
            format!("not ready: keepalive nri does not answer: {}", describe(&error)),
        ),
    };
    let answer = name(socket).and_then(|name| receive(&name)).map_err(failed)?;
    match answer.split_once('\n') {
        Some((READY, text)) => Ok(format!("ready: {text}\n")),
        Some((_, text)) => Err(Error::new(FAILED, format!("not ready: {text}"))),
        None => Err(Error::new(FAILED, "not ready: keepalive nri ended while it was asked")),
    }
}

fn receive(name: &[u8]) -> io::Result<String> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // connect(2) waits, too, if a stopped plugin has accepted none for long.
    for timeout in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
    }
    connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    // Any program of this network namespace can take the name.
    if socket_peercred(&socket)?.uid != geteuid() {
        return Err(io::Error::other("the socket is that of another user"));
    }
    let mut answer = String::new();
    UnixStream::from(socket)
        .take(LONGEST_ANSWER)
        .read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the name of the abstract socket in this container, for this socket of a runtime.
fn name(socket: &Path) -> io::Result<Vec<u8>> {
    let mounts = fs::read_link("/proc/self/ns/mnt")?;
    let mut name = [b"keepalive-nri ", mounts.as_os_str().as_bytes(), b" "].concat();
    // The end of a path differs more than its beginning.
    let path = socket.as_os_str().as_bytes();
    let free = LONGEST_NAME.saturating_sub(name.len());
    name.extend(path.get(path.len().saturating_sub(free)..).unwrap_or_default());
    Ok(name)
}

/// Returns whether the other side has closed the connection.
fn is_closed(connection: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(connection, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
