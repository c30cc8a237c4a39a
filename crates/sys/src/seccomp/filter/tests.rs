//! Tests of the filter's answers, by an interpreter of the classic BPF instructions that seccomp(2) allows.

use super::{Filter, IoUring, PASSING_LENGTH, PASSING_OPTION_LENGTH, PASSING_OPTION_MARK, SetOption};
use crate::arch::{CAUGHT, Caught};
use keepalive_policy::OPTIONS;
use keepalive_policy::SocketOption::{Count, DeferAccept, Idle, Interval, Keepalive, UserTimeout};
use libc::sock_filter;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const NO_SUCH_CALL: u32 = 0x0005_0026;
const FASTOPEN: u64 = 0x2000_0000;

/// `struct seccomp_data` (`linux/seccomp.h`).
fn data(arch: u32, number: u32, arguments: [u64; 6]) -> Vec<u8> {
    let instruction_pointer = [0xa5; 8];
    let words = arguments.iter().flat_map(|argument| argument.to_ne_bytes());
    let head = [number.to_ne_bytes(), arch.to_ne_bytes()].concat();
    head.into_iter().chain(instruction_pointer).chain(words).collect()
}

/// Returns the answer of `program`. Panics if the kernel would refuse the program, or if a jump leads out of it.
fn run(program: &[sock_filter], data: &[u8]) -> u32 {
    steps(program, data).0
}

