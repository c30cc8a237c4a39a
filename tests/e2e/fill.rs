//! The mode `fill`, which is the default: what a program sets itself stays, whenever it sets it; the rest is the policy's.

use crate::support::engine::Engine;
use crate::support::target::{Libc, compile, output};

/// What `targets/sockets.c` shows last when it does as these words say.
fn last(engine: Engine, words: &str) -> String {
    let program = compile(Libc::Host, "sockets.c", &[]);
    let printed = output(
        engine
            .command(&program)
            .env("KEEPALIVE_USER_TIMEOUT", "auto")
            .args(words.split(' ')),
    );
    let line = printed.lines().last().expect("it prints something");
    line.split_once(": ").expect("a name and values").1.to_owned()
}

/// keepalive, idle, interval, count, user timeout.
const TREATED: &str = "1 61 13 4 113000";

/// Switched off by the program.
const OFF: &str = "0 61 13 4 113000";

/// What a switch makes that the program has turned off before the connection was established.
fn off_early(engine: Engine) -> &'static str {
    if engine.knows_what_was_switched_off() {
        OFF
    } else {
        TREATED
    }
}

with_the_library_and_the_kernel! {
    what_a_program_leaves_unset_is_ours
    what_a_program_sets_on_its_connection_stays
    what_a_program_sets_on_its_listener_stays_on_what_it_accepts
    a_second_listen_is_no_new_beginning
}

fn what_a_program_leaves_unset_is_ours(engine: Engine) {
    assert_eq!(last(engine, "tcp connect show"), TREATED);
    assert_eq!(last(engine, "tcp6 connect show"), TREATED);
    assert_eq!(last(engine, "tcp listen client accept show"), TREATED);
    assert_eq!(last(engine, "tcp6 listen client accept show"), TREATED);
}

/// Before connecting, and on the connection; some set it twice.
fn what_a_program_sets_on_its_connection_stays(engine: Engine) {
    for (setting, expected) in [
        ("keepalive=0", off_early(engine)),
        ("keepalive=1", TREATED),
        ("idle=300", "1 300 13 4 352000"),
        ("interval=7", "1 61 7 4 89000"),
        ("count=9", "1 61 13 9 178000"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(engine, &format!("tcp {setting} connect show")),
            expected,
            "{setting} before"
        );
    }
    for (setting, expected) in [
        ("keepalive=0", OFF),
        ("idle=300", "1 300 13 4 113000"),
        ("user-timeout=0", "1 61 13 4 0"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(engine, &format!("tcp connect {setting} show")),
            expected,
            "{setting} after"
        );
    }
}

/// Asking for the error, or connecting once more, are the moments at which the library looks at a connection again.
#[test]
fn what_a_program_sets_stays_when_the_library_looks_again() {
    assert_eq!(
        last(
            Engine::Library,
            "tcp connect keepalive=0 count=9 user-timeout=5000 connect so_error show"
        ),
        "0 61 13 9 5000"
    );
}

/// The kernel copies a listener's settings to what it accepts, the program's own among them.
fn what_a_program_sets_on_its_listener_stays_on_what_it_accepts(engine: Engine) {
    for (setting, expected) in [
        ("keepalive=0", off_early(engine)),
        ("idle=300", "1 300 13 4 352000"),
        ("count=9", "1 61 13 9 178000"),
        ("user-timeout=5000", "1 61 13 4 5000"),
    ] {
        assert_eq!(
            last(engine, &format!("tcp {setting} listen client accept show")),
            expected,
            "{setting} before listen"
        );
    }
    assert_eq!(
        last(engine, "tcp listen keepalive=0 client accept show"),
        off_early(engine)
    );
    // A program may switch it off on each connection, and nobody comes back to it.
    assert_eq!(last(engine, "tcp listen client accept keepalive=0 so_error show"), OFF);
}

/// Programs listen again to change the length of the queue.
fn a_second_listen_is_no_new_beginning(engine: Engine) {
    assert_eq!(
        last(engine, "tcp keepalive=0 listen listen client accept show"),
        off_early(engine)
    );
}
