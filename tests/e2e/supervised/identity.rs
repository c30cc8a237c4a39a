//! A call identifies its thread by a number. If the thread ends during the call, another process can get the number:
//! its sockets must not be changed.

use super::{Keepalive, Libc, printed, static_target};
use crate::support::target::KERNEL_DEFAULTS;

/// Returns the options of a socket of the unsupervised process that has the number now.
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
fn process_that_reuses_the_number_of_a_caller_is_not_changed() {
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
            format!("other: 1 61 13 4 0\nvictim: {KERNEL_DEFAULTS}\n"),
            "{libc:?} {call} {options:?}"
        );
    }
}
