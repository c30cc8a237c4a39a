//! setsockopt(2) while a mode other than fill is active: an eBPF program then sees every call in the cgroup.

use super::{printed, run};
use crate::support::PYTHON;
use crate::support::ordinary::NOBODY;
use keepalive_policy::Mode;
use std::collections::HashMap;
use std::process::Command;

/// A table of calls on sockets of every kind. It prints a line for each kind, level and option: the errors for the
/// values 0 and 1 at the beginning of each number of bytes, then the socket's option.
const TABLE: &str = r"
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
SIZES = (0, 1, 4, 8, 4095, 4096, 4097, 8192)
POLICY_OPTIONS = {(1, 9), (6, 4), (6, 5), (6, 6), (6, 18)}
values = [ctypes.create_string_buffer(first.to_bytes(4, 'little'), 16384) for first in (0, 1)]
def call(fd, level, name, value, size):
    ctypes.set_errno(0)
    libc.setsockopt(fd, level, name, value, size)
    return ctypes.get_errno()
def has(fd, level, name):
    value, length = ctypes.create_string_buffer(64), ctypes.c_uint(64)
    got = libc.getsockopt(fd, level, name, value, ctypes.byref(length))
    return value.raw[:length.value].hex() if got == 0 else 'nothing'
kept = []
def pair(family, host, protocol=0):
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind((host, 0))
    listener.listen()
    client = socket.socket(family, socket.SOCK_STREAM, protocol)
    client.connect(listener.getsockname()[:2])
    accepted = listener.accept()[0]
    kept.extend((client, accepted, listener))
    return client, accepted, listener
def sockets():
    yield 'tcp', socket.socket()
    for what, arguments in (('tcp', (2, '127.0.0.1')), ('tcp6', (10, '::1')), ('mptcp', (2, '127.0.0.1', 262))):
        try:
            ends = pair(*arguments)
        except OSError:
            continue
        for end, how in zip(ends, ('connected', 'accepted', 'listening')): yield f'{what} {how}', end
    for family in (2, 10): yield f'udp {family}', socket.socket(family, 2)
    for kind in (1, 2, 5): yield f'unix {kind}', socket.socketpair(1, kind)[0]
    for protocol in (0, 6): yield f'netlink {protocol}', socket.socket(16, 3, protocol)
for what, end in sockets():
    for level in (0, 1, 6, 17, 41, 255, 270, 284, 999):
        for name in range(80):
            errors = [call(end.fileno(), level, name, value, size) for value in values for size in SIZES]
            value = has(end.fileno(), level, name) if 0 in errors and (level, name) not in POLICY_OPTIONS else '-'
            print(f'{what} {level} {name}:', *errors, value)
";

/// Runs the script in a network of its own, as an ordinary user: some of these options affect more than a socket.
fn isolated(mut command: Command, script: &str) -> String {
    command.args(&super::OWN_NETWORK[1..]).args(NOBODY);
    printed(command.args([PYTHON, "-IS", "-c", script]))
}

/// Runs the script under this mode, with a user timeout too, so that the mode applies to all five options.
fn under_mode(mode: Mode, script: &str) -> String {
    let mut command = run(&["--mode", mode.name(), "--user-timeout=auto"]);
    command.arg(super::OWN_NETWORK[0]);
    isolated(command, script)
}

fn alone(script: &str) -> String {
    isolated(Command::new(super::OWN_NETWORK[0]), script)
}

#[test]
fn calls_of_every_kind_and_size_return_the_same_as_without_keepalive() {
    kernel!();
    python!();
    let without = [alone(TABLE), alone(TABLE)];
    let [first, second] = without.each_ref().map(|text| text.lines().collect::<Vec<_>>());
    assert!(first.len() > 10_000, "{} lines", first.len());
    for mode in [Mode::Fill, Mode::Cap, Mode::Enforce] {
        let text = under_mode(mode, TABLE);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), first.len(), "{mode:?}");
        let mut wrong = Vec::new();
        for ((line, first), second) in lines.iter().zip(&first).zip(&second) {
            // Values that differ between two runs without keepalive are, for instance, clocks.
            if line != first && first == second {
                wrong.push(format!("{line}, not {first}"));
            }
        }
        assert!(wrong.is_empty(), "{mode:?}:\n{}", wrong.join("\n"));
    }
}

