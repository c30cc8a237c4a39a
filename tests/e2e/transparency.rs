//! What a program sees of its calls is the same with the library as without: results, errno, descriptors, flags. And only
//! TCP sockets are touched.

use crate::support::library;
use crate::support::target::{Libc, Stage, TREATED, bare, compile, output, with_library};
use std::path::PathBuf;

/// Hundreds of failing and of succeeding calls, compared byte for byte. Each policy takes other ways through the library.
fn failures_are_the_same(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let program = compile(libc, "failures.c", &[]);
    let stage = Stage::new(libc);
    let expected = output(&mut stage.command(&program, &[]));
    assert!(expected.lines().count() > 300, "{expected}");

    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let log = log.path().to_str().expect("an ASCII path");
    for (variable, value) in [
        ("KEEPALIVE", "on"),
        ("KEEPALIVE", "off"),
        ("KEEPALIVE_USER_TIMEOUT", "2s"),
        ("KEEPALIVE_MODE", "enforce"),
        ("KEEPALIVE_RULES", "connect *:1-65535 idle=9s; accept *:1-65535 count=7"),
        ("KEEPALIVE_LOG", log),
        ("KEEPALIVE_LOG", "syslog"),
    ] {
        let seen = output(stage.command(&program, &[&library()]).env(variable, value));
        let different: Vec<_> = expected.lines().zip(seen.lines()).filter(|(a, b)| a != b).collect();
        assert!(seen == expected, "{variable}={value}: {different:#?}");
    }
}

#[test]
fn failures_are_the_same_under_glibc() {
    failures_are_the_same(Libc::Host);
}

#[test]
fn failures_are_the_same_under_musl() {
    failures_are_the_same(Libc::Musl);
}

#[test]
fn failures_are_the_same_in_bullseye() {
    failures_are_the_same(Libc::Chroot("bullseye"));
}

#[test]
fn failures_are_the_same_in_trixie() {
    failures_are_the_same(Libc::Chroot("trixie"));
}

fn sockets() -> PathBuf {
    compile(Libc::Host, "sockets.c", &[])
}

/// Flags are part of the socket's type, and must neither hide a TCP socket nor get lost.
#[test]
fn sockets_keep_their_flags() {
    for (words, expected) in [
        (&["tcp"][..], "- -"),
        (&["cloexec", "tcp"], "cloexec -"),
        (&["nonblock", "tcp6"], "- nonblock"),
        (&["nonblock", "cloexec", "tcp"], "cloexec nonblock"),
    ] {
        let kind = words.last().expect("there is one");
        assert_eq!(
            output(with_library(&sockets()).args(words).args(["show", "flags"])),
            format!("{kind}: {TREATED}\n{kind}: {expected}\n")
        );
    }
}

/// However it is asked for. MPTCP sockets have no user timeout to tell (−1, Linux 6.18); without MPTCP in the kernel there
/// is nothing to treat.
#[test]
fn every_tcp_socket_is_treated() {
    for kind in ["tcp", "tcp-by-number", "tcp6", "mptcp", "mptcp6"] {
        let seen = output(with_library(&sockets()).args([kind, "show"]));
        let without = output(bare(&sockets()).args([kind, "show"]));
        if without.contains("Protocol not supported") || without.contains("Protocol not available") {
            assert_eq!(seen, without);
        } else {
            assert!(seen.starts_with(&format!("{kind}: 1 61 13 4 ")), "{seen}");
        }
    }
}

/// Some of them take `SO_KEEPALIVE` without a word. Those that this kernel or this user may not have say so both times.
#[test]
fn no_other_socket_is_touched() {
    for kind in [
        "sctp",
        "seqpacket",
        "udp",
        "udp6",
        "udplite",
        "ping",
        "icmp",
        "raw",
        "packet",
        "unix",
        "unix-datagram",
        "unix-packet",
        "netlink",
        "xfrm",
        "vsock",
    ] {
        let words = ["cloexec", kind, "show", "flags"];
        assert_eq!(
            output(with_library(&sockets()).args(words)),
            output(bare(&sockets()).args(words)),
            "{kind}"
        );
    }
}

/// Connecting or accepting is no reason to touch them either, wherever the listener came from.
#[test]
fn unix_sockets_are_left_alone_all_their_lives() {
    let words = "unix listen client accept show unix connect show unix listen pass client accept show".split(' ');
    let seen = output(with_library(&sockets()).args(words.clone()));
    assert_eq!(seen, output(bare(&sockets()).args(words)));
    assert_eq!(seen.matches(": 0 ").count(), 3, "{seen}");
}
