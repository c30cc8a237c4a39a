//! A user timeout of three seconds does not shorten a connect to an address that does not answer, wherever it is set
//! and however the program waits. (`user_timeout.rs` tests that the socket has no user timeout meanwhile.)

use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::find_program;
use crate::support::netns::NetNs;
use std::thread;

/// An address that does not answer. The kernel sends three SYNs, and gives up after 1 + 2 + 4 seconds.
const SILENT_ADDRESS: &str = "192.0.2.1";
const FEW_TRIES: [&str; 4] = [
    "sh",
    "-c",
    "echo 2 >/proc/sys/net/ipv4/tcp_syn_retries && exec \"$@\"",
    "sh",
];

/// The sources of the user timeout; the first has none.
const SOURCES: [(&str, &str); 4] = [
    ("HOME", "/"),
    ("KEEPALIVE_USER_TIMEOUT", "3s"),
    ("KEEPALIVE_RULES", "connect 192.0.2.0/24:80 user-timeout=3s"),
    ("KEEPALIVE_RULES", "default user-timeout=3s mode=enforce"),
];

/// Programs that print the seconds after which their connect ended.
const CLIENTS: [(&str, &str, &str); 4] = [
    (
        "blocking",
        PYTHON,
        "import socket, time
start = time.monotonic()
try: socket.create_connection(('SILENCE', 80))
except OSError: print(time.monotonic() - start)",
    ),
    (
        "polled",
        PYTHON,
        "import select, socket, time
client = socket.socket()
client.setblocking(False)
start = time.monotonic()
client.connect_ex(('SILENCE', 80))
poll = select.poll()
poll.register(client, select.POLLOUT)
poll.poll()
assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
print(time.monotonic() - start)",
    ),
    (
        "asyncio",
        PYTHON,
        "import asyncio, time
async def main():
    start = time.monotonic()
    try: await asyncio.open_connection('SILENCE', 80)
    except OSError: print(time.monotonic() - start)
asyncio.run(main())",
    ),
    (
        "libuv",
        "node",
        "const start = performance.now();
require('net').connect(80, 'SILENCE').on('error', () => console.log((performance.now() - start) / 1000));",
    ),
];

under_preload_and_cgroup! {
    user_timeout_does_not_shorten_an_unanswered_connect
}

/// One test, so that all programs wait at the same time.
fn user_timeout_does_not_shorten_an_unanswered_connect(engine: Engine) {
    if let Some(why) = NetNs::missing() {
        skip!("{why}");
    }
    for (_, program, _) in CLIENTS {
        if find_program(program).is_none() {
            skip!("{program} is not installed");
        }
    }
    let seconds = CLIENTS.map(|client| SOURCES.map(|said| thread::spawn(move || seconds(engine, client, said))));
    for ((name, ..), seconds) in CLIENTS.into_iter().zip(seconds) {
        let [without, with @ ..] = seconds.map(|seconds| seconds.join().expect("it says how long it took"));
        assert!(
            without > 5.0,
            "{name}: it has to be longer than the user timeout: {without} s"
        );
        for (with, said) in with.into_iter().zip(&SOURCES[1..]) {
            assert!(
                (with - without).abs() < 2.0,
                "{name}: {with} s with {said:?}, {without} s without"
            );
        }
    }
}

fn seconds(engine: Engine, (name, program, script): (&str, &str, &str), (variable, value): (&str, &str)) -> f64 {
    let netns = NetNs::new(engine).under(&FEW_TRIES).with(variable, value);
    let program = find_program(program).expect("it was there before");
    let option = if name == "libuv" { "-e" } else { "-c" };
    let printed = netns.run(&program, &[option, &script.replace("SILENCE", SILENT_ADDRESS)]);
    printed
        .trim_end()
        .parse()
        .unwrap_or_else(|_| panic!("{name} printed {printed}"))
}