/// Sets `NUMBER` on a connection by a value of each of these lengths. Prints the results of the calls, and the options.
const LENGTHS: &str = "
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
kept = []
def connected():
    listener = socket.create_server(('127.0.0.1', 0))
    kept.append(listener)
    return socket.create_connection(listener.getsockname())
for length in (0, 1, 2, 3, 4, 5, 4095, 4096, 4097, 8192, 65536):
    for option in ((6, 4), (1, 9)):
        end = connected()
        value = NUMBER if option == (6, 4) else 0
        value = ctypes.create_string_buffer(value.to_bytes(4, 'little', signed=True), 65536)
        ctypes.set_errno(0)
        libc.setsockopt(end.fileno(), *option, value, length)
        print(length, *option, ctypes.get_errno(), end.getsockopt(1, 9), end.getsockopt(6, 4))
";

/// Returns what [`LENGTHS`] prints: for each length and option the error, whether keepalive is on, and the idle time.
fn lengths(mode: Mode, number: i32) -> HashMap<(u32, u32), [u32; 3]> {
    let text = under_mode(mode, &LENGTHS.replace("NUMBER", &number.to_string()));
    let rows = text.lines().map(|line| {
        let numbers: Vec<u32> = line
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        ((numbers[0], numbers[1]), [numbers[3], numbers[4], numbers[5]])
    });
    rows.collect()
}

const EINVAL: u32 = 22;

/// A program could otherwise bypass the mode with a value of more bytes than the kernel shows the eBPF program.
#[test]
fn mode_applies_to_values_of_any_length_and_short_ones_are_refused() {
    kernel!();
    python!();
    for (mode, number, idle, keepalive) in [
        (Mode::Fill, 600, 600, 0),
        (Mode::Cap, 600, 61, 1),
        (Mode::Cap, 5, 5, 1),
        (Mode::Floor, 600, 600, 0),
        (Mode::Floor, 5, 61, 0),
        (Mode::Enforce, 600, 61, 1),
        (Mode::Enforce, 61, 61, 1),
    ] {
        for ((length, level), has) in lengths(mode, number) {
            let expected = match (length, level) {
                (0..=3, _) => [EINVAL, 1, 61],
                (_, 1) => [0, keepalive, 61],
                _ => [0, 1, idle],
            };
            assert_eq!(has, expected, "{mode:?} {number}, {length} bytes, level {level}");
        }
    }
}

#[test]
fn refused_values_change_nothing() {
    kernel!();
    python!();
    for mode in Mode::ALL {
        for number in [0, -1, 32_768, i32::MAX, i32::MIN] {
            for ((length, level), has) in lengths(mode, number) {
                if level == 6 {
                    assert_eq!(has, [EINVAL, 1, 61], "{mode:?} {number}, {length} bytes");
                }
            }
        }
    }
}

/// The kernel copies the value before it runs the eBPF program, so an unreadable address is the first mistake. In mode
/// fill there is no such program.
#[test]
fn unreadable_value_is_the_first_mistake() {
    kernel!();
    python!();
    let script = "
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
for end in socket.socket(), socket.socketpair()[0]:
    for level, name in ((6, 4), (6, 999), (999, 1)):
        ctypes.set_errno(0)
        libc.setsockopt(end.fileno(), level, name, ctypes.c_void_p(8), 4)
        print(ctypes.get_errno(), end='/')
";
    let without = alone(script);
    assert_eq!(without, "14/14/92/95/95/95/");
    assert_eq!(under_mode(Mode::Fill, script), without);
    assert_eq!(under_mode(Mode::Enforce, script), "14/".repeat(6));
}
