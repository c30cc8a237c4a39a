//! The mode `fill`, which is the default: what a program sets itself stays, whenever it sets it; the rest is the policy's.

use crate::support::target::{Libc, compile, output, with_library};

/// What `targets/sockets.c` shows last when it does as these words say.
fn last(words: &str) -> String {
    let program = compile(Libc::Host, "sockets.c", &[]);
    let printed = output(
        with_library(&program)
            .env("KEEPALIVE_USER_TIMEOUT", "auto")
            .args(words.split(' ')),
    );
    let line = printed.lines().last().expect("it prints something");
    line.split_once(": ").expect("a name and values").1.to_owned()
}

/// keepalive, idle, interval, count, user timeout.
const TREATED: &str = "1 61 13 4 113000";

#[test]
fn what_a_program_leaves_unset_is_ours() {
    assert_eq!(last("tcp connect show"), TREATED);
    assert_eq!(last("tcp6 connect show"), TREATED);
    assert_eq!(last("tcp listen client accept show"), TREATED);
    assert_eq!(last("tcp6 listen client accept show"), TREATED);
}

/// Before connecting, and on the connection; some set it twice.
#[test]
fn what_a_program_sets_on_its_connection_stays() {
    for (setting, expected) in [
        ("keepalive=0", "0 61 13 4 113000"),
        ("keepalive=1", TREATED),
        ("idle=300", "1 300 13 4 352000"),
        ("interval=7", "1 61 7 4 89000"),
        ("count=9", "1 61 13 9 178000"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(&format!("tcp {setting} connect show")),
            expected,
            "{setting} before"
        );
    }
    for (setting, expected) in [
        ("keepalive=0", "0 61 13 4 113000"),
        ("idle=300", "1 300 13 4 113000"),
        ("user-timeout=0", "1 61 13 4 0"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(&format!("tcp connect {setting} show")),
            expected,
            "{setting} after"
        );
    }
}

/// Asking for the error, or connecting once more, are the moments at which the library looks at a connection again.
#[test]
fn what_a_program_sets_stays_when_the_library_looks_again() {
    assert_eq!(
        last("tcp connect keepalive=0 count=9 user-timeout=5000 connect so_error show"),
        "0 61 13 9 5000"
    );
}

/// The kernel copies a listener's settings to what it accepts, the program's own among them.
#[test]
fn what_a_program_sets_on_its_listener_stays_on_what_it_accepts() {
    for (setting, expected) in [
        ("keepalive=0", "0 61 13 4 113000"),
        ("idle=300", "1 300 13 4 352000"),
        ("count=9", "1 61 13 9 178000"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(&format!("tcp {setting} listen client accept show")),
            expected,
            "{setting} before listen"
        );
    }
    assert_eq!(last("tcp listen keepalive=0 client accept show"), "0 61 13 4 113000");
    // A program may switch it off on each connection, and the library does not come back to it.
    assert_eq!(
        last("tcp listen client accept keepalive=0 so_error show"),
        "0 61 13 4 113000"
    );
}

/// Programs listen again to change the length of the queue.
#[test]
fn a_second_listen_is_no_new_beginning() {
    assert_eq!(
        last("tcp keepalive=0 listen listen client accept show"),
        "0 61 13 4 113000"
    );
}
