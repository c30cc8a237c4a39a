//! The simplest eBPF program that sets five options at both ends: what a policy costs at least.

use crate::instruction;
use keepalive_bpf::assembler::Instruction;
use keepalive_policy::SocketOption::{self, Count, Idle, Interval, Keepalive, UserTimeout};

/// The options of `FIVE` in `cgroup.rs`.
const OPTIONS: [(SocketOption, i32); 5] = [
    (Keepalive, 1),
    (Idle, 60),
    (Interval, 15),
    (Count, 5),
    (UserTimeout, 135_000),
];

/// The instructions of one call of `bpf_setsockopt()`.
const CALL: i16 = 8;

/// Returns the program: five calls of `bpf_setsockopt()` when a connection is established.
pub(crate) fn program() -> Vec<Instruction> {
    // `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB` and `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB` are 4 and 5.
    let mut program = vec![
        // r6 = r1; r0 = *(u32 *)(r1 + 0)
        with(instruction(0xbf, 0), 0x16, 0),
        with(instruction(0x61, 0), 0x10, 0),
        // if r0 == 4 goto the calls; if r0 != 5 goto the end
        with(instruction(0x15, 4), 0, 1),
        with(instruction(0x55, 5), 0, CALL * 5),
    ];
    for (option, value) in OPTIONS {
        let row = option.row();
        program.extend([
            // *(u32 *)(r10 - 4) = value; r1 = r6; r2 = level; r3 = name; r4 = r10; r4 += -4; r5 = 4
            with(instruction(0x62, value), 0x0a, -4),
            with(instruction(0xbf, 0), 0x61, 0),
            with(instruction(0xb7, row.level), 0x02, 0),
            with(instruction(0xb7, row.optname), 0x03, 0),
            with(instruction(0xbf, 0), 0xa4, 0),
            with(instruction(0x07, -4), 0x04, 0),
            with(instruction(0xb7, 4), 0x05, 0),
            // call bpf_setsockopt
            instruction(0x85, 49),
        ]);
    }
    // r0 = 1; exit
    program.extend([instruction(0xb7, 1), instruction(0x95, 0)]);
    program
}

fn with(instruction: Instruction, registers: u8, offset: i16) -> Instruction {
    Instruction {
        registers,
        offset,
        ..instruction
    }
}
