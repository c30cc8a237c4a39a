//! The results of a program's calls are the same with the library as without: return values, errno, descriptors, flags.
//! Only TCP sockets are changed.

use crate::support::library;
use crate::support::target::{Libc, POLICY_VALUES, PreloadRoot, compile, output, with_library, without_library};
use std::path::PathBuf;

/// Compares the results of hundreds of failing and succeeding calls. Each policy uses other parts of the library.
fn failures_are_the_same(libc: Libc) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let program = compile(libc, "failures.c", &[]);
    let root = PreloadRoot::new(libc);
    let expected = output(&mut root.command(&program, &[]));
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
        let seen = output(root.command(&program, &[&library()]).env(variable, value));
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

/// Flags are part of the socket's type; they must neither hide a TCP socket nor get lost.
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
            format!("{kind}: {POLICY_VALUES}\n{kind}: {expected}\n")
        );
    }
}

/// By every kind of socket(2) arguments. MPTCP sockets return no user timeout (−1, Linux 6.18); without MPTCP in the
/// kernel there is no such socket.
#[test]
fn every_tcp_socket_has_the_policy() {
    for kind in ["tcp", "tcp-by-number", "tcp6", "mptcp", "mptcp6"] {
        let seen = output(with_library(&sockets()).args([kind, "show"]));
        let without = output(without_library(&sockets()).args([kind, "show"]));
        if without.contains("Protocol not supported") || without.contains("Protocol not available") {
            assert_eq!(seen, without);
        } else {
            assert!(seen.starts_with(&format!("{kind}: 1 61 13 4 ")), "{seen}");
        }
    }
}

/// Some of these sockets accept `SO_KEEPALIVE`. Kinds that this kernel or this user lacks fail both times.
#[test]
fn other_sockets_are_unchanged() {
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
            output(without_library(&sockets()).args(words)),
            "{kind}"
        );
    }
}

/// connect(2) and accept(2) do not change them either, also with an inherited listener.
#[test]
fn unix_sockets_are_unchanged_by_later_calls() {
    let words = "unix listen client accept show unix connect show unix listen pass client accept show".split(' ');
    let seen = output(with_library(&sockets()).args(words.clone()));
    assert_eq!(seen, output(without_library(&sockets()).args(words)));
    assert_eq!(seen.matches(": 0 ").count(), 3, "{seen}");
}

/// The first socket parses the rules, which requires memory.
#[test]
fn memory_that_the_program_has_unmapped_stays_unmapped() {
    let program = compile(Libc::Host, "unmapped.c", &[]);
    for count in [1, 5, 200] {
        let rules = "connect 192.0.2.1 idle=7s; ".repeat(count) + "default idle=61s";
        assert_eq!(
            output(
                without_library(&program)
                    .env("LD_PRELOAD", library())
                    .env("KEEPALIVE_RULES", rules)
            ),
            "idle 61, mapped again: 0 pages\n",
            "{count} rules"
        );
    }
}
