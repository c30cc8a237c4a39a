//! Makes each call that an engine hooks or catches, with every invalid descriptor, address, length, pointer, option and
//! value, on sockets of every kind and state (`targets/call_table.c`), and compares the results with those without
//! keepalive.

use super::policy::{Policy, USER_TIMEOUT};
use super::setting::{Engine, alone, alone_with_late_packets};
use crate::support::target::{Libc, compile, static_target};
use keepalive_policy::{Mode, SocketOption};
use std::fs;
use std::path::Path;

const PARTS: [&str; 6] = ["fds", "addresses", "memory", "states", "options", "queries"];

/// Returns what the target prints without keepalive. This is the same each time, also when packets arrive late.
fn expected(program: &Path, way: &str) -> String {
    let words: Vec<&str> = [way].into_iter().chain(PARTS).collect();
    let first = alone(program, &words);
    let second = alone_with_late_packets(program, &words).unwrap_or_else(|| alone(program, &words));
    assert!(first.lines().count() > 60_000, "{} lines", first.lines().count());
    let mut differences: Vec<_> = first.lines().zip(second.lines()).filter(|(a, b)| a != b).collect();
    differences.truncate(10);
    assert!(first == second, "two runs without keepalive: {differences:#?}");
    first
}

/// Under each policy the target prints the same as without keepalive, but for options that the policy's mode changes.
fn compare(engine: Engine, program: &Path, ways: &[&str]) {
    /// `EI_CLASS` of a 32-bit file (elf(5)).
    const CLASS: (usize, u8) = (4, 1);
    let is_32_bit = fs::read(program).is_ok_and(|file| file.get(CLASS.0) == Some(&CLASS.1));
    let expected: Vec<String> = ways.iter().map(|way| expected(program, way)).collect();
    let mut wrong = Vec::new();
    for (number, policy) in Policy::all().enumerate() {
        let way = number % ways.len();
        let words: Vec<&str> = [ways[way]].into_iter().chain(PARTS).collect();
        let printed = engine.run(policy, program, &words);
        let comparison = Comparison {
            engine,
            policy,
            is_32_bit,
        };
        let differences = comparison.differences(&printed, &expected[way]);
        wrong.extend(
            differences
                .into_iter()
                .map(|line| format!("{policy:?} {}: {line}", ways[way])),
        );
    }
    let all = wrong.len();
    wrong.truncate(100);
    assert!(
        all == 0,
        "{engine:?}: {all} lines differ, among them\n{}",
        wrong.join("\n")
    );
}

struct Comparison {
    engine: Engine,
    policy: Policy,
    is_32_bit: bool,
}

impl Comparison {
    fn differences(&self, printed: &str, expected: &str) -> Vec<String> {
        let (mut printed, mut expected) = (printed.lines(), expected.lines());
        let [on, idle, interval, count] = self.policy.defaults();
        let witness = printed.next().unwrap_or_default();
        assert!(
            witness.starts_with(&format!("witness: {on} {idle} {interval} {count} ")),
            "{:?} {:?}: {witness}",
            self.engine,
            self.policy
        );
        expected.next();
        let mut wrong = Vec::new();
        loop {
            match (printed.next(), expected.next()) {
                (None, None) => return wrong,
                (Some(printed), Some(expected)) if self.is_right(printed, expected) => {}
                (printed, expected) => wrong.push(format!(
                    "{}, not {}",
                    printed.unwrap_or("nothing"),
                    expected.unwrap_or("nothing")
                )),
            }
        }
    }

    fn is_right(&self, printed: &str, expected: &str) -> bool {
        let ((result, has), (expected_result, expected_has)) = (split(printed), split(expected));
        (result == expected_result || self.is_early_fault(result))
            && self.are_options_right(has, expected_has, has.starts_with("holds") && self.is_applied(result))
    }

    /// With an eBPF program for setsockopt(2), the kernel copies all bytes of the value first. A value that cannot be
    /// read completely is then the first mistake, even if only the bytes after the number cannot be read.
    fn is_early_fault(&self, result: &str) -> bool {
        let is_unreadable = result.contains(" set from ") || result.contains("setsockopt of ") || is_cut(result);
        self.engine == Engine::Cgroup
            && self.policy.mode != Mode::Fill
            && is_unreadable
            && result.contains(": -1 errno 14")
    }

    /// Whether the engine has applied its settings to the connection of `result`, so that the options must be what the
    /// mode makes of them. Exceptions: listeners, whose options matter only for accepted sockets; sends that connect,
    /// which the library does not see and for which a rule may differ from the default; MPTCP sockets, of which eBPF
    /// programs see the subflows; setsockopt(2) of 32-bit programs, which a 64-bit kernel does not show to eBPF
    /// programs; and an address of 110 bytes, which passes the supervisor's filter as that of a UNIX socket.
    fn is_applied(&self, result: &str) -> bool {
        let is_send = [", sendto:", ", sendmsg:", ", sendmmsg:"]
            .iter()
            .any(|call| result.contains(call));
        let is_accepted = result.contains(", accept with");
        (is_accepted || !(result.contains(", listen with") || result.contains(" listening")))
            && !(self.engine == Engine::Preload && self.policy.has_rules && is_send)
            && !(self.engine == Engine::Cgroup && (self.is_32_bit || result.contains("mptcp")))
            && !(matches!(self.engine, Engine::Seccomp | Engine::Both) && result.contains(" to 110 bytes, connect:"))
    }