/// Returns the answer, and the number of executed instructions.
fn steps(program: &[sock_filter], data: &[u8]) -> (u32, usize) {
    let mut accumulator = None;
    let mut at = 0;
    let mut steps = 0;
    loop {
        steps += 1;
        let instruction = program.get(at).expect("no jump leads out of the program");
        at += 1;
        match u32::from(instruction.code) {
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                let offset = usize::try_from(instruction.k).expect("an offset");
                assert_eq!(offset % 4, 0, "the kernel takes whole words");
                let word = data
                    .get(offset..)
                    .and_then(<[u8]>::first_chunk)
                    .expect("within the data");
                accumulator = Some(u32::from_ne_bytes(*word));
            }
            code if code == libc::BPF_RET | libc::BPF_K => return (instruction.k, steps),
            code if code & 7 == libc::BPF_JMP && code & libc::BPF_X == 0 => {
                let loaded = accumulator.expect("something is loaded before it is compared");
                let is_true = match code & 0xf0 {
                    libc::BPF_JEQ => loaded == instruction.k,
                    libc::BPF_JGE => loaded >= instruction.k,
                    libc::BPF_JGT => loaded > instruction.k,
                    libc::BPF_JSET => loaded & instruction.k != 0,
                    other => panic!("comparison {other:#x}"),
                };
                at += usize::from(if is_true { instruction.jt } else { instruction.jf });
            }
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn answer(filter: &Filter, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(&filter.program(), &data(arch, number, arguments))
}

/// Returns the filter with the same action for every option.
fn filter(action: SetOption, io_uring: IoUring) -> Filter {
    Filter {
        set_option: OPTIONS.map(|_| action),
        io_uring,
    }
}

fn all_filters() -> impl Iterator<Item = Filter> {
    let actions = [SetOption::Pass, SetOption::Ask];
    actions
        .into_iter()
        .flat_map(|action| [IoUring::Allow, IoUring::Deny].map(|io_uring| filter(action, io_uring)))
}

/// The upper half of an argument, which the kernel does not read.
const UPPER: u64 = 0xdead_beef_0000_0000;

#[cfg(target_arch = "x86_64")]
#[test]
fn the_numbers_are_those_of_the_kernel() {
    let [x86_64, i386] = &CAUGHT;
    // The kernel's tables (`arch/x86/entry/syscalls`); the first is in the constants of this machine's C library.
    let own = [
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_setsockopt,
    ];
    let numbers = |numbers: &Caught| {
        [
            numbers.connect,
            numbers.listen,
            numbers.sendto,
            numbers.sendmsg,
            numbers.sendmmsg,
            numbers.setsockopt,
        ]
    };
    assert_eq!(numbers(x86_64).map(i64::from), own);
    assert_eq!(numbers(i386), [362, 363, 369, 370, 345, 366]);
    assert_eq!((x86_64.socketcall, i386.socketcall), (None, Some(102)));
    assert_eq!((x86_64.arch, i386.arch), (0xc000_003e, 0x4000_0003));
    assert_eq!(libc::SYS_io_uring_setup, 425);
}

#[test]
fn a_connect_waits_unless_its_address_is_none_of_tcp() {
    for filter in all_filters() {
        for numbers in &CAUGHT {
            let connect = |length: u64| answer(&filter, numbers.arch, numbers.connect, [3, 1, length, 0, 0, 0]);
            for length in [0, 1, 2, 15, u64::from(PASSING_LENGTH), UPPER + 15, UPPER + 110] {
                assert_eq!(connect(length), ALLOW, "{length:#x}");
            }
            for length in [16, 28, 109, 111, 128, UPPER + 16, u64::from(u32::MAX)] {
                assert_eq!(connect(length), NOTIFY, "{length:#x}");
            }
        }
    }
}

#[test]
fn every_listen_waits() {
    for filter in all_filters() {
        for numbers in &CAUGHT {
            assert_eq!(
                answer(&filter, numbers.arch, numbers.listen, [3, 0, 0, 0, 0, 0]),
                NOTIFY
            );
        }
    }
}

#[test]
fn a_send_waits_where_it_opens_a_connection() {
    for filter in all_filters() {
        for numbers in &CAUGHT {
            let sends = [(numbers.sendto, 3), (numbers.sendmsg, 2), (numbers.sendmmsg, 3)];
            for (number, place) in sends {
                let send = |flags: u64| {
                    // All arguments except flags have every bit set.
                    let mut arguments = [u64::MAX; 6];
                    arguments[place] = flags;
                    answer(&filter, numbers.arch, number, arguments)
                };
                for flags in [FASTOPEN, FASTOPEN | 0x4000, UPPER | FASTOPEN, u64::from(u32::MAX)] {
                    assert_eq!(send(flags), NOTIFY, "{number} {flags:#x}");
                }
                for flags in [0, 0x4000, !FASTOPEN, FASTOPEN << 32] {
                    assert_eq!(send(flags), ALLOW, "{number} {flags:#x}");
                }
            }
        }
    }
}

fn set(filter: &Filter, numbers: &Caught, level: u64, name: u64, length: u64) -> u32 {
    answer(filter, numbers.arch, numbers.setsockopt, [3, level, name, 1, length, 0])
}

#[test]
fn setting_an_option_passes_or_waits() {
    let actions = [(SetOption::Pass, ALLOW), (SetOption::Ask, NOTIFY)];
    for (action, expected) in actions {
        for option in OPTIONS {
            // Only one option is caught, so that no other option's branch answers for it.
            let mut filter = Filter::default();
            filter.set_option[option as usize] = action;
            assert_eq!(filter.action(option), action);
            let row = option.row();
            let level = u64::from(row.level.cast_unsigned());
            let name = u64::from(row.optname.cast_unsigned());
            for numbers in &CAUGHT {
                for length in [0, 1, 4, 7, 8, 9, 16, UPPER + 4] {
                    assert_eq!(
                        set(&filter, numbers, level, name, length),
                        expected,
                        "{option:?} {length}"
                    );
                    let uppers = (UPPER | level, UPPER | name);
                    assert_eq!(
                        set(&filter, numbers, uppers.0, uppers.1, length),
                        expected,
                        "{option:?}"
                    );
                }
                // The library's own calls.
                let own = |length, mark| {
                    let arguments = [3, level, name, 1, length, mark];
                    answer(&filter, numbers.arch, numbers.setsockopt, arguments)
                };
                let (length, mark) = (u64::from(PASSING_OPTION_LENGTH), u64::from(PASSING_OPTION_MARK));
                assert_eq!(own(length, mark), ALLOW, "{option:?}");
                assert_eq!(own(4, mark), expected, "{option:?}");
                assert_eq!(own(length, mark + 1), expected, "{option:?}");
                // Another level, another option.
                let other = if level == 1 { 6 } else { 1 };
                assert_eq!(set(&filter, numbers, other, name, 4), ALLOW, "{option:?}");
                for name in (0..64).filter(|other| *other != name) {
                    assert_eq!(set(&filter, numbers, level, name, 4), ALLOW, "{option:?} {name}");
                }
                for level in [0, 2, 17, 41, 0xffff_ffff] {
                    assert_eq!(set(&filter, numbers, level, name, 4), ALLOW, "{option:?} {level}");
                }
            }
        }
    }
}

#[test]
fn each_option_has_an_action_of_its_own() {
    let mut filter = Filter::default();
    let rows = [
        (Keepalive, 1, 9, SetOption::Ask, NOTIFY),
        (Idle, 6, 4, SetOption::Pass, ALLOW),
        (Interval, 6, 5, SetOption::Ask, NOTIFY),
        (Count, 6, 6, SetOption::Pass, ALLOW),
        (UserTimeout, 6, 18, SetOption::Ask, NOTIFY),
        (DeferAccept, 6, 9, SetOption::Pass, ALLOW),
    ];
    for (option, _, _, action, _) in rows {
        filter.set_option[option as usize] = action;
    }
    for numbers in &CAUGHT {
        for (option, level, name, _, expected) in rows {
            assert_eq!(set(&filter, numbers, level, name, 4), expected, "{option:?}");
        }
    }
}

#[test]
fn socketcall_waits_where_its_call_may() {
    let Some((numbers, number)) = CAUGHT.iter().find_map(|numbers| Some((numbers, numbers.socketcall?))) else {
        return;
    };
    for filter in all_filters() {
        let has_options = filter.action(Idle) != SetOption::Pass;
        for call in 0..32 {
            let expected = match call {
                3 | 4 | 11 | 16 | 20 => NOTIFY,
                // The option is in memory.
                14 if has_options => NOTIFY,
                _ => ALLOW,
            };
            let arguments = [UPPER | call, 0x1000, 0, 0, 0, 0];
            assert_eq!(answer(&filter, numbers.arch, number, arguments), expected, "{call}");
        }
    }
    // On the other architecture the number belongs to another call.
    for other in CAUGHT.iter().filter(|other| other.socketcall.is_none()) {
        let filter = filter(SetOption::Ask, IoUring::Deny);
        assert_eq!(answer(&filter, other.arch, number, [3, 0, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn io_uring_is_missing_where_it_is_denied() {
    for numbers in &CAUGHT {
        let setup = |io_uring| answer(&filter(SetOption::Ask, io_uring), numbers.arch, 425, [8, 1, 0, 0, 0, 0]);
        assert_eq!(setup(IoUring::Deny), NO_SUCH_CALL);
        assert_eq!(setup(IoUring::Allow), NOTIFY);
    }
}

#[test]
fn every_other_call_passes() {
    // Flags and lengths with which a caught call would wait.
    let arguments = [u64::MAX; 6];
    for filter in all_filters() {
        let program = filter.program();
        for numbers in &CAUGHT {
            let caught = [
                numbers.connect,
                numbers.listen,
                numbers.sendto,
                numbers.sendmsg,
                numbers.sendmmsg,
                numbers.setsockopt,
                numbers.socketcall.unwrap_or(numbers.connect),
                425,
            ];
            for number in (0..1024).chain([u32::MAX]).filter(|number| !caught.contains(number)) {
                assert_eq!(run(&program, &data(numbers.arch, number, arguments)), ALLOW, "{number}");
            }
            // x32, a kind of x86_64 program whose calls have this bit.
            let x32 = 0x4000_0000 | numbers.connect;
            assert_eq!(run(&program, &data(numbers.arch, x32, arguments)), ALLOW);
        }
    }
}

#[test]
fn programs_of_an_unknown_architecture_are_left_alone() {
    for filter in all_filters() {
        for arch in [0, 0xc000_00f3, 0x4000_0008, u32::MAX] {
            for number in [42, 50, 54, 102, 203, 362, 425] {
                assert_eq!(answer(&filter, arch, number, [3, 1, 16, FASTOPEN, 4, 0]), ALLOW);
            }
        }
    }
}

/// The kernel accepts 4096 instructions that it has checked: no loop, no jump out of the program, an answer
/// at the end.
#[test]
fn the_program_is_short_and_the_kernel_would_take_it() {
    let mixed = Filter {
        set_option: OPTIONS.map(|option| match option as usize % 2 {
            0 => SetOption::Ask,
            _ => SetOption::Pass,
        }),
        io_uring: IoUring::Deny,
    };
    for filter in all_filters().chain([mixed]) {
        let program = filter.program();
        assert!(program.len() < 200, "{}", program.len());
        for (at, instruction) in program.iter().enumerate() {
            let longest = usize::from(instruction.jt.max(instruction.jf));
            let is_last = at + 1 == program.len();
            assert!(is_last || at + 1 + longest < program.len(), "{at}");
            // A distance that does not fit would have become 255.
            assert!(longest < 255, "{at}");
        }
        let last = program.last().expect("it is not empty");
        assert_eq!(u32::from(last.code), libc::BPF_RET | libc::BPF_K);
    }
}

/// The cost for every call of every program, if the kernel does not know beforehand that the filter passes it.
#[test]
fn a_call_that_is_not_caught_costs_few_instructions() {
    let program = filter(SetOption::Ask, IoUring::Deny).program();
    let (answer, steps) = steps(&program, &data(CAUGHT[0].arch, 0, [0; 6]));
    assert_eq!(answer, ALLOW);
    assert!(steps < 16, "{steps}");
}

#[test]
fn filter_passes_addresses_of_local_sockets() {
    assert_eq!(usize::try_from(PASSING_LENGTH), Ok(size_of::<libc::sockaddr_un>()));
}
