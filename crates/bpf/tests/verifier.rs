//! The programs against the verifier of the running kernel, and their listings against those that were read by people.

use keepalive_bpf::assembler::Size::{self, Byte, Word};
use keepalive_bpf::assembler::{Instruction, Map};
use keepalive_bpf::ended::{CountEnded, EndFields};
use keepalive_bpf::established::{Maps, OwnValues, Policy};
use keepalive_bpf::fields::{Defaults, Field, Fields, ReadTask, TaskFields};
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::listing::listing;
use keepalive_bpf::sock_settings::SOCK_SETTINGS_SIZE;
use keepalive_bpf::{clamp, existing, record};
use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Rule, Settings, Source};
use keepalive_sys::bpf::call::{Hook, MapKind, create_map, load_program};
use std::collections::HashSet;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

fn read(text: &str) -> (Settings, Vec<Rule<'_>>) {
    let mut default = Settings::NONE;
    let mut rules = Vec::new();
    for item in parse(text.as_bytes()) {
        match item.expect("a line of the grammar") {
            Item::Default(settings) => default = settings,
            Item::Rule(rule) => rules.push(rule),
        }
    }
    (default, rules)
}

fn verify(hook: Hook, program: &[Instruction]) {
    if let Err(refusal) = load_program(hook, "keepalive_test", program) {
        let end = refusal.log.len().saturating_sub(3000);
        panic!("{} instructions: {refusal}\n{}", program.len(), &refusal.log[end..]);
    }
}

fn map(map: &OwnedFd) -> Map {
    Map(map.as_raw_fd())
}

fn verify_policy(first: &str, second: &str, types: &KernelTypes) {
    let parts = [first, second].map(read);
    let sources = parts.each_ref().map(|(default, rules)| Source {
        default: *default,
        rules,
    });
    let policy = Policy::new(&sources);
    let value = record::new(policy.counters(), policy.ended_counters(), "text");
    let size = u32::try_from(value.len()).unwrap();
    let counters = create_map(MapKind::Single, "counters", size, 1).expect("a map");
    let ended = CountEnded {
        fields: EndFields::find(types).expect("the kernel's fields"),
        place: record::place_of_ended(policy.counters(), "text").try_into().unwrap(),
    };
    let names = create_map(MapKind::Socket { is_inherited: true }, "names", 16, 1).expect("a map");
    let sock_settings = create_map(
        MapKind::Socket { is_inherited: false },
        "sock_settings",
        SOCK_SETTINGS_SIZE,
        1,
    )
    .expect("a map");
    let needs = policy.needs();
    let maps = Maps {
        counters: map(&counters),
        names: needs.names.then_some(map(&names)),
        sock_settings: needs.sock_settings.then_some(map(&sock_settings)),
    };
    let fields = OwnValues::Fields(Fields::find(types, needs.automatic).expect("the kernel's fields"));
    let differ = OwnValues::Differ {
        kernel_default: [9, 75, 0, 7200, 0],
    };
    for (own, read) in [
        (fields, ReadTask::Typed),
        (fields, ReadTask::Copied),
        (differ, ReadTask::Typed),
    ] {
        let task = TaskFields::find(types, read);
        for ended in [None, Some(ended)] {
            let program = policy.program(&maps, own, task, ended).expect("a program");
            verify(Hook::SockOps, &program);
            assert_old_verifiers_accept(&program);
        }
    }
}

/// Of each instruction: its class, the size that it reads or writes, its destination, its source, its offset.
fn parts(instruction: Instruction) -> (u8, usize, u8, u8, i16) {
    let size = [4, 2, 1, 8][usize::from(instruction.code >> 3 & 3)];
    let registers = instruction.registers;
    (
        instruction.code & 7,
        size,
        registers & 15,
        registers >> 4,
        instruction.offset,
    )
}

