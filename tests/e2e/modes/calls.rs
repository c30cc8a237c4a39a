//! setsockopt(2) itself: its results, and options and sockets that keepalive does not set.

use super::{RESOLVED, alone, expect, program};
use crate::support::engine::Engine;
use crate::support::target::output;
use keepalive_policy::Mode;

/// `call` calls setsockopt(2) by the C library's function and by its syscall(2), and prints the result and `errno`.
const CALL: &str = "
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {'x86_64': 54, 'aarch64': 208}.get(platform.machine())
def call(fd, level, name, value, length=None):
    bytes = value.to_bytes(4, 'little', signed=True) if isinstance(value, int) else value
    length = len(bytes) if length is None else length
    for function, first in ((libc.setsockopt, []), (libc.syscall, [NUMBER])):
        ctypes.set_errno(4242)
        arguments = [ctypes.c_long(word) for word in (*first, fd, level, name)]
        returned = function(*arguments, ctypes.c_char_p(bytes), ctypes.c_uint(length))
        print(level, name, value if value is None else bytes[:4].hex(), length, returned, ctypes.get_errno())
";

/// Under every mode, with and without rules, `snippet` must print what it prints without keepalive.
fn expect_same_as_alone(engine: Engine, snippet: &str) {
    let snippet = &format!("{CALL}{snippet}");
    let expected = alone(snippet);
    assert!(!expected.is_empty());
    for mode in Mode::ALL {
        for rules in ["", "connect idle=30 mode=enforce; accept idle=40 mode=cap"] {
            let variables = [
                ("KEEPALIVE_MODE", mode.name()),
                ("KEEPALIVE_RULES", rules),
                ("KEEPALIVE_USER_TIMEOUT", "auto"),
            ];
            let printed = output(&mut program(engine, snippet, &variables));
            let wrong = differences(&printed, &expected);
            assert!(wrong.is_empty(), "{mode:?} {rules}\n{}", wrong.join("\n"));
        }
    }
}

/// Returns the lines that differ.
fn differences(printed: &str, expected: &str) -> Vec<String> {
    let count = [printed.lines().count(), expected.lines().count()];
    assert_eq!(count[0], count[1], "{printed}");
    let lines = printed.lines().zip(expected.lines());
    let wrong = lines.filter(|(printed, expected)| printed != expected);
    wrong
        .map(|(printed, expected)| format!("{printed}, not {expected}"))
        .collect()
}

under_preload_and_cgroup! {
    calls_return_the_same_as_without_keepalive
    other_options_are_the_same_as_without_keepalive
    other_sockets_are_the_same_as_without_keepalive
    modes_apply_to_calls_through_syscall
    calls_succeed_in_mode_enforce_and_the_policy_stays
}

fn calls_return_the_same_as_without_keepalive(engine: Engine) {
    python!();
    expect_same_as_alone(
        engine,
        "
s = connect(socket.socket()); fd = s.fileno()
for name, values in ((4, (0, -1, 1, 600, 32767, 32768, 99999)), (5, (0, 1, 32767, 32768)), (6, (0, 1, 127, 128, -5)),
                     (18, (-1, 0, 5000, 2147483647)), (7, (0, 1, 127, 128)), (2, (1, 87, 88, 1400, 32768)),
                     (9, (-1, 0, 5)), (10, (0, 1, 9000))):
    for value in values: call(fd, 6, name, value)
for value in (0, 1, -1, 7): call(fd, 1, 9, value)
for length in (0, 1, 2, 3, 8, 4096):
    for option in ((1, 9), (6, 4), (6, 18)): call(fd, *option, bytes([60, 0, 0, 0]) + bytes(4092), length)
for option in ((1, 9), (6, 4), (6, 18)):
    call(fd, *option, None, 4)
    call(fd, *option, None, 0)
    call(9999, *option, 60)
    call(-1, *option, 60)
    call(os.open('/dev/null', os.O_RDWR), *option, 60)
call(fd, 6, 4, 60, 0xffffffff)
call(fd, 6, 4, 60, 0x80000000)
call(fd, 99, 4, 60)
call(fd, 6, 999, 60)",
    );
}

