//! `accept(2)` and `connect(2)` are cancellation points (pthreads(7)), and cancellation unwinds the stack: through the
//! library's frames, to the program's cleanup handlers and destructors.

use crate::support::find_program;
use crate::support::target::{Libc, compile, output, with_library, without_library};

const EXPECTED: &str = "\
accept
cleanup handler
destructor
cancelled
accept4
cleanup handler
destructor
cancelled
connect
cleanup handler
destructor
cancelled
";

fn cancelled(kind: &str) {
    if find_program("g++").is_none() {
        skip!("g++ is not installed");
    }
    let program = compile(Libc::Host, "cancel.cpp", &["-pthread"]);
    assert_eq!(output(without_library(&program).arg(kind)), EXPECTED);
    assert_eq!(output(with_library(&program).arg(kind)), EXPECTED);
    // With rules and modes the library takes other paths.
    let mut command = with_library(&program);
    command.env("KEEPALIVE_RULES", "connect *:1-65535 idle=9s; accept *:1-65535 idle=9s");
    assert_eq!(
        output(command.env("KEEPALIVE_USER_TIMEOUT", "auto").arg(kind)),
        EXPECTED
    );
}

#[test]
fn waiting_thread_is_cancelled_and_unwound() {
    cancelled("deferred");
}

#[test]
fn asynchronously_cancelled_thread_is_unwound() {
    cancelled("asynchronous");
}
