//! The library's use of the stack: a thread, a coroutine or a signal handler may have little left.

use crate::support::library;
use crate::support::target::{Libc, PreloadRoot, compile, output};
use std::path::PathBuf;
use std::process::Command;

/// The policies for which the library does most: it adopts sockets, limits them and applies rules; and it logs.
const RULES: (&str, &str) = (
    "KEEPALIVE_RULES",
    "connect [2001:db8::192.0.2.0/120]:443 preset=aws-nat; connect *:1-65535 user-timeout=1500ms; accept *:1-65535 idle=9s",
);
const USER_TIMEOUT: (&str, &str) = ("KEEPALIVE_USER_TIMEOUT", "auto");
const LOG: (&str, &str) = ("KEEPALIVE_LOG", "stderr");

/// Lazy binding by the loader would use more than everything else.
const BIND_NOW: &str = "-Wl,-z,now";

fn stack(libc: Libc) -> PathBuf {
    compile(libc, "stack.c", &[BIND_NOW])
}

/// The number of hooked functions.
const CALLS: usize = 7;

/// Returns the stack bytes of each call, by its name.
fn measured(command: &mut Command) -> Vec<(String, usize)> {
    let measured = output(command);
    let line = |line: &str| {
        let (name, bytes) = line.split_once(": ").expect("a name and a number");
        (name.to_owned(), bytes.parse().expect("a number"))
    };
    measured.lines().map(line).collect()
}

/// Asserts that the library adds at most this number of bytes to each call, and at most `limit_of_first` to the first,
/// which parses the rules.
fn expect_at_most(limit: usize, limit_of_first: usize, libc: Libc, variables: &[(&str, &str)]) {
    if let Some(why) = libc.missing() {
        skip!("{why}");
    }
    let root = PreloadRoot::new(libc);
    for first in 0..2 * CALLS {
        let first = first.to_string();
        let without = measured(root.command(&stack(libc), &[]).args(["measure", &first]));
        let mut command = root.command(&stack(libc), &[&library()]);
        let with_library = measured(command.args(["measure", &first]).envs(variables.iter().copied()));
        assert_eq!(without.len(), with_library.len());
        let limits = std::iter::once(limit_of_first).chain(std::iter::repeat(limit));
        for (((name, without), (_, with_library)), limit) in without.iter().zip(&with_library).zip(limits) {
            let added = with_library.saturating_sub(*without);
            assert!(added <= limit, "{name}, first is {first}: {added} bytes");
        }
    }
}

#[test]
fn calls_use_less_than_a_kilobyte() {
    for libc in [Libc::Host, Libc::Musl] {
        expect_at_most(1024, 1024, libc, &[]);
        expect_at_most(1024, 1024, libc, &[USER_TIMEOUT]);
        expect_at_most(1024, 1280, libc, &[USER_TIMEOUT, RULES]);
    }
}

/// A log line is formatted on the stack.
#[test]
fn calls_with_a_log_use_less_than_one_and_a_half_kilobytes() {
    expect_at_most(1536, 1536, Libc::Host, &[USER_TIMEOUT, RULES, LOG]);
}

/// Another library's constructor makes the first call, during which the library starts.
#[test]
fn start_uses_less_than_a_page() {
    let constructor = compile(Libc::Host, "stack.c", &[BIND_NOW, "-DCONSTRUCTOR", "-shared", "-fPIC"]);
    let directory = constructor.parent().expect("the path of a file");
    let library = constructor.to_str().expect("an ASCII path");
    let program = compile(Libc::Host, "stack.c", &[BIND_NOW, "-Wl,--no-as-needed", library]);
    let root = PreloadRoot::new(Libc::Host);
    let mut command = root.command(&program, &[&crate::support::library()]);
    command
        .arg("measure")
        .envs([USER_TIMEOUT, RULES, LOG])
        .env("LD_LIBRARY_PATH", directory);
    let measured = measured(&mut command);
    let (name, bytes) = measured.first().expect("the constructor says what it measured");
    assert_eq!(name, "first socket");
    assert!(*bytes < 4096, "{bytes} bytes");
}

/// Each hooked call in a signal handler, on the smallest signal stack that the kernel permits plus a kilobyte; the page
/// below is inaccessible.
#[test]
fn smallest_signal_stack_and_a_kilobyte_suffice() {
    for libc in [Libc::Host, Libc::Musl] {
        if let Some(why) = libc.missing() {
            skip!("{why}");
        }
        let root = PreloadRoot::new(libc);
        let expected = output(root.command(&stack(libc), &[]).arg("alternate"));
        assert_eq!(expected.lines().count(), 14, "{expected}");
        let mut command = root.command(&stack(libc), &[&library()]);
        assert_eq!(output(command.envs([USER_TIMEOUT, RULES]).arg("alternate")), expected);
    }
}
