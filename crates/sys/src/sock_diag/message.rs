//! The messages of `sock_diag(7)` for TCP (`include/uapi/linux/{netlink,sock_diag,inet_diag}.h`).

use super::{Row, State, Timer, TimerKind};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is requested.
#[derive(Clone, Copy)]
pub(super) enum Request {
    /// Both address families, by `TCPDIAG_GETSOCK` (Linux 2.6.14).
    AllFamilies,
    /// IPv4, by `SOCK_DIAG_BY_FAMILY` (Linux 3.3).
    Ipv4,
    /// IPv6, likewise.
    Ipv6,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCPDIAG_GETSOCK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const FLAGS: u16 = 0x301;
/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The size of `struct inet_diag_msg`.
const SOCKET: usize = 72;
/// A connection in TIME_WAIT no longer has a socket.
const STATES: u32 = !(1 << TIME_WAIT);
const TIME_WAIT: u32 = 6;
/// `struct inet_diag_sockid`: zeros select every socket.
const ANY: [u8; 48] = [0; 48];

impl Request {
    /// Returns the request. It asks for no extensions: information on the connection itself would make the kernel lock
    /// each socket.
    pub(super) fn bytes(self) -> Vec<u8> {
        let states = STATES.to_ne_bytes();
        let [inet, ..] = libc::AF_INET.to_le_bytes();
        let [inet6, ..] = libc::AF_INET6.to_le_bytes();
        let [tcp, ..] = libc::IPPROTO_TCP.to_le_bytes();
        // `struct inet_diag_req_v2`: family, protocol, extensions, padding; states; addresses.
        let by_family = |family| [&[family, tcp, 0, 0][..], &states, &ANY].concat();
        let (kind, body) = match self {
            // `struct inet_diag_req`: family, two lengths, extensions; addresses; states; a number that is not used.
            Self::AllFamilies => (TCPDIAG_GETSOCK, [&[inet, 0, 0, 0][..], &ANY, &states, &[0; 4]].concat()),
            Self::Ipv4 => (SOCK_DIAG_BY_FAMILY, by_family(inet)),
            Self::Ipv6 => (SOCK_DIAG_BY_FAMILY, by_family(inet6)),
        };
        let [low, high, ..] = (HEADER + body.len()).to_le_bytes();
        // The header: length, type, flags, and the numbers of request and sender.
        [
            &u32::from_le_bytes([low, high, 0, 0]).to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &FLAGS.to_ne_bytes(),
            &[0; 8],
            &body,
        ]
        .concat()
    }
}

/// Whether more of an answer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More datagrams follow.
    More,
    /// The answer is complete.
    Done,
}

/// Decodes one datagram of the kernel's answer.
///
/// # Errors
/// The kernel's own error, or `InvalidData` for a datagram that is not such an answer.
pub fn decode(mut datagram: &[u8], rows: &mut Vec<Row>) -> io::Result<Progress> {
    while !datagram.is_empty() {
        let length = field(datagram, 0).map(u32::from_ne_bytes).ok_or_else(invalid)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let message = datagram.get(..length).ok_or_else(invalid)?;
        let kind = field(message, 4).map(u16::from_ne_bytes).ok_or_else(invalid)?;
        let body = message.get(HEADER..).ok_or_else(invalid)?;
        let code = || field(body, 0).map(i32::from_ne_bytes).ok_or_else(invalid);
        match kind {
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => rows.extend(row(body)?),
            // A kernel without CONFIG_INET_TCP_DIAG reports that at the end.
            NLMSG_DONE => match code()? {
                0 => return Ok(Progress::Done),
                code => return Err(refused(code)),
            },
            NLMSG_ERROR if code()? != 0 => return Err(refused(code()?)),
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The kernel's error numbers are negative.
fn refused(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.saturating_neg())
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "sock_diag: a message is too short")
}

/// Returns the bytes of the field at `offset`, unless the message ends before.
fn field<const N: usize>(message: &[u8], offset: usize) -> Option<[u8; N]> {
    message.get(offset..)?.first_chunk().copied()
}

/// Returns the row of a `struct inet_diag_msg`; `None` for a family or a state that no TCP socket of a process has.
fn row(body: &[u8]) -> io::Result<Option<Row>> {
    let Some((socket, attributes)) = body.split_first_chunk::<SOCKET>() else {
        return Err(invalid());
    };
    let cgroup = cgroup(attributes)?;
    let [family, state, timer, repeated, ..] = *socket;
    let number = |offset| field(socket, offset).map_or(0, u32::from_ne_bytes);
    let address = |port: usize, ip: usize| {
        let port = field(socket, port).map_or(0, u16::from_be_bytes);
        let ip = match i32::from(family) {
            libc::AF_INET => IpAddr::from(Ipv4Addr::from(field(socket, ip)?)),
            libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(field(socket, ip)?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    };
    let (Some(local), Some(peer), Some(state)) = (address(4, 8), address(6, 24), State::from_number(state)) else {
        return Ok(None);
    };
    let kind = match timer {
        1 => Some(TimerKind::Retransmit),
        2 => Some(TimerKind::Keepalive),
        4 => Some(TimerKind::ZeroWindow),
        // 3 is TIME_WAIT.
        _ => None,
    };
    let expires_ms = number(52).into();
    Ok(Some(Row {
        local,
        peer: Some(peer).filter(|peer| peer.port() != 0),
        state,
        inode: number(68).into(),
        cookie: field(socket, 44).map_or(0, u64::from_ne_bytes),
        cgroup,
        uid: number(64),
        timer: kind.map(|kind| Timer { kind, expires_ms }),
        unanswered: (kind != Some(TimerKind::Retransmit)).then_some(repeated),
    }))
}

/// Returns the number of the cgroup (`INET_DIAG_CGROUP_ID`, Linux 5.9) among the attributes of a socket.
fn cgroup(mut attributes: &[u8]) -> io::Result<Option<u64>> {
    /// The size of `struct rtattr`.
    const HEADER: usize = 4;
    const CGROUP_ID: u16 = 21;
    let mut found = None;
    while !attributes.is_empty() {
        let length = field(attributes, 0).map(u16::from_ne_bytes).ok_or_else(invalid)?;
        let kind = field(attributes, 2).map(u16::from_ne_bytes).ok_or_else(invalid)?;
        let value = attributes.get(HEADER..length.into()).ok_or_else(invalid)?;
        if kind == CGROUP_ID {
            found = value.try_into().ok().map(u64::from_ne_bytes);
        }
        attributes = attributes
            .get(usize::from(length).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(found)
}