/// Whether the old verifiers would take it, as far as that is seen in the instructions:
/// - before Linux 6.4 no number is stored in the context (`BPF_ST`): so that it is stored on the stack alone;
/// - without CAP_PERFMON, before Linux 6.8, of eight bytes of which the verifier knows the number no part is overwritten: so
///   that what is written in whole is nowhere written in part, and the lower address, which it would note, never alone.
#[track_caller]
fn assert_old_verifiers_accept(program: &[Instruction]) {
    const STORE_NUMBER: u8 = 2;
    const STORE: u8 = 3;
    const STACK: u8 = 10;
    let functions = functions(program);
    let mut wide = HashSet::new();
    let mut narrow = HashSet::new();
    let mut number = 0;
    while let Some(instruction) = program.get(number) {
        // Each has a stack of its own.
        let function = functions.iter().filter(|begin| **begin <= number).count();
        // The second half of a long number is no instruction.
        number += if instruction.code == 0x18 { 2 } else { 1 };
        let (class, size, to, _, offset) = parts(*instruction);
        if class == STORE_NUMBER {
            assert_eq!(to, STACK, "{number}\n{}", listing(program));
        }
        let is_stack = to == STACK || to == 7 && is_wish(program, number);
        if matches!(class, STORE_NUMBER | STORE) && is_stack {
            assert_eq!(offset.rem_euclid(i16::try_from(size).unwrap()), 0, "{number}");
            if size == 8 {
                wide.insert((function, to, offset));
            } else {
                assert_eq!(offset.rem_euclid(8), 4, "{number}\n{}", listing(program));
                narrow.insert((function, to, offset - 4));
            }
        }
    }
    let both: Vec<_> = wide.intersection(&narrow).collect();
    assert!(both.is_empty(), "{both:?}\n{}", listing(program));
}

/// Where the program's own functions begin.
fn functions(program: &[Instruction]) -> HashSet<usize> {
    let calls = program.iter().enumerate();
    let calls = calls.filter(|(_, instruction)| instruction.code == 0x85 && instruction.registers == 0x10);
    let begins = calls.map(|(number, call)| i32::try_from(number).unwrap() + 1 + call.immediate);
    begins.map(|begin| usize::try_from(begin).unwrap()).collect()
}

/// In the function that sets a socket, R7 points to its settings on the stack of the function that has called. That is the last
/// function, and copies R2 there at its begin.
fn is_wish(program: &[Instruction], number: usize) -> bool {
    let copy = |instruction: &Instruction| instruction.code == 0xbf && instruction.registers == 0x27;
    program[..number].iter().any(copy)
}

#[test]
fn the_verifier_accepts_every_shape() {
    let types = KernelTypes::read().expect("the kernel's types");
    for text in [
        "",
        "default off",
        "default keepalive=leave",
        "connect off; accept off; default idle=60s",
        "accept off; default idle=60s mode=cap",
        "default idle=60s interval=10s count=6 user-timeout=auto mode=cap",
        "default idle=60s mode=floor user-timeout=30s",
        "connect 10.0.0.0/8:5432 idle=30s; accept :8000-8999 idle=2m mode=enforce; program sshd off; default count=3",
        "program java connect *:27017 idle=120s; connect [::/0] off; connect [2001:db8::/33]:443 interval=7; accept off",
        "accept [::1] idle=5; connect 0.0.0.0/0:1-100 count=2; connect [::/80] idle=2; program a-very-long-program-name off",
    ] {
        verify_policy(text, "", &types);
        verify_policy(
            text,
            "connect 10.0.0.0/8 idle=9; program x count=3; default interval=33 mode=enforce",
            &types,
        );
    }
    for count in [1, 64, 500] {
        let rules: Vec<_> = (0..count)
            .map(|number| match number % 4 {
                0 => format!(
                    "connect 10.{}.{}.0/24:{} idle={}",
                    number / 256,
                    number % 256,
                    1000 + number,
                    1 + number
                ),
                1 => format!(
                    "accept [2001:db8:{number:x}::/48]:{}-{} count=3 mode=cap",
                    number,
                    number + 100
                ),
                2 => format!("program p{number} idle={} user-timeout=auto mode=floor", 1 + number),
                _ => format!("connect 192.0.2.{}:443 mode=enforce interval=5", number % 256),
            })
            .collect();
        verify_policy(&rules.join("\n"), "default idle=60 interval=15 count=5", &types);
        verify_policy(
            "connect :443 count=7; accept idle=3; program x off",
            &rules.join("\n"),
            &types,
        );
    }
    let sock_settings = create_map(
        MapKind::Socket { is_inherited: false },
        "sock_settings",
        SOCK_SETTINGS_SIZE,
        1,
    )
    .expect("a map");
    let program = clamp::program(map(&sock_settings)).expect("a program");
    verify(Hook::SetSockOpt, &program);
    assert_old_verifiers_accept(&program);
    let orders = create_map(MapKind::Hash, "orders", existing::ORDER_SIZE, 16).expect("a map");
    let hook = Hook::Iterator(types.function(existing::FUNCTION).expect("the kernel's function"));
    verify(hook, &existing::dump().expect("a program"));
    for sock_settings in [None, Some(map(&sock_settings))] {
        verify(hook, &existing::set(map(&orders), sock_settings).expect("a program"));
    }
}

