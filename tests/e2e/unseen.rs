//! Calls that the library does not see (system call instructions, dup2(2), recvmsg(2)), on sockets and descriptor
//! numbers that the library remembers.

use crate::support::target::{Libc, compile, output, with_library};

#[test]
fn values_set_by_unseen_calls_count_as_set_by_the_program() {
    let program = compile(Libc::Host, "unseen.c", &[]);
    let printed = output(with_library(&program).env("KEEPALIVE_USER_TIMEOUT", "30s").env(
        "KEEPALIVE_RULES",
        "connect *:1-65535 idle=33s interval=13s count=4 user-timeout=30s",
    ));
    let expected = "listener: 1 61 13 4 60000\n\
                    connection: 1 33 13 4 30000\n\
                    another socket: 1 33 13 1 60000\n";
    assert_eq!(printed, expected);
}
