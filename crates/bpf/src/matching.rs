//! How the program finds the branch of the policy that matches a connection.

use crate::assembler::{Assembler, Condition, Helper, Label, Map, Operation, Register, Size};
use crate::decision_list::Branch;
use crate::established::SOCKET;
use Condition::{Above, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R10};
use Size::{Long, Word};
use keepalive_policy::{Direction, Network, Ports};

// `struct bpf_sock_ops` (`include/uapi/linux/bpf.h`).
const FAMILY: i16 = 20;
const REMOTE_IP4: i16 = 24;
const REMOTE_IP6: i16 = 32;
const REMOTE_PORT: i16 = 64;
const LOCAL_PORT: i16 = 68;
const AF_INET: i32 = 2;

// The stack: the peer's address, the program's name.
const PEER: i16 = -16;
pub(crate) const NAME: i16 = -32;
/// The size of a program's name in the kernel (`TASK_COMM_LEN`, with the zero byte).
const NAME_LENGTH: usize = 16;

/// Emits what [`check`] requires for these branches. R6 = the context.
pub(crate) fn load(code: &mut Assembler, branches: &[&Branch<'_>], names: Option<Map>) {
    if branches.iter().any(|branch| branch.network != Network::ANY) {
        load_peer(code);
    }
    if let Some(names) = names.filter(|_| branches.iter().any(|branch| branch.program.is_some())) {
        load_name(code, names);
    }
}

/// The first eight of the sixteen bytes of an IPv4-mapped address are zero; these four follow (RFC 4291 §2.5.5.2).
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Writes the peer's address on the stack, as sixteen bytes in network byte order.
fn load_peer(code: &mut Assembler) {
    let [is_v6, done] = [(); 2].map(|()| code.label());
    code.load(Word, R1, R6, FAMILY);
    code.jump_if(R1, Different, AF_INET, is_v6);
    code.store_number(Long, PEER, 0);
    code.set_any(R1, u32::from_ne_bytes(MAPPED).into());
    code.load(Word, R2, R6, REMOTE_IP4);
    code.join_words(R1, R2);
    code.store(Long, R10, PEER + 8, R1);
    code.jump(done);
    code.place(is_v6);
    for half in [0, 8] {
        code.load(Word, R1, R6, REMOTE_IP6 + half);
        code.load(Word, R2, R6, REMOTE_IP6 + half + 4);
        code.join_words(R1, R2);
        code.store(Long, R10, PEER + half, R1);
    }
    code.place(done);
}

/// Writes the stored name on the stack, or zeroes.
fn load_name(code: &mut Assembler, names: Map) {
    let [unknown, known] = [(); 2].map(|()| code.label());
    code.load(Long, R2, R6, SOCKET);
    code.jump_if(R2, Equal, 0, unknown);
    code.map(R1, names);
    code.set(R3, 0);
    code.set(R4, 0);
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Equal, 0, unknown);
    for half in [0, 8] {
        code.load(Long, R1, R0, half);
        code.store(Long, R10, NAME + half, R1);
    }
    code.jump(known);
    code.place(unknown);
    for half in [0, 8] {
        code.store_number(Long, NAME + half, 0);
    }
    code.place(known);
}

/// Goes to `next` unless this branch matches the connection, which has this direction.
pub(crate) fn check(code: &mut Assembler, branch: &Branch<'_>, direction: Direction, next: Label) {
    if branch.ports != Ports::ANY {
        check_port(code, branch.ports, direction, next);
    }
    if let Some(program) = branch.program {
        let mut name = [0; NAME_LENGTH];
        let mut length = 0;
        for (to, from) in name.iter_mut().take(NAME_LENGTH - 1).zip(program) {
            *to = *from;
            length += 8;
        }
        // Compares the zero byte too. Before Linux 5.17 the bytes behind it may contain the rest of an earlier name.
        check_bytes(code, NAME, name, length + 8, next);
    }
    let (address, length) = branch.network.prefix();
    check_bytes(code, PEER, address, length, next);
    if branch.network.excludes_mapped() {
        let other = code.label();
        let mut mapped = [0; 16];
        mapped[8..12].copy_from_slice(&MAPPED);
        check_bytes(code, PEER, mapped, 96, other);
        code.jump(next);
        code.place(other);
    }
}

/// Loads the port again for each rule. Otherwise the verifier would keep the results of all comparisons, and
/// its work would grow with the square of the number of rules.
fn check_port(code: &mut Assembler, Ports { first, last }: Ports, direction: Direction, next: Label) {
    match direction {
        Direction::Accept => code.load(Word, R1, R6, LOCAL_PORT),
        Direction::Connect => {
            code.load(Word, R1, R6, REMOTE_PORT);
            code.swap_network_word(R1);
        }
    }
    if first == last {
        code.jump_if(R1, Different, first.into(), next);
    } else {
        code.compute(Operation::Subtract, R1, first.into());
        code.jump_if(R1, Above, (last - first).into(), next);
    }
}

/// Goes to `next` unless the first `length` bits of the sixteen bytes on the stack equal those of `expected`.
fn check_bytes(code: &mut Assembler, place: i16, expected: [u8; 16], length: u8, next: Label) {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length))
        .unwrap_or(0)
        .to_be_bytes();
    // In the byte order of this machine.
    let half = |bytes: [u8; 16], begin: usize| {
        let bytes = bytes[begin..].first_chunk().copied();
        u64::from_ne_bytes(bytes.unwrap_or_default())
    };
    for (begin, offset) in [(0, 0), (8, 8)] {
        let (mask, expected) = (half(mask, begin), half(expected, begin));
        if mask == 0 {
            continue;
        }
        code.load(Long, R1, R10, place + offset);
        if mask != u64::MAX {
            code.set_long(R2, mask);
            code.compute_register(Operation::And, R1, R2);
        }
        // The comparison uses a value derived from the loaded one, so that the verifier learns nothing of
        // that; as in `check_port`.
        code.set_long(R2, expected);
        code.compute_register(Operation::ExclusiveOr, R1, R2);
        code.jump_if(R1, Different, 0, next);
    }
}
