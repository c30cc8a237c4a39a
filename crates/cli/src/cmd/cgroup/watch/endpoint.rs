//! The endpoint of `--metrics-listen`: one thread answers HTTP requests with the metrics. Clients are not trusted: they get neither
//! a thread nor memory of their own choice, and none can keep another one from its answer.

mod connection;
mod request;
mod response;

use crate::cmd::cgroup::selection::Subject;
use crate::cmd::cgroup::status::Report;
use crate::error::{Error, FAILED, describe};
use crate::output::log;
use connection::Connection;
use keepalive_sys::cgroup::Tree;
use request::Request;
use response::{Answer, Response};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a report answers further requests. To make one costs some milliseconds.
const FRESH: Duration = Duration::from_secs(1);

/// The most connections at a time. A further one takes the place of another one.
const CONNECTIONS: usize = 64;

/// The pause after accept(2) or poll(2) failed, as with EMFILE.
const PAUSE: Duration = Duration::from_millis(100);

/// Parses the value of the option.
pub(in crate::cmd::cgroup) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        String::from(
            "no address with a port\nhint: expected 127.0.0.1:9464, [::1]:9464, or 0.0.0.0:9464 for all of IPv4",
        )
    })
}

/// Starts to answer requests, until this process ends.
///
/// # Errors
/// The address cannot be used.
pub(super) fn start(address: SocketAddr, tree: &Tree, subjects: &[Subject]) -> Result<(), Error> {
    let failed = |error: io::Error| {
        let what = format!("cannot listen for metrics on {address}: {}", describe(&error));
        Error::new(FAILED, what).hint(match error.kind() {
            io::ErrorKind::AddrInUse => "choose another port; ss -tlnp shows the program that listens there",
            io::ErrorKind::AddrNotAvailable => "name an address of this machine, or 0.0.0.0 for all of them",
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "name an address of this machine and a free port, as 127.0.0.1:9464",
        })
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    // The number of port 0 is known now.
    let address = listener.local_addr().map_err(failed)?;
    let metrics = Metrics {
        tree: tree.clone(),
        subjects: subjects.to_vec(),
    };
    thread::Builder::new()
        .name(String::from("metrics"))
        .spawn(move || serve(&listener, &metrics))
        .map_err(failed)?;
    log(&format!("metrics are at http://{address}/metrics"));
    Ok(())
}

/// What the metrics are about.
struct Metrics {
    tree: Tree,
    subjects: Vec<Subject>,
}

impl Metrics {
    fn response(&self) -> Response {
        match Report::of(&self.tree, self.subjects.iter().cloned()) {
            Ok(report) => Response::metrics(&report.metrics()),
            Err(error) => Response::failure(error.message()),
        }
    }
}

/// The response that is the newest, and when it was made.
#[derive(Default)]
struct Cache(Option<(Instant, Rc<Response>)>);

impl Cache {
    fn answer(&mut self, request: Request, metrics: &Metrics) -> Answer {
        let is_head = request == Request::Head;
        let response = match (request, &self.0) {
            (Request::Refused(status), _) => Rc::new(Response::refusal(status)),
            (_, Some((made, response))) if made.elapsed() < FRESH => Rc::clone(response),
            _ => {
                let response = Rc::new(metrics.response());
                self.0 = Some((Instant::now(), Rc::clone(&response)));
                response
            }
        };
        Answer::new(response, is_head)
    }
}

fn serve(listener: &TcpListener, metrics: &Metrics) {
    let mut cache = Cache::default();
    let mut connections: Vec<Connection> = Vec::with_capacity(CONNECTIONS);
    loop {
        let now = Instant::now();
        connections.retain(|connection| connection.deadline() > now);
        let Ok(ready) = wait(listener, &connections) else {
            thread::sleep(PAUSE);
            continue;
        };
        let [is_new, ready @ ..] = ready.as_slice() else {
            continue;
        };
        let mut answer = |request| cache.answer(request, metrics);
        let mut ready = ready.iter();
        connections.retain_mut(|connection| ready.next() != Some(&true) || connection.advance(&mut answer));
        if !is_new {
            continue;
        }
        match listener.accept() {
            Ok((stream, client)) => {
                if connections.len() >= CONNECTIONS {
                    make_room(&mut connections);
                }
                if let Ok(mut connection) = Connection::new(stream, client.ip())
                    && connection.advance(&mut answer)
                {
                    connections.push(connection);
                }
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Waits until the listener or a connection is ready, or a connection has no time left. Returns for each whether it is ready.
fn wait(listener: &TcpListener, connections: &[Connection]) -> io::Result<Vec<bool>> {
    let deadline = connections.iter().map(Connection::deadline).min();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // One millisecond more: the deadline has passed when poll(2) returns.
    let limit = left.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
    let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
    fds.extend(connections.iter().map(Connection::poll_fd));
    poll(&mut fds, limit.as_ref())?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Removes one of the client with the most connections, so that no client can remove those of others.
fn make_room(connections: &mut Vec<Connection>) {
    let number_of = |client| connections.iter().filter(|other| other.client() == client).count();
    let least = connections
        .iter()
        .enumerate()
        .min_by_key(|(_, connection)| (Reverse(number_of(connection.client())), connection.worth()));
    if let Some(position) = least.map(|(position, _)| position) {
        connections.swap_remove(position);
    }
}

/// Returns whether accept(2) failed because of the client, or has nothing to accept.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    [ConnectionAborted, ConnectionReset, Interrupted, WouldBlock].contains(&error.kind())
}
