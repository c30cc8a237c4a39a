//! IPv4, IPv6, and IPv4-mapped addresses of IPv6 sockets.

use super::POLICY;
use crate::support::py_peer::PyPeer;
use crate::support::target::POLICY_VALUES;
use crate::support::test_cgroup::TestCgroup;

/// Connections of all kinds: `four`, `six`, and `mapped`, whose two ends are IPv6 sockets with IPv4-mapped addresses.
/// `narrow` and `wide` are the ends of a connection from an IPv4 socket to an IPv6 socket, `wider` and `narrower` of
/// one in the other direction. Accepted ends: `…_accepted`, `wide` and `narrower`.
const CONNECTIONS: &str = "
INET6 = socket.AF_INET6
four, four_accepted = pair(listen())
six, six_accepted = pair(listen('::1', family=INET6), '::1', INET6)
both = listen('::', family=INET6)
mapped, mapped_accepted = pair(both, '::ffff:127.0.0.1', INET6)
narrow, wide = pair(both)
wider, narrower = pair(listen(), '::ffff:127.0.0.1', INET6)
";

fn connections(test_cgroup: &TestCgroup) -> PyPeer {
    let mut program = test_cgroup.py_peer();
    program.execute(CONNECTIONS);
    program
}

#[test]
fn connections_of_both_families_and_of_mapped_addresses_have_the_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let mut program = connections(&test_cgroup);
    for [one, other] in [
        ["four", "four_accepted"],
        ["six", "six_accepted"],
        ["mapped", "mapped_accepted"],
        ["narrow", "wide"],
        ["wider", "narrower"],
    ] {
        assert_eq!(program.has(one), POLICY_VALUES, "{one}");
        assert_eq!(program.has(other), POLICY_VALUES, "{other}");
        program.assert_talks(one, other);
    }
}

/// The rules for IPv6 come first: if they matched mapped addresses, no other rule would.
#[test]
fn rule_for_all_addresses_of_a_family_does_not_match_the_other() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[
        "--rule=connect [::/0] idle=61s",
        "--rule=accept [::/0] idle=62s",
        "--rule=connect 0.0.0.0/0 idle=41s",
        "--rule=accept 0.0.0.0/0 idle=42s",
    ]);
    let mut program = connections(&test_cgroup);
    for (end, idle) in [
        ("four", 41),
        ("four_accepted", 42),
        ("six", 61),
        ("six_accepted", 62),
        ("mapped", 41),
        ("mapped_accepted", 42),
        ("narrow", 41),
        ("wide", 42),
        ("wider", 41),
        ("narrower", 42),
    ] {
        assert_eq!(program.has(end), format!("1 {idle} 75 9 0"), "{end}");
    }
}

#[test]
fn rule_for_an_ipv4_network_matches_mapped_addresses() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[
        "--rule=connect 127.0.0.1 idle=41s",
        "--rule=accept 127.0.0.0/30 idle=42s",
        "--rule=connect [::1] idle=61s",
        "--idle=99",
    ]);
    let mut program = connections(&test_cgroup);
    for (end, idle) in [
        ("four", 41),
        ("four_accepted", 42),
        ("six", 61),
        ("six_accepted", 99),
        ("mapped", 41),
        ("mapped_accepted", 42),
        ("wide", 42),
        ("wider", 41),
    ] {
        assert_eq!(program.has(end), format!("1 {idle} 75 9 0"), "{end}");
    }
}

#[test]
fn network_matches_exactly_the_addresses_with_its_prefix() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut program = test_cgroup.py_peer_in(
        test_cgroup.directory(),
        &[
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link set lo up
             for address in 10.7.255.255/32 10.8.0.0/32 2001:db8:7fff::1/128 2001:db8:8000::1/128; do
                 ip address add $address dev lo
             done
             exec \"$@\"",
            "sh",
        ],
    );
    test_cgroup.enable(&[
        "--rule=connect 10.0.0.0/13 idle=31s",
        "--rule=connect [2001:db8::/33] idle=32s",
        "--idle=99",
    ]);
    program.execute(
        "both = listen('::', family=socket.AF_INET6)
inside, _ = pair(both, '10.7.255.255')
outside, _ = pair(both, '10.8.0.0')
inside6, _ = pair(both, '2001:db8:7fff::1', socket.AF_INET6)
outside6, _ = pair(both, '2001:db8:8000::1', socket.AF_INET6)",
    );
    for (end, idle) in [("inside", 31), ("outside", 99), ("inside6", 32), ("outside6", 99)] {
        assert_eq!(program.has(end), format!("1 {idle} 75 9 0"), "{end}");
    }
}