fn other_options_are_the_same_as_without_keepalive(engine: Engine) {
    python!();
    expect_same_as_alone(
        engine,
        "
import struct
linger, interval = struct.pack('ii', 1, 5), struct.pack('ll', 3, 0)
for s in (socket.socket(), connect(socket.socket()), listen(), socket.socket(socket.AF_INET6)):
    fd = s.fileno()
    options = [(1, 8, 100000), (1, 7, 50000), (6, 1, 1), (1, 2, 1), (1, 13, linger), (1, 20, interval), (1, 6, 1),
               (6, 13, b'reno'), (6, 13, b'no such'), (6, 8, 5), (6, 12, 1), (6, 25, 4096), (1, 15, 1), (1, 12, 3)]
    options.append((0, 1, 16) if s.family == socket.AF_INET else (41, 67, 16))
    for option in options: call(fd, *option)
    call(fd, 1, 8, bytes([0, 0, 2, 0]) + bytes(60000))
    for option in ((1, 8), (1, 7), (6, 1), (1, 2), (6, 8), (6, 12), (6, 25), (1, 12)): print(s.getsockopt(*option))
    print(s.getsockopt(1, 13, 8), s.getsockopt(1, 20, 16), s.getsockopt(6, 13, 16))",
    );
}

fn other_sockets_are_the_same_as_without_keepalive(engine: Engine) {
    python!();
    expect_same_as_alone(
        engine,
        "
def check(end):
    print(end.getsockopt(*KEEPALIVE))
    for value in (1, 0):
        call(end.fileno(), *KEEPALIVE, value)
        print(end.getsockopt(*KEEPALIVE))
    call(end.fileno(), *IDLE, 5)
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    server, end = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 0))
    end.connect(server.getsockname())
    check(end)
    check(server)
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    for end in socket.socketpair(socket.AF_UNIX, kind): check(end)
listener = socket.socket(socket.AF_UNIX)
listener.bind('')
listener.listen()
end = socket.socket(socket.AF_UNIX)
end.connect(listener.getsockname())
check(end)
check(listener.accept()[0])
check(listener)",
    );
}

fn modes_apply_to_calls_through_syscall(engine: Engine) {
    python!();
    let by_syscall = "
def by_syscall(end, level, name, value):
    value = ctypes.c_int(value)
    words = [ctypes.c_long(word) for word in (NUMBER, end.fileno(), level, name)]
    assert libc.syscall(*words, ctypes.byref(value), ctypes.c_long(4)) == 0
    end.getsockopt(level, name)
";
    for snippet in [
        "s = socket.socket(); [by_syscall(s, *option) for option in OWN]; show(connect(s))",
        "s = connect(socket.socket()); [by_syscall(s, *option) for option in OWN]; show(s)",
        "a = accept(listen()); [by_syscall(a, *option) for option in OWN]; show(a)",
    ] {
        expect(engine, &format!("{CALL}{by_syscall}{snippet}"), &[], RESOLVED);
    }
}

fn calls_succeed_in_mode_enforce_and_the_policy_stays(engine: Engine) {
    python!();
    let snippet = format!(
        "{CALL}
s = connect(socket.socket())
for option in (*OWN, (*KEEPALIVE, 0)): call(s.fileno(), *option)
show(s)"
    );
    let printed = output(&mut program(engine, &snippet, &[("KEEPALIVE_MODE", "enforce")]));
    let (last, calls) = printed
        .lines()
        .collect::<Vec<_>>()
        .split_last()
        .map_or(("", Vec::new()), |(last, calls)| (*last, calls.to_vec()));
    assert!(calls.iter().all(|line| line.ends_with(" 0 4242")), "{printed}");
    assert_eq!((calls.len(), last), (8, "1 61 13 4 0"));
}
