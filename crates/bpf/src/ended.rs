//! The part of [`crate::established`]'s program that counts the connections that fail, by cause.
//!
//! The kernel runs the program again at each change of a socket's state if the program has set a flag of the socket
//! (`bpf_sock_ops_cb_flags_set()`). These flags are also the only place where a program can note something of a
//! socket without allocating memory for each: [`TIMEOUT_FLAG`] notes the direction. The rule is not noted but
//! found again, by the socket's addresses, which the socket still has.

use crate::assembler::{Assembler, Condition, Helper, Label, Operation, Register, Size};
use crate::established::SOCKET;
use crate::fields::Field;
use crate::kernel_types::KernelTypes;
use Condition::{Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8};
use Size::Word;
use keepalive_policy::Direction;
use rustix::io::Errno;

/// The number of causes that are counted, in this order: keepalive probes without an answer; RST in answer to a keepalive
/// probe; data that were never acknowledged.
pub const CAUSES: usize = 3;
/// The offset of each cause's counter, plus eight.
const DEAD_PEER: i32 = 8;
const RESET_ON_PROBE: i32 = 16;
const TIMEOUT: i32 = 24;

/// How a program counts connections that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountEnded {
    /// The fields that show the cause.
    pub fields: EndFields,
    /// The offset of the counters in the map of [`crate::record`].
    pub place: u32,
}

/// The fields of a socket that show why its connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndFields {
    /// The socket's error.
    pub error: Field,
    /// The bits of `enum sock_flags` (`include/net/sock.h`).
    pub flags: Field,
    /// The number of unanswered keepalive or window probes.
    pub probes: Field,
    /// The number of retransmissions without an answer.
    pub retransmits: Field,
    /// The number of the next byte that the program sends.
    pub written: Field,
    /// The number of the first byte that is not acknowledged.
    pub acknowledged: Field,
}

impl EndFields {
    /// Finds the fields in the running kernel.
    pub fn find(types: &KernelTypes) -> Option<Self> {
        Some(Self {
            error: Field::nested(types, "sock", "sk_err")?,
            flags: Field::nested(types, "sock_common", "skc_flags")?,
            probes: Field::nested(types, "inet_connection_sock", "icsk_probes_out")?,
            retransmits: Field::nested(types, "inet_connection_sock", "icsk_retransmits")?,
            written: Field::nested(types, "tcp_sock", "write_seq")?,
            acknowledged: Field::nested(types, "tcp_sock", "snd_una")?,
        })
    }
}