/// Where the fields stand in the listings.
const FIELDS: Fields = Fields {
    set: [
        Some(number(1917, Byte)),
        Some(number(2224, Word)),
        None,
        Some(number(2220, Word)),
        Some(number(1168, Word)),
    ],
    hz: 250,
    defaults: Some(Defaults {
        namespace: 48,
        sysctls: [
            Some(number(1108, Byte)),
            Some(number(1104, Word)),
            None,
            Some(number(1100, Word)),
            None,
        ],
    }),
};
const fn number(offset: i16, size: Size) -> Field {
    Field { offset, size }
}

const TASK: TaskFields = TaskFields {
    leader: 1544,
    name: 3024,
    read: ReadTask::Typed,
};

const ENDED: CountEnded = CountEnded {
    fields: EndFields {
        error: number(372, Word),
        flags: number(96, Size::Long),
        probes: number(1345, Byte),
        retransmits: number(1344, Byte),
        written: number(1560, Word),
        acknowledged: number(1688, Word),
    },
    place: 400,
};

/// Compares with the file of this name; `UPDATE_LISTINGS=1` writes it, to be read in the change.
fn expect_listing(name: &str, program: &[Instruction]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/listings").join(name);
    let text = listing(program);
    if std::env::var_os("UPDATE_LISTINGS").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} is another program now; see UPDATE_LISTINGS");
}

fn compile(text: &str, own: OwnValues) -> Vec<Instruction> {
    compile_with(text, own, TASK, None)
}

fn compile_with(text: &str, own: OwnValues, task: TaskFields, ended: Option<CountEnded>) -> Vec<Instruction> {
    let (default, rules) = read(text);
    let policy = Policy::new(&[Source { default, rules: &rules }]);
    let needs = policy.needs();
    let maps = Maps {
        counters: Map(10),
        names: needs.names.then_some(Map(11)),
        sock_settings: needs.sock_settings.then_some(Map(12)),
    };
    policy.program(&maps, own, Some(task), ended).expect("a program")
}

#[test]
#[cfg(target_endian = "little")]
fn the_programs_are_those_that_were_read() {
    let fields = OwnValues::Fields(FIELDS);
    expect_listing("nothing-set.txt", &compile("default off", fields));
    expect_listing("default.txt", &compile("default idle=60s interval=15s count=5", fields));
    let differ = OwnValues::Differ {
        kernel_default: [9, 75, 0, 7200, 0],
    };
    expect_listing(
        "by-comparison.txt",
        &compile("default idle=60s interval=15s count=5", differ),
    );
    let rules = "connect 10.0.0.0/8:5432 idle=30s user-timeout=auto; connect [2001:db8::/32]:443 off; \
                 accept :8000-8999 idle=2m mode=enforce; program sshd off; connect [::/0] count=3";
    expect_listing("rules.txt", &compile(rules, fields));
    let copied = TaskFields {
        read: ReadTask::Copied,
        ..TASK
    };
    expect_listing(
        "copied-name.txt",
        &compile_with("program sshd off", fields, copied, None),
    );
    let rules = "connect 10.0.0.0/8:5432 idle=30s; program sshd off";
    expect_listing("ended.txt", &compile_with(rules, fields, TASK, Some(ENDED)));
    expect_listing("clamp.txt", &clamp::program(Map(12)).expect("a program"));
    expect_listing("dump.txt", &existing::dump().expect("a program"));
    expect_listing("set.txt", &existing::set(Map(13), Some(Map(12))).expect("a program"));
}

#[test]
fn the_verifiers_words_are_kept() {
    // R0 is never set.
    let wrong = [Instruction {
        code: 0x95,
        registers: 0,
        offset: 0,
        immediate: 0,
    }];
    let refusal = load_program(Hook::SockOps, "wrong", &wrong).expect_err("it is wrong");
    assert!(refusal.log.contains("R0 !read_ok"), "{refusal}: {}", refusal.log);
}

/// A short program that the verifier gives up on is not too long: why it is refused stands in the log, to its end.
#[test]
fn the_reason_of_a_refusal_is_kept() {
    let instruction = |code, registers, offset, immediate| Instruction {
        code,
        registers,
        offset,
        immediate,
    };
    // R1 counts to more than the verifier follows.
    let program = [
        instruction(0xb7, 1, 0, 0),
        instruction(0x07, 1, 0, 1),
        instruction(0xa5, 1, -2, 2_000_000),
        instruction(0xb7, 0, 0, 1),
        instruction(0x95, 0, 0, 0),
    ];
    let refusal = load_program(Hook::SockOps, "endless", &program).expect_err("the verifier refuses it");
    assert_eq!(refusal.error.raw_os_error(), Some(7), "E2BIG: {refusal}");
    let end = &refusal.log[refusal.log.len().saturating_sub(500)..];
    assert!(end.contains("too large") || end.contains("too complex"), "{end}");
}
