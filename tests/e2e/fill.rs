//! The mode `fill`, the default: options that a program sets at any time stay, and the policy sets the others.

use crate::support::engine::Engine;
use crate::support::target::{Libc, compile, output};

/// Returns the last output of `targets/sockets.c` with these words.
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
const POLICY_VALUES: &str = "1 61 13 4 113000";

/// The program has switched keepalive off.
const OFF: &str = "0 61 13 4 113000";

/// The options after the program has switched keepalive off before the connection was established.
fn off_early(engine: Engine) -> &'static str {
    if engine.detects_early_off() { OFF } else { POLICY_VALUES }
}

under_preload_and_cgroup! {
    unset_options_have_the_policy
    options_set_on_a_connection_stay
    options_set_on_a_listener_stay_on_accepted_sockets
    second_listen_keeps_options_of_the_program
}

fn unset_options_have_the_policy(engine: Engine) {
    assert_eq!(last(engine, "tcp connect show"), POLICY_VALUES);
    assert_eq!(last(engine, "tcp6 connect show"), POLICY_VALUES);
    assert_eq!(last(engine, "tcp listen client accept show"), POLICY_VALUES);
    assert_eq!(last(engine, "tcp6 listen client accept show"), POLICY_VALUES);
}

/// Before connect(2), and on the connection.
fn options_set_on_a_connection_stay(engine: Engine) {
    for (setting, expected) in [
        ("keepalive=0", off_early(engine)),
        ("keepalive=1", POLICY_VALUES),
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

/// The library examines a connection again when the program reads SO_ERROR or calls connect(2) again.
#[test]
fn options_stay_when_the_library_examines_the_connection_again() {
    assert_eq!(
        last(
            Engine::Library,
            "tcp connect keepalive=0 count=9 user-timeout=5000 connect so_error show"
        ),
        "0 61 13 9 5000"
    );
}

/// The kernel copies a listener's options, including those that the program has set, to accepted sockets.
fn options_set_on_a_listener_stay_on_accepted_sockets(engine: Engine) {
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
    // A program can switch keepalive off on each connection; the library does not set it again.
    assert_eq!(last(engine, "tcp listen client accept keepalive=0 so_error show"), OFF);
}

/// Programs call listen(2) again to change the length of the queue.
fn second_listen_keeps_options_of_the_program(engine: Engine) {
    assert_eq!(
        last(engine, "tcp keepalive=0 listen listen client accept show"),
        off_early(engine)
    );
}