// `struct bpf_sock_ops` (`include/uapi/linux/bpf.h`).
const OLD_STATE: i16 = 4;
const NEW_STATE: i16 = 8;
const CALLBACK_FLAGS: i16 = 84;
const PACKETS_OUT: i16 = 128;
const TX_HASH: i16 = 164;
/// `BPF_SOCK_OPS_STATE_CB`.
pub(crate) const STATE: i32 = 10;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`: the program runs at each change of the state.
const STATE_FLAG: i32 = 4;
/// `BPF_SOCK_OPS_RTO_CB_FLAG`: the program runs at each retransmission timeout, and does nothing then. Set for accepted
/// connections.
const TIMEOUT_FLAG: i32 = 1;
// `include/net/tcp_states.h`.
const ESTABLISHED: i32 = 1;
const FIN_WAIT_1: i32 = 4;
const CLOSE: i32 = 7;
/// A program that closes a connection has given it up if the kernel has sent data so often again. The answer to a single
/// retransmission may be on its way.
const GIVEN_UP: i32 = 2;
/// `SOCK_KEEPOPEN` of `enum sock_flags`.
const KEEPOPEN: i32 = 1 << 3;
/// The mark that a policy has counted. It stays in the hash that chooses a path for the socket's packets. A closed
/// socket sends none, and the kernel itself changes the hash at each retransmission (`sk_rethink_txhash`).
const COUNTED: i32 = 0x6b65_6571;

/// Makes the kernel run the program when the socket of the context in R6 changes its state. Keeps other programs' flags.
pub(crate) fn request(code: &mut Assembler, direction: Direction) {
    let flags = match direction {
        Direction::Connect => STATE_FLAG,
        Direction::Accept => STATE_FLAG | TIMEOUT_FLAG,
    };
    code.load(Word, R2, R6, CALLBACK_FLAGS);
    code.compute(Operation::Or, R2, flags);
    code.copy(R1, R6);
    code.call(Helper::SockOpsCbFlagsSet);
}

/// Goes to `other` unless a connection ends at once, or the program closes it while packets are not acknowledged.
pub(crate) fn check_states(code: &mut Assembler, other: Label) {
    let ended = code.label();
    code.load(Word, R0, R1, OLD_STATE);
    code.jump_if(R0, Different, ESTABLISHED, other);
    code.load(Word, R0, R1, NEW_STATE);
    code.jump_if(R0, Equal, CLOSE, ended);
    code.jump_if(R0, Different, FIN_WAIT_1, other);
    code.load(Word, R0, R1, PACKETS_OUT);
    code.jump_if(R0, Equal, 0, other);
    code.place(ended);
}

/// Emits the function that finds the cause and calls the function for the direction, which counts; both have the context in
/// R1. R2 is the offset of the counter plus eight.
pub(crate) fn emit(code: &mut Assembler, fields: &EndFields, [connected, accepted]: [Label; 2]) {
    let [end, by_program, failed, is_silence, timeout, count, is_accepted] = [(); 7].map(|()| code.label());
    code.copy(R6, R1);
    // Programs of nearer cgroups run earlier.
    code.load(Word, R1, R6, TX_HASH);
    code.jump_if(R1, Equal, COUNTED, end);
    code.load(Size::Long, R1, R6, SOCKET);
    code.jump_if(R1, Equal, 0, end);
    code.call(Helper::SkcToTcpSock);
    code.jump_if(R0, Equal, 0, end);
    code.copy(R7, R0);
    load(code, R1, fields.error);
    load(code, R2, fields.written);
    load(code, R3, fields.acknowledged);
    code.load(Word, R4, R6, NEW_STATE);
    code.jump_if(R4, Different, CLOSE, by_program);
    code.jump_if(R1, Different, 0, failed);
    // Without an error, the program discarded the connection (SO_LINGER, unread data).
    code.place(by_program);
    code.jump_if_registers(R2, Equal, R3, end);
    load(code, R1, fields.retransmits);
    code.jump_if(R1, Below, GIVEN_UP, end);
    code.jump(timeout);

    code.place(failed);
    // If a router has reported an error meanwhile, that is the socket's error (`tcp_write_err`).
    for error in [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH] {
        code.jump_if(R1, Equal, error.raw_os_error(), is_silence);
    }
    code.jump_if(R1, Different, Errno::CONNRESET.raw_os_error(), end);
    // Keepalive sends no probe while data are unacknowledged (`tcp_keepalive_timer`).
    code.jump_if_registers(R2, Different, R3, end);
    require_probes(code, fields, end);
    code.set(R8, RESET_ON_PROBE);
    code.jump(count);

    code.place(is_silence);
    code.jump_if_registers(R2, Different, R3, timeout);
    require_probes(code, fields, end);
    code.set(R8, DEAD_PEER);
    code.jump(count);

    code.place(timeout);
    code.set(R8, TIMEOUT);

    code.place(count);
    code.set(R1, COUNTED);
    code.store(Word, R6, TX_HASH, R1);
    // The verifier would check the functions for each number that it knows.
    code.load(Word, R1, R6, CALLBACK_FLAGS);
    code.copy(R2, R1);
    code.load(Word, R3, R6, CALLBACK_FLAGS);
    code.compute_register(Operation::ExclusiveOr, R2, R3);
    code.compute_register(Operation::ExclusiveOr, R2, R8);
    code.compute(Operation::And, R2, DEAD_PEER | RESET_ON_PROBE);
    code.compute(Operation::And, R1, TIMEOUT_FLAG);
    code.jump_if(R1, Different, 0, is_accepted);
    code.copy(R1, R6);
    code.call_local(connected);
    code.exit_with(0);
    code.place(is_accepted);
    code.copy(R1, R6);
    code.call_local(accepted);
    code.place(end);
    code.exit_with(0);
}

/// Goes to `end` unless keepalive is on and has sent a probe that was not answered.
fn require_probes(code: &mut Assembler, fields: &EndFields, end: Label) {
    load(code, R1, fields.flags);
    code.compute(Operation::And, R1, KEEPOPEN);
    code.jump_if(R1, Equal, 0, end);
    load(code, R1, fields.probes);
    code.jump_if(R1, Equal, 0, end);
}

/// `to` = the field of the socket in R7.
fn load(code: &mut Assembler, to: Register, field: Field) {
    code.load(field.size, to, R7, field.offset);
}