    /// Whether the options that the program has set have the values that the mode allows.
    fn are_options_right(&self, has: &str, expected: &str, is_final: bool) -> bool {
        has.split(' ').count() == expected.split(' ').count()
            && has.split(' ').zip(expected.split(' ')).all(|(has, expected)| {
                has == expected && !has.contains('=') || self.is_allowed(has, expected, is_final)
            })
    }

    fn is_allowed(&self, has: &str, expected: &str, is_final: bool) -> bool {
        let (Some((name, has)), Some((expected_name, program_value))) = (has.split_once('='), expected.split_once('='))
        else {
            return false;
        };
        let option = match name {
            "keepalive" => SocketOption::Keepalive,
            "idle" => SocketOption::Idle,
            "interval" => SocketOption::Interval,
            "count" => SocketOption::Count,
            "user-timeout" => SocketOption::UserTimeout,
            _ => return false,
        };
        // MPTCP sockets accept some negative numbers.
        let (Ok(has), Ok(program_value)) = (has.parse::<i32>(), program_value.parse::<i32>()) else {
            return false;
        };
        let mut allowed = self.policy.allows(option, program_value.cast_unsigned(), is_final);
        // The supervisor sets a user timeout some milliseconds after the connection is complete. The kernel does not
        // distinguish a timeout that the program has set to 0 from one that it has not set.
        let is_late = matches!(self.engine, Engine::Seccomp | Engine::Both) && self.policy.has_rules;
        if option == SocketOption::UserTimeout && program_value == 0 && is_late {
            allowed.push(USER_TIMEOUT);
        }
        name == expected_name && allowed.contains(&has.cast_unsigned())
    }
}

/// Whether the line is about a value that extends into unreadable memory: "set to 4 of 5 bytes readable".
fn is_cut(line: &str) -> bool {
    let numbers = line
        .split_once(" set to ")
        .and_then(|(_, rest)| rest.split_once(" bytes readable"))
        .and_then(|(numbers, _)| numbers.split_once(" of "));
    numbers.is_some_and(|(readable, length)| readable.parse::<u32>().ok() < length.parse::<u32>().ok())
}

/// Splits a line into the result of the call and the socket's options afterwards.
fn split(line: &str) -> (&str, &str) {
    line.split_once(" | ").unwrap_or((line, ""))
}

/// Skips a test that cannot have a network of its own.
macro_rules! needs {
    ($($libc:expr)?) => {
        root!();
        $(if let Some(why) = $libc.missing() {
            skip!("{why}");
        })?
    };
}

#[test]
fn calls_are_the_same_with_the_library() {
    needs!();
    compare(
        Engine::Preload,
        &compile(Libc::Host, "call_table.c", &[]),
        &["function", "syscall"],
    );
}

#[test]
fn calls_are_the_same_under_a_supervisor() {
    needs!();
    compare(
        Engine::Seccomp,
        &static_target(Libc::Host, "call_table.c"),
        &["function", "instruction"],
    );
}

#[test]
fn calls_are_the_same_with_library_and_supervisor() {
    needs!();
    let program = compile(Libc::Host, "call_table.c", &[]);
    compare(Engine::Both, &program, &["function", "syscall", "instruction"]);
}

#[test]
fn calls_are_the_same_with_ebpf() {
    needs!();
    if let Some(why) = crate::support::engine::Engine::Kernel.missing() {
        skip!("{why}");
    }
    compare(Engine::Cgroup, &compile(Libc::Host, "call_table.c", &[]), &["function"]);
}

const I386: Libc = Libc::Cross("i686-linux-gnu-gcc");

/// glibc for i386 uses socketcall(2), whose arguments are in memory.
#[test]
fn calls_of_an_i386_program_are_the_same_under_a_supervisor() {
    needs!(I386);
    let program = static_target(I386, "call_table.c");
    compare(Engine::Seccomp, &program, &["function", "syscall", "socketcall"]);
}

#[test]
fn calls_of_an_i386_program_are_the_same_with_library_and_supervisor() {
    needs!(I386);
    compare(
        Engine::Both,
        &static_target(I386, "call_table.c"),
        &["socketcall", "syscall"],
    );
}

#[test]
fn calls_of_an_i386_program_are_the_same_with_ebpf() {
    needs!(I386);
    if let Some(why) = crate::support::engine::Engine::Kernel.missing() {
        skip!("{why}");
    }
    compare(Engine::Cgroup, &static_target(I386, "call_table.c"), &["function"]);
}
