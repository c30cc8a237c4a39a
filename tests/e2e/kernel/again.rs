//! Sockets that are used again: for another connection (`connect(2)` with `AF_UNSPEC`), or after a failure.

use super::{printed, run};
use crate::support::PYTHON;
use crate::support::target::KERNEL_DEFAULTS;

/// A socket that connects to port 7001, and then again to port 7002.
const SNIPPET: &str = "
import ctypes, socket
OPTIONS = ((1, 9), (6, 4), (6, 5), (6, 6), (6, 18))
def show(end):
    print(*(end.getsockopt(*option) for option in OPTIONS))
def disconnect(end):
    assert ctypes.CDLL(None).connect(end.fileno(), bytes(16), 16) == 0
listeners = [socket.create_server(('127.0.0.1', port)) for port in (7001, 7002)]
end = socket.socket()
end.connect(('127.0.0.1', 7001))
show(end)
disconnect(end)
end.connect(('127.0.0.1', 7002))
show(end)
end.setsockopt(6, 4, 600)
end.setsockopt(1, 9, 0)
show(end)
";

const NETWORK: [&str; 6] = super::OWN_NETWORK;

#[track_caller]
fn expect(rules: [&str; 2], expected: [&str; 3]) {
    let flags = rules.map(|rule| ["--rule", rule]);
    let mut command = run(&flags.concat());
    command.args(NETWORK).args([PYTHON, "-IS", "-c", SNIPPET]);
    assert_eq!(printed(&mut command), expected.join("\n") + "\n", "{rules:?}");
}

/// The mode is that of the current connection, also for calls of the program.
#[test]
fn second_connection_has_its_own_policy() {
    kernel!();
    python!();
    let first = "connect :7001 idle=30 interval=5 mode=enforce";
    let had = "1 30 5 9 0";
    expect(
        [first, "connect :7002 idle=40 mode=enforce"],
        [had, "1 40 5 9 0", "1 40 5 9 0"],
    );
    expect(
        [first, "connect :7002 idle=40 mode=cap"],
        [had, "1 30 5 9 0", "1 40 5 9 0"],
    );
    expect([first, "connect :7002 mode=fill"], [had, had, "0 600 5 9 0"]);
    // Options that the policy set on the first connection count as the program's on the second.
    expect(
        ["connect :7001 idle=30", "connect :7002 idle=40"],
        ["1 30 75 9 0", "1 30 75 9 0", "0 600 75 9 0"],
    );
    // Options stay, as with `cgroup disable`, and no mode applies to later calls.
    expect([first, "connect :7002 off"], [had, had, "0 600 5 9 0"]);
    let off = "connect :7001 off";
    expect(
        [off, "connect :7002 idle=40 mode=enforce"],
        [KERNEL_DEFAULTS, "1 40 75 9 0", "1 40 75 9 0"],
    );
}

#[test]
fn socket_whose_first_connect_is_refused_has_the_policy_of_the_second() {
    kernel!();
    python!();
    let script = format!(
        "{}
end = socket.socket()
assert end.connect_ex(('127.0.0.1', 7003)) == 111
show(end)
end.connect(('127.0.0.1', 7001))
show(end)",
        SNIPPET.split("end = ").next().expect("the beginning")
    );
    let mut command = run(&["--rule", "connect :7003 idle=33", "--rule", "connect idle=30"]);
    command.args(NETWORK).args([PYTHON, "-IS", "-c", &script]);
    assert_eq!(printed(&mut command), format!("{KERNEL_DEFAULTS}\n1 30 75 9 0\n"));
}
