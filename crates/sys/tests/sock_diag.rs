//! What the kernel has really answered (Linux 6.18, recorded by `fixtures/record.py`), and whatever else may come instead:
//! it is read as it is, or refused, but nothing panics.

use keepalive_sys::sock_diag::{Progress, Row, State, Timer, TimerKind, decode};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn recorded(name: &str) -> Vec<u8> {
    let path = fixtures().join(name).with_extension("bin");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every recorded answer, with its name.
fn all_recorded() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(fixtures()).expect("the fixtures").flatten();
    let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".bin")?.to_owned()));
    let all: Vec<_> = names.map(|name| (name.clone(), recorded(&name))).collect();
    assert!(all.len() > 10, "{} fixtures", all.len());
    all
}

fn read(datagram: &[u8]) -> io::Result<(Progress, Vec<Row>)> {
    let mut rows = Vec::new();
    let progress = decode(datagram, &mut rows)?;
    Ok((progress, rows))
}

/// The rows of an answer that goes on.
fn rows(name: &str) -> Vec<Row> {
    let (progress, rows) = read(&recorded(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(progress, Progress::More, "{name}");
    rows
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A connection without a timer.
fn connection(local: &str, peer: &str, inode: u64) -> Row {
    Row {
        local: address(local),
        peer: Some(address(peer)),
        state: State::Established,
        inode,
        cookie: 0,
        cgroup: None,
        uid: 0,
        timer: None,
        unanswered: Some(0),
    }
}

/// The client's end and the other, whose order the kernel chooses.
#[track_caller]
fn assert_rows(name: &str, mut expected: Vec<Row>) {
    let mut rows = rows(name);
    let cookies: HashSet<u64> = rows.iter().map(|row| row.cookie).collect();
    assert!(cookies.len() == rows.len() && !cookies.contains(&0), "{name}: {rows:?}");
    for row in &mut rows {
        // They were recorded in the cgroup at the root of the tree.
        assert_eq!(row.cgroup.take(), Some(1), "{name}");
        row.cookie = 0;
    }
    rows.sort_by_key(|row| row.inode);
    expected.sort_by_key(|row| row.inode);
    assert_eq!(rows, expected, "{name}");
}

/// The client of a recorded connection over IPv4.
fn client(name: &str) -> Row {
    let rows = rows(name);
    let found = rows.into_iter().find(|row| row.local == address("127.0.0.1:7001"));
    found.unwrap_or_else(|| panic!("{name}: no client"))
}

#[track_caller]
fn assert_timer(name: &str, kind: TimerKind, milliseconds: std::ops::RangeInclusive<u64>) {
    let timer = client(name).timer;
    assert!(
        matches!(timer, Some(Timer { kind: found, expires_ms }) if found == kind && milliseconds.contains(&expires_ms)),
        "{name}: {timer:?}"
    );
}

#[test]
fn both_ends_of_a_connection_are_returned() {
    assert_rows(
        "ipv4",
        vec![
            connection("127.0.0.1:7001", "127.0.0.1:7000", 220_873_370),
            connection("127.0.0.1:7000", "127.0.0.1:7001", 220_873_371),
        ],
    );
    assert_rows(
        "ipv6",
        vec![
            connection("[::1]:7001", "[::1]:7000", 220_873_374),
            connection("[::1]:7000", "[::1]:7001", 220_873_375),
        ],
    );
}

#[test]
fn an_ipv6_socket_that_uses_ipv4_has_mapped_addresses() {
    let (client, server) = ("[::ffff:127.0.0.1]:7001", "[::ffff:127.0.0.1]:7000");
    assert_rows(
        "mapped",
        vec![
            connection(client, server, 220_873_414),
            connection(server, client, 220_873_415),
        ],
    );
}

/// The MPTCP sockets are not told, but their subflows, under the inodes of the sockets that programs hold.
#[test]
fn subflows_of_mptcp_have_the_inodes_of_their_sockets() {
    let (client, server) = ("127.0.0.1:7001", "127.0.0.1:7000");
    assert_rows(
        "mptcp",
        vec![
            connection(client, server, 220_873_419),
            connection(server, client, 220_873_421),
        ],
    );
}

#[test]
fn a_listener_has_no_peer() {
    for (name, local, inode) in [
        ("listen", "0.0.0.0:7000", 220_873_423),
        ("listen6", "[::]:7000", 220_873_425),
    ] {
        let listener = Row {
            peer: None,
            state: State::Listen,
            ..connection(local, local, inode)
        };
        assert_rows(name, vec![listener]);
    }
}

#[test]
fn keepalive_timer_is_reported() {
    assert_timer("keepalive", TimerKind::Keepalive, 99_000..=100_000);
    assert_eq!(client("keepalive").unanswered, Some(0));
}

/// Three and a half seconds after the last packet, with an idle time and an interval of one second.
#[test]
fn lost_probes_are_counted() {
    assert_timer("lost-probes", TimerKind::Keepalive, 0..=1000);
    assert!(matches!(client("lost-probes").unanswered, Some(2..=4)));
}

#[test]
fn retransmission_hides_keepalive() {
    assert_timer("retransmit", TimerKind::Retransmit, 0..=2000);
    assert_eq!(client("retransmit").unanswered, None);
    assert_timer("syn-sent", TimerKind::Retransmit, 0..=1000);
    assert_eq!(client("syn-sent").state, State::SynSent);
}

#[test]
fn a_closed_window_hides_keepalive() {
    assert_timer("zero-window", TimerKind::ZeroWindow, 0..=2000);
}

#[test]
fn end_is_reported() {
    let read = read(&recorded("done")).expect("no error");
    assert_eq!(read, (Progress::Done, Vec::new()));
    let both = [recorded("ipv4"), recorded("done")].concat();
    let mut rows = Vec::new();
    assert_eq!(decode(&both, &mut rows).expect("no error"), Progress::Done);
    assert_eq!(rows.len(), 2);
}

#[test]
fn kernel_error_is_returned() {
    let error = read(&recorded("error")).expect_err("the question was none");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
}

/// Of a protocol whose sockets this kernel cannot tell, as TCP without `CONFIG_INET_TCP_DIAG`: the error stands in the end
/// of the answer (`netlink_dump_done`).
#[test]
fn late_error_is_returned() {
    let error = read(&recorded("refused")).expect_err("there are none to tell");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
}

/// Its negative would be out of range.
#[test]
fn the_smallest_number_as_an_error_is_no_panic() {
    let mut datagram = recorded("error");
    datagram[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
    assert!(read(&datagram).is_err());
}

#[test]
fn truncated_input_is_refused_without_panic() {
    for (name, datagram) in all_recorded() {
        for length in 0..datagram.len() {
            let read = read(&datagram[..length]);
            // What is complete before the cut counts.
            let is_between_messages = length == 0 || length == 124 && datagram.len() == 248;
            assert_eq!(read.is_ok(), is_between_messages, "{name}: {length}: {read:?}");
        }
    }
}

#[test]
fn a_byte_that_is_another_is_never_a_panic() {
    for (_, datagram) in all_recorded() {
        for at in 0..datagram.len() {
            let flips = (0..8).map(|bit| datagram[at] ^ 1 << bit);
            for byte in flips.chain([0, u8::MAX]) {
                let mut changed = datagram.clone();
                changed[at] = byte;
                let _ = read(&changed);
            }
        }
    }
}

/// A kernel that is newer may tell more of a socket than this one.
#[test]
fn attributes_that_are_not_known_are_passed_over() {
    let mut datagram = recorded("listen");
    datagram.extend([8, 0, 200, 0, 1, 2, 3, 4]);
    let length = u8::try_from(datagram.len()).expect("it is short");
    datagram[0] = length;
    let (_, rows) = read(&datagram).expect("no error");
    assert_eq!(rows, self::rows("listen"));
}
