//! `keepalive cgroup`: eBPF policies for the processes in a cgroup. The tests read options from sockets, from outside
//! of the cgroup.

mod command;
mod container;
mod counters;
mod dangling;
mod ended;
mod existing;
mod families;
mod foreign;
mod help;
mod lifetime;
mod lock;
mod machine;
mod metrics;
mod mistakes;
mod named;
mod namespaces;
mod nested;
mod policy;
mod rights;
mod skew;
mod watch;

use crate::support::py_peer::PyPeer;
use crate::support::target::POLICY_VALUES;
use crate::support::test_cgroup::TestCgroup;

/// The policy of tests that need no particular one: [`crate::support::target::POLICY_VALUES`].
const POLICY: [&str; 3] = ["--idle=61", "--interval=13", "--count=4"];

/// Starts a program in the cgroup with a listener, a connection to it with these options, and the accepted end.
fn pair_with(test_cgroup: &TestCgroup, values: &str) -> PyPeer {
    let mut program = test_cgroup.py_peer();
    program.execute(&format!(
        "listener = listen(); client, accepted = pair(listener, {values})"
    ));
    program
}

/// Returns the options of a new connection in the cgroup, at both ends.
fn both_ends(test_cgroup: &TestCgroup) -> [String; 2] {
    let mut program = pair_with(test_cgroup, "");
    ["client", "accepted"].map(|end| program.has(end))
}

/// Asserts that the policy [`POLICY`] detects values of the program by comparison, and that status reports this.
#[track_caller]
fn assert_compares(test_cgroup: &TestCgroup) {
    let status = test_cgroup.status();
    assert_eq!(status["reads_fields"], false, "{status}");
    let printed = test_cgroup.quiet(&["cgroup", "status"]);
    assert!(
        printed.contains("  what differs from the sysctls counts as set by the program"),
        "{printed}"
    );
    let mut program = pair_with(test_cgroup, "idle=31, user_timeout=7000");
    assert_eq!(program.has("client"), "1 31 13 4 7000");
    assert_eq!(program.has("accepted"), POLICY_VALUES);
    // A value that equals the kernel's default counts as unset.
    program.execute("same, end = pair(listener, idle=7200, interval=75, count=9)");
    assert_eq!(program.has("same"), POLICY_VALUES);
    program.execute("own(same, count=9)");
    assert_eq!(program.has("same"), "1 61 13 9 0");
}
