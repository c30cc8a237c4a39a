//! The programs of `keepalive trace`. One runs at each change of a TCP connection's state (tracepoint
//! `inet_sock_set_state`), and submits a [`record`] when a connection leaves the state ESTABLISHED. The other
//! runs at each retransmission (`tcp_retransmit_skb`), and notes when the data were first queued.

mod code;
pub mod record;

use crate::assembler::{Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::fields::ReadTask;
use Condition::{Above, Below, Different, Equal};
use Register::{R0, R1, R2, R3, R6, R7, R8, R9};
use Size::Long;
use code::Code;
use record::{ACCEPT, CONNECT, Positions, RECORD_SIZE, Text, Word};
use std::io;

/// The tracepoint of [`Tracer::changes`].
pub const CHANGES: &str = "inet_sock_set_state";
/// The tracepoint of [`Tracer::retransmissions`].
pub const RETRANSMISSIONS: &str = "tcp_retransmit_skb";

/// What the programs are made of.
#[derive(Clone, Copy, Debug)]
pub struct Tracer {
    /// Where the kernel has what the programs read.
    pub positions: Positions,
    /// How the programs read it. [`ReadTask::Typed`] also requires `bpf_skc_to_tcp_sock()` (Linux 5.9), and takes
    /// a third of the time.
    pub read: ReadTask,
    /// The connections, a [`keepalive_sys::bpf::call::MapKind::Recent`] of values of [`CONNECTION_SIZE`] bytes.
    pub connections: Map,
    /// The records, a [`keepalive_sys::bpf::call::MapKind::Ring`].
    pub ring: Map,
    /// The number of records that were lost, a [`keepalive_sys::bpf::call::MapKind::Single`] of eight bytes.
    pub lost: Map,
    /// The shortest idle time of a connection whose end is recorded, in jiffies. 0 records every end, and does not
    /// wake the reader, which would cost more than the record: the reader looks from time to time.
    pub min_idle: u32,
}

// The value of a connection, whose key is the address of its socket. The fields are words of the record, then
// the name of the opener. Values are not deleted: a new connection reuses the value of an earlier one at the same
// address, which costs less than to delete and create one.
const STARTED: i16 = 0;
const DIRECTION: i16 = 8;
const OPENER: i16 = 16;
const BUSY_SINCE: i16 = 24;
const RESENT: i16 = 32;
const HAS_RESENT: i16 = 40;
const PORT: i16 = 48;
const NAME: i16 = 56;
const VALUE_LENGTH: i16 = NAME + 16;

/// The size of the value of a connection, in bytes.
pub const CONNECTION_SIZE: u32 = VALUE_LENGTH.cast_unsigned() as u32;

/// The words of a connection's value in the record.
const OF_CONNECTION: [(i16, Word); 7] = [
    (STARTED, Word::Started),
    (DIRECTION, Word::Direction),
    (OPENER, Word::Opener),
    (BUSY_SINCE, Word::BusySince),
    (RESENT, Word::Resent),
    (HAS_RESENT, Word::HasResent),
    (PORT, Word::NotedPort),
];

// The arguments of the tracepoints (`include/trace/events/sock.h`, `tcp.h`).
const SOCKET: i16 = 0;
const OLD_STATE: i16 = 8;
const NEW_STATE: i16 = 16;

// `include/net/tcp_states.h`.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECEIVED: i32 = 3;
const CLOSE_WAIT: i32 = 8;

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: i32 = 1;

/// A difference of two jiffies above this is negative.
const LARGEST: u32 = i32::MAX.cast_unsigned();

impl Tracer {
    /// Returns the program for [`CHANGES`].
    ///
    /// # Errors
    /// Only errors that the tests would detect.
    pub fn changes(&self) -> io::Result<Vec<Instruction>> {
        let mut code = Code::new(self);
        let [end, ended, established] = [(); 3].map(|()| code.label());
        code.copy(R8, R1);
        code.load(Long, R7, R8, OLD_STATE);
        code.load(Long, R6, R8, SOCKET);
        code.load(Long, R8, R8, NEW_STATE);
        code.keep_word(R7);
        code.keep_word(R8);
        code.jump_if(R7, Equal, ESTABLISHED, ended);
        code.jump_if(R8, Equal, ESTABLISHED, established);
        code.jump_if(R8, Different, SYN_SENT, end);
        opened(&mut code, end);
        code.place(end);
        code.exit_with(0);

        code.place(established);
        started(&mut code, end);
        code.exit_with(0);

        code.place(ended);
        code.check_protocol(end);
        code.require_tcp_sock(end);
        if self.min_idle > 0 {
            filter(&mut code, self.min_idle, end);
        }
        record(&mut code, end);
        code.exit_with(0);
        code.finish()
    }

    /// Returns the program for [`RETRANSMISSIONS`].
    ///
    /// # Errors
    /// Only errors that the tests would detect.
    pub fn retransmissions(&self) -> io::Result<Vec<Instruction>> {
        let mut code = Code::new(self);
        let [end, first] = [(); 2].map(|()| code.label());
        let state = self.positions.state;
        code.load(Long, R6, R1, SOCKET);
        code.check_protocol(end);
        code.load(state.size, R1, R6, state.offset);
        code.jump_if(R1, Different, ESTABLISHED, end);
        code.require_tcp_sock(end);
        code.call(Helper::Jiffies64);
        code.copy(R9, R0);
        code.keep_word(R9);
        code.value(end);
        code.copy(R8, R0);
        code.note_port();
        code.read_socket(self.positions.busy_since);
        code.copy(R7, R0);
        // The queue may have been limited by a window since: the first note of these data is the earliest.
        code.later_of(Word::ReceivedData, Word::ReceivedAck);
        code.load(Long, R1, R8, HAS_RESENT);
        code.jump_if(R1, Equal, 0, first);
        code.load(Long, R1, R8, RESENT);
        code.compute_register(Operation::Subtract, R1, R0);
        code.jump_if_word(R1, Equal, 0, first);
        code.jump_if_word(R1, Above, LARGEST, first);
        code.store(Long, R8, RESENT, R9);
        code.exit_with(0);
        code.place(first);
        code.store(Long, R8, BUSY_SINCE, R7);
        code.store(Long, R8, RESENT, R9);
        code.set_value(R8, HAS_RESENT, 1);
        code.place(end);
        code.exit_with(0);
        code.finish()
    }
}

/// Notes who calls connect(2): here the kernel runs in the context of the caller.
fn opened(code: &mut Code<'_>, end: Label) {
    code.check_protocol(end);
    code.value(end);
    code.copy(R8, R0);
    code.set_value(R8, STARTED, 0);
    code.set_value(R8, DIRECTION, CONNECT);
    code.set_value(R8, HAS_RESENT, 0);
    code.current(R8, NAME);
    code.store(Long, R8, OPENER, R0);
}

/// Notes the start of a connection. An accepted connection has no `struct socket` yet; one that began with
/// connect(2) has one, also if both ends connected at once (RFC 9293, 3.5).
fn started(code: &mut Code<'_>, end: Label) {
    let [accepted, unknown, note] = [(); 3].map(|()| code.label());
    code.check_protocol(end);
    code.jump_if(R7, Different, SYN_SENT, accepted);
    code.look_up();
    code.copy(R8, R0);
    code.jump_if(R8, Different, 0, note);
    // This end called connect(2) before the program ran.
    code.place(unknown);
    code.value(end);
    code.copy(R8, R0);
    code.set_value(R8, DIRECTION, CONNECT);
    code.set_value(R8, OPENER, 0);
    code.set_value(R8, HAS_RESENT, 0);
    code.jump(note);

    code.place(accepted);
    code.jump_if(R7, Different, SYN_RECEIVED, end);
    let socket = code.positions().socket;
    code.load(Long, R1, R6, socket);
    code.jump_if(R1, Different, 0, unknown);
    code.value(end);
    code.copy(R8, R0);
    code.set_value(R8, DIRECTION, ACCEPT);
    code.set_value(R8, OPENER, 0);
    code.set_value(R8, HAS_RESENT, 0);

    code.place(note);
    // Reading a clock costs more.
    code.call(Helper::Jiffies64);
    code.store(Long, R8, STARTED, R0);
    code.note_port();
}

/// Goes to `quick` if the connection was not idle for long enough. The idle time before the data that ended the
/// connection is at most this one.
fn filter(code: &mut Code<'_>, min_idle: u32, quick: Label) {
    let [by_peer, compare] = [(); 2].map(|()| code.label());
    code.jump_if(R8, Equal, CLOSE_WAIT, by_peer);
    code.later_of(Word::ReceivedData, Word::ReceivedAck);
    code.jump(compare);
    code.place(by_peer);
    // The acknowledgement was last received with the FIN itself.
    code.later_of(Word::ReceivedData, Word::SentData);
    code.place(compare);
    code.copy(R9, R0);
    code.call(Helper::Jiffies64);
    code.compute_register(Operation::Subtract, R0, R9);
    code.jump_if_word(R0, Below, min_idle, quick);
    code.jump_if_word(R0, Above, LARGEST, quick);
}

/// Submits the record of the socket in R6, which goes from the state in R7 to that in R8.
fn record(code: &mut Code<'_>, end: Label) {
    let [is_reserved, unseen, filled] = [(); 3].map(|()| code.label());
    let Tracer {
        positions,
        ring,
        lost,
        min_idle,
        ..
    } = *code.tracer();
    code.map(R1, ring);
    code.set(R2, i32::try_from(RECORD_SIZE).unwrap_or(0));
    code.set(R3, 0);
    code.call(Helper::RingbufReserve);
    code.jump_if(R0, Different, 0, is_reserved);
    code.map_value(R1, lost, 0);
    code.set(R2, 1);
    code.add_atomically(R1, R2);
    code.jump(end);
    code.place(is_reserved);
    code.copy(R9, R0);
    code.store(Long, R9, Word::OldState.place(), R7);
    code.store(Long, R9, Word::NewState.place(), R8);
    code.call(Helper::KtimeGetNs);
    code.store(Long, R9, Word::Time.place(), R0);
    code.call(Helper::Jiffies64);
    code.store(Long, R9, Word::Jiffies.place(), R0);
    for (word, field) in positions.of_socket {
        code.read_socket(field);
        code.store(Long, R9, word.place(), R0);
    }
    for (index, text) in [Text::Local6, Text::Peer6].into_iter().enumerate() {
        match positions.addresses6 {
            Some(addresses) => code.copy_text(text.place(), R6, addresses[index]),
            None => code.clear(text.place(), 16),
        }
    }
    // R7, the state before, is stored.
    code.follow(positions.namespace);
    code.copy(R7, R0);
    for (word, field) in positions.of_namespace {
        code.copy_number(R7, field);
        code.store(Long, R9, word.place(), R0);
    }
    code.inode();
    code.store(Long, R9, Word::Inode.place(), R0);
    code.cgroup();
    code.store(Long, R9, Word::Cgroup.place(), R0);
    code.current(R9, Text::CurrentName.place());
    code.store(Long, R9, Word::Current.place(), R0);
    code.look_up();
    code.jump_if(R0, Equal, 0, unseen);
    for (from, word) in OF_CONNECTION {
        code.load(Long, R1, R0, from);
        code.store(Long, R9, word.place(), R1);
    }
    for half in [0, 8] {
        code.load(Long, R1, R0, NAME + half);
        code.store(Long, R9, Text::OpenerName.place() + half, R1);
    }
    code.jump(filled);
    code.place(unseen);
    for (_, word) in OF_CONNECTION {
        code.clear(word.place(), 8);
    }
    code.clear(Text::OpenerName.place(), 16);
    code.place(filled);
    code.copy(R1, R9);
    code.set(R2, if min_idle > 0 { 0 } else { NO_WAKEUP });
    code.call(Helper::RingbufSubmit);
}
