//! A connection of the endpoint: one request, one response. Nothing here waits.

use super::request::Request;
use super::response::{Answer, Status};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The longest request. Scrapers send some hundred bytes.
const REQUEST: usize = 4096;

/// The time from the beginning to the end of a connection: that of a scrape by Prometheus.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time after the response until the client has closed the connection.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    stream: TcpStream,
    /// The address of the client; of an IPv6 address the network.
    client: IpAddr,
    deadline: Instant,
    phase: Phase,
    /// What was received of the request.
    request: [u8; REQUEST],
    received: usize,
}

enum Phase {
    Receiving,
    Sending(Answer),
    /// What the client still sends is discarded. Closing the socket would make the kernel send RST, at which the client would
    /// discard the response.
    Closing,
}

impl Connection {
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub(super) fn new(stream: TcpStream, client: IpAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            client: network(client),
            deadline: Instant::now() + PATIENCE,
            phase: Phase::Receiving,
            request: [0; REQUEST],
            received: 0,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn client(&self) -> IpAddr {
        self.client
    }

    /// Returns an order of the connections of one client by what is lost with them. Of two in the same phase, the older one has had
    /// more time.
    pub(super) fn worth(&self) -> (u8, Instant) {
        let phase = match self.phase {
            Phase::Closing => 0,
            Phase::Receiving => 1,
            Phase::Sending(_) => 2,
        };
        (phase, self.deadline)
    }

    /// Returns what this connection waits for.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let events = match self.phase {
            Phase::Receiving | Phase::Closing => PollFlags::IN,
            Phase::Sending(_) => PollFlags::OUT,
        };
        PollFd::new(&self.stream, events)
    }

    /// Receives and sends what is possible now. Returns whether the connection stays.
    pub(super) fn advance(&mut self, answer: &mut impl FnMut(Request) -> Answer) -> bool {
        match self.try_advance(answer) {
            Ok(stays) => stays,
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    fn try_advance(&mut self, answer: &mut impl FnMut(Request) -> Answer) -> io::Result<bool> {
        if let Phase::Receiving = self.phase {
            let Some(request) = self.receive()? else {
                return Ok(true);
            };
            self.phase = Phase::Sending(answer(request));
        }
        if let Phase::Sending(answer) = &mut self.phase {
            while !answer.rest().is_empty() {
                match self.stream.write(answer.rest())? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    sent => answer.advance(sent),
                }
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.deadline = self.deadline.min(Instant::now() + LINGER);
            self.phase = Phase::Closing;
        }
        // Once: a client can send faster than this discards.
        let discarded = self.stream.read(&mut self.request)?;
        Ok(discarded > 0)
    }

    /// Receives once. Returns the request if it is complete.
    fn receive(&mut self) -> io::Result<Option<Request>> {
        let free = self.request.get_mut(self.received..).unwrap_or_default();
        let length = self.stream.read(free)?;
        if length == 0 {
            // A client that has sent nothing asks for nothing.
            return match self.received {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(Some(Request::Refused(Status::BadRequest))),
            };
        }
        self.received += length;
        let received = self.request.get(..self.received).unwrap_or_default();
        let request = Request::parse(received);
        let is_full = self.received == REQUEST;
        Ok(request.or(is_full.then_some(Request::Refused(Status::TooLarge))))
    }
}

/// Returns the address, or the network of an IPv6 address, in which one host can have any number of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(address) => address.into(),
    }
}
