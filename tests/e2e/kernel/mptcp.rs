//! Multipath TCP: the kernel runs eBPF programs for the subflows, which are TCP connections, and not for the socket
//! that the program holds.

use super::{OWN_NETWORK, printed, run};
use crate::support::PYTHON;
use crate::support::py_peer::PyPeer;
use std::fs;

/// Skips a test where the kernel has no MPTCP.
macro_rules! mptcp {
    () => {
        kernel!();
        python!();
        let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
        if enabled.map_or(true, |enabled| enabled.trim() != "1") {
            skip!("this kernel has no MPTCP");
        }
    };
}

/// Returns the times in seconds, rounded up, until the connections in the network of `pid` send a keepalive probe.
fn probes(pid: u32) -> Vec<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("/proc");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // State 1 is established, timer 2 keepalive (`net/ipv4/tcp_ipv4.c`).
    let established = rows.filter(|row| row.get(3) == Some(&"01"));
    let timers = established.filter_map(|row| row[5].strip_prefix("02:").map(str::to_owned));
    timers
        .map(|ticks| {
            u64::from_str_radix(&ticks, 16)
                .expect("a number of the kernel")
                .div_ceil(100)
        })
        .collect()
}

#[test]
fn subflows_send_probes_but_the_program_socket_shows_the_defaults() {
    mptcp!();
    let keepalive = run(&["--idle=61", "--mode=enforce"]);
    let words = [keepalive.get_program()].into_iter().chain(keepalive.get_args());
    let words = words.map(|word| word.to_str().expect("a UTF-8 word"));
    let words: Vec<&str> = words.chain(OWN_NETWORK).collect();
    let mut program = PyPeer::under(&words);
    program.execute("listener = listen(protocol=MPTCP); one, other = pair(listener, protocol=MPTCP)");
    let times = probes(program.pid());
    assert!(
        times.len() == 2 && times.iter().all(|time| (50..=61).contains(time)),
        "{times:?}"
    );
    assert_eq!(
        program.ask("one.getsockopt(SOL, 9), one.getsockopt(TCP, 4)"),
        "(0, 7200)"
    );
    program.assert_talks("one", "other");
    // The kernel sets an option that the program sets afterwards on the subflows itself, whatever the mode.
    program.execute("own(one, idle=600)");
    let mut times = probes(program.pid());
    times.sort_unstable();
    assert!(
        (50..=61).contains(&times[0]) && (590..=600).contains(&times[1]),
        "{times:?}"
    );
}

/// A rule matches a subflow as it matches a connection.
#[test]
fn rules_match_subflows() {
    mptcp!();
    let script = "
import socket
def ends():
    listener = socket.socket(2, 1, 262)
    listener.bind(('127.0.0.1', 7001))
    listener.listen()
    client = socket.socket(2, 1, 262)
    client.connect(('127.0.0.1', 7001))
    return client, listener.accept()[0]
kept = ends()
rows = [row.split() for row in open('/proc/self/net/tcp')]
times = {row[1].split(':')[1] == '1B59': -(-int(row[5][3:], 16) // 100) for row in rows if row[5][:3] == '02:'}
print(*('accept' if accepted else 'connect' for accepted in sorted(times)), *(times[a] <= 30 for a in sorted(times)))
";
    for (rule, expected) in [
        ("connect :7001 idle=30; accept off", "connect True\n"),
        ("accept :7001 idle=30; connect off", "accept True\n"),
        ("program python3 idle=30", "connect accept True True\n"),
        ("program java idle=30; connect off; accept off", "\n"),
    ] {
        let mut command = run(&[]);
        command.env("KEEPALIVE_RULES", rule);
        command.args(OWN_NETWORK).args([PYTHON, "-IS", "-c", script]);
        assert_eq!(printed(&mut command), expected, "{rule}");
    }
}
