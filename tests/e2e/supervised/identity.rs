//! A call names its thread by a number. When that thread ends while its call is served, another process can have the number:
//! nothing may happen to its sockets.

use super::{Keepalive, Libc, printed, static_target};
use crate::support::target::UNTOUCHED;

/// What the socket of the process that has the number now has in the end, which nobody supervises.
fn victim(libc: Libc, call: &str, options: &[&str]) -> String {
    let keepalive = Keepalive::new();
    let mut command = keepalive.environment("unshare".as_ref());
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(static_target(libc, "reused.c"))
        .args(["outside", call])
        .arg(keepalive.path())
        .args(["run", "--engine", "seccomp"])
        .args(options);
    printed(&mut command)
}

#[test]
fn a_process_with_the_reused_number_of_a_caller_is_not_touched() {
    root!();
    builds!();
    let rule = ["--rule", "connect 127.0.0.0/8 idle=61 interval=13 count=4"];
    let i386 = Libc::Cross("i686-linux-gnu-gcc");
    for (libc, call, options) in [
        (Libc::Host, "sendmsg", &["--mode", "cap"][..]),
        (Libc::Host, "setsockopt", &["--mode", "cap"]),
        (Libc::Host, "connect", &rule),
        (i386, "socketcall", &[]),
        (i386, "socketcall", &rule),
    ] {
        assert_eq!(
            victim(libc, call, options),
            format!("other: 1 61 13 4 0\nvictim: {UNTOUCHED}\n"),
            "{libc:?} {call} {options:?}"
        );
    }
}
