//! The programs of `keepalive trace`. One runs at each change of a TCP connection's state (tracepoint
//! `inet_sock_set_state`), and submits a [`record`] when a connection leaves the state ESTABLISHED. The other
//! runs at each retransmission (`tcp_retransmit_skb`), and notes when the data were first queued.
//!
//! Both read the kernel's structures by `bpf_probe_read_kernel()`, at positions that BTF tells.

pub mod record;

use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::fields::Field;
use Condition::{Above, Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use Size::{Long, Word as Four};
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
    /// The connections, a [`keepalive_sys::bpf::call::MapKind::Hash`] of values of [`CONNECTION_SIZE`] bytes.
    pub connections: Map,
    /// The records, a [`keepalive_sys::bpf::call::MapKind::Ring`].
    pub ring: Map,
    /// The number of records that were lost, a [`keepalive_sys::bpf::call::MapKind::Single`] of eight bytes.
    pub lost: Map,
    /// The shortest idle time of a connection whose end is recorded, in jiffies; 0 records every end.
    pub min_idle: u32,
}

// The value of a connection: its fields are words of the record, then the name of the opener.
const STARTED: i16 = 0;
const DIRECTION: i16 = 8;
const OPENER: i16 = 16;
const BUSY_SINCE: i16 = 24;
const RESENT: i16 = 32;
const HAS_RESENT: i16 = 40;
const NAME: i16 = 48;

/// The size of the value of a connection, in bytes.
pub const CONNECTION_SIZE: u32 = VALUE_LENGTH.cast_unsigned() as u32;
const VALUE_LENGTH: i16 = NAME + 16;

/// The words of a connection's value in the record.
const OF_CONNECTION: [(i16, Word); 6] = [
    (STARTED, Word::Started),
    (DIRECTION, Word::Direction),
    (OPENER, Word::Opener),
    (BUSY_SINCE, Word::BusySince),
    (RESENT, Word::Resent),
    (HAS_RESENT, Word::HasResent),
];

// The stack: the key of the connection, space for a number that is read, and the value of a new connection.
const KEY: i16 = -8;
const NUMBER: i16 = -16;
const HEARD: i16 = -24;
const VALUE: i16 = HEARD - VALUE_LENGTH;

// The arguments of the tracepoints (`include/trace/events/sock.h`, `tcp.h`).
const SOCKET: i16 = 0;
const OLD_STATE: i16 = 8;
const NEW_STATE: i16 = 16;

/// `IPPROTO_TCP`. MPTCP, DCCP and SCTP share the tracepoint.
const TCP: i32 = 6;

// `include/net/tcp_states.h`.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECEIVED: i32 = 3;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;

/// `PF_KTHREAD` (`include/linux/sched.h`).
const KERNEL_THREAD: i32 = 0x0020_0000;
/// A difference of two jiffies above this is negative.
const LARGEST: u32 = i32::MAX.cast_unsigned();

impl Tracer {
    /// Returns the program for [`CHANGES`].
    ///
    /// # Errors
    /// Only errors that the tests would detect.
    pub fn changes(&self) -> io::Result<Vec<Instruction>> {
        let mut code = Assembler::default();
        let code = &mut code;
        let [end, ended, opened, established, closed] = [(); 5].map(|()| code.label());
        code.copy(R8, R1);
        code.load(Long, R6, R8, SOCKET);
        code.load(Long, R7, R8, OLD_STATE);
        code.load(Long, R8, R8, NEW_STATE);
        code.keep_word(R7);
        code.keep_word(R8);
        self.check_protocol(code, end);
        code.store(Long, R10, KEY, R6);
        code.jump_if(R7, Equal, ESTABLISHED, ended);
        code.jump_if(R8, Equal, ESTABLISHED, established);
        code.jump_if(R8, Equal, SYN_SENT, opened);
        code.jump_if(R8, Equal, CLOSE, closed);
        code.place(end);
        code.exit_with(0);

        code.place(opened);
        self.opened(code);
        code.exit_with(0);

        code.place(established);
        self.established(code, end);
        code.exit_with(0);

        code.place(ended);
        if self.min_idle > 0 {
            self.filter(code, closed);
        }
        self.record(code, closed);
        code.place(closed);
        self.forget(code);
        code.exit_with(0);
        std::mem::take(code).finish()
    }

    /// Returns the program for [`RETRANSMISSIONS`].
    ///
    /// # Errors
    /// Only errors that the tests would detect.
    pub fn retransmissions(&self) -> io::Result<Vec<Instruction>> {
        let mut code = Assembler::default();
        let code = &mut code;
        let [end, new, write] = [(); 3].map(|()| code.label());
        code.load(Long, R6, R1, SOCKET);
        self.check_protocol(code, end);
        code.load(self.positions.state.size, R1, R6, self.positions.state.offset);
        code.jump_if(R1, Different, ESTABLISHED, end);
        code.store(Long, R10, KEY, R6);
        read(code, R6, self.positions.busy_since);
        code.copy(R7, R0);
        code.call(Helper::Jiffies64);
        code.copy(R9, R0);
        code.keep_word(R9);
        self.look_up(code);
        code.jump_if(R0, Equal, 0, new);
        code.copy(R8, R0);
        // The queue may have been limited by a window since: the first note of these data is the earliest.
        self.later_of(code, Word::ReceivedData, Word::ReceivedAck);
        code.load(Long, R1, R8, HAS_RESENT);
        code.jump_if(R1, Equal, 0, write);
        code.load(Long, R1, R8, RESENT);
        code.compute_register(Operation::Subtract, R1, R0);
        code.jump_if_word(R1, Equal, 0, write);
        code.jump_if_word(R1, Above, LARGEST, write);
        code.store(Long, R8, RESENT, R9);
        code.exit_with(0);
        code.place(write);
        code.store(Long, R8, BUSY_SINCE, R7);
        code.store(Long, R8, RESENT, R9);
        code.set(R1, 1);
        code.store(Long, R8, HAS_RESENT, R1);
        code.exit_with(0);

        // The connection is older than this program.
        code.place(new);
        clear(code);
        code.store(Long, R10, VALUE + BUSY_SINCE, R7);
        code.store(Long, R10, VALUE + RESENT, R9);
        code.store_number(Long, VALUE + HAS_RESENT, 1);
        self.update(code);
        code.place(end);
        code.exit_with(0);
        std::mem::take(code).finish()
    }

    /// Goes to `other` unless the socket in R6 is one of TCP.
    fn check_protocol(&self, code: &mut Assembler, other: Label) {
        code.jump_if(R6, Equal, 0, other);
        code.load(self.positions.protocol.size, R1, R6, self.positions.protocol.offset);
        code.jump_if(R1, Different, TCP, other);
    }

    /// Notes who calls connect(2): here the kernel runs in the context of the caller.
    fn opened(&self, code: &mut Assembler) {
        clear(code);
        code.store_number(Long, VALUE + DIRECTION, CONNECT);
        code.copy(R1, R10);
        code.compute(Operation::Add, R1, (VALUE + NAME).into());
        self.current(code);
        code.store(Long, R10, VALUE + OPENER, R0);
        self.update(code);
    }

    /// Notes the start of a connection. An accepted connection has no `struct socket` yet; one that began with
    /// connect(2) has one, also if both ends connected at once (RFC 9293, 3.5).
    fn established(&self, code: &mut Assembler, end: Label) {
        let [connected, insert] = [(); 2].map(|()| code.label());
        code.call(Helper::KtimeGetNs);
        code.copy(R9, R0);
        code.jump_if(R7, Equal, SYN_SENT, connected);
        code.jump_if(R7, Different, SYN_RECEIVED, end);
        code.load(Long, R1, R6, self.positions.socket);
        code.jump_if(R1, Different, 0, connected);
        clear(code);
        code.store_number(Long, VALUE + DIRECTION, ACCEPT);
        code.jump(insert);
        code.place(connected);
        let unknown = code.label();
        self.look_up(code);
        code.jump_if(R0, Equal, 0, unknown);
        code.store(Long, R0, STARTED, R9);
        code.exit_with(0);
        code.place(unknown);
        clear(code);
        code.store_number(Long, VALUE + DIRECTION, CONNECT);
        code.place(insert);
        code.store(Long, R10, VALUE + STARTED, R9);
        self.update(code);
    }

    /// Goes to `quick` if the connection was not idle for long enough. The idle time before the data that ended the
    /// connection is at most this one.
    fn filter(&self, code: &mut Assembler, quick: Label) {
        let [by_peer, compare] = [(); 2].map(|()| code.label());
        code.jump_if(R8, Equal, CLOSE_WAIT, by_peer);
        self.later_of(code, Word::ReceivedData, Word::ReceivedAck);
        code.jump(compare);
        code.place(by_peer);
        // The acknowledgement was last received with the FIN itself.
        self.later_of(code, Word::ReceivedData, Word::SentData);
        code.place(compare);
        code.copy(R9, R0);
        code.call(Helper::Jiffies64);
        code.compute_register(Operation::Subtract, R0, R9);
        code.jump_if_word(R0, Below, self.min_idle, quick);
        code.jump_if_word(R0, Above, LARGEST, quick);
    }

    /// R0 = the later of two times in jiffies. Overwrites R1 to R5.
    fn later_of(&self, code: &mut Assembler, first: Word, second: Word) {
        let done = code.label();
        read(code, R6, self.positions.field(first));
        code.store(Long, R10, HEARD, R0);
        read(code, R6, self.positions.field(second));
        code.load(Long, R1, R10, HEARD);
        code.copy(R2, R0);
        code.compute_register(Operation::Subtract, R2, R1);
        code.jump_if_word(R2, Below, LARGEST, done);
        code.copy(R0, R1);
        code.place(done);
    }

    /// Submits the record of the socket in R6, which goes from the state in R7 to that in R8.
    fn record(&self, code: &mut Assembler, done: Label) {
        let [is_reserved, unseen, filled] = [(); 3].map(|()| code.label());
        code.map(R1, self.ring);
        code.set(R2, i32::try_from(RECORD_SIZE).unwrap_or(0));
        code.set(R3, 0);
        code.call(Helper::RingbufReserve);
        code.jump_if(R0, Different, 0, is_reserved);
        code.map_value(R1, self.lost, 0);
        code.set(R2, 1);
        code.add_atomically(R1, R2);
        code.jump(done);
        code.place(is_reserved);
        code.copy(R9, R0);
        code.store(Long, R9, Word::OldState.place(), R7);
        code.store(Long, R9, Word::NewState.place(), R8);
        code.call(Helper::KtimeGetNs);
        code.store(Long, R9, Word::Time.place(), R0);
        code.call(Helper::Jiffies64);
        code.store(Long, R9, Word::Jiffies.place(), R0);
        for (word, field) in self.positions.of_socket {
            read(code, R6, field);
            code.store(Long, R9, word.place(), R0);
        }
        for (index, text) in [Text::Local6, Text::Peer6].into_iter().enumerate() {
            match self.positions.addresses6 {
                Some(addresses) => copy(code, text.place(), 16, R6, addresses[index]),
                None => zero(code, text.place(), 16),
            }
        }
        // R7, the state before, is stored.
        follow(code, self.positions.namespace);
        code.copy(R7, R0);
        for (word, field) in self.positions.of_namespace {
            read(code, R7, field);
            code.store(Long, R9, word.place(), R0);
        }
        self.inode(code);
        self.cgroup(code);
        code.copy(R1, R9);
        code.compute(Operation::Add, R1, Text::CurrentName.place().into());
        self.current(code);
        code.store(Long, R9, Word::Current.place(), R0);
        self.look_up(code);
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
            zero(code, word.place(), 8);
        }
        zero(code, Text::OpenerName.place(), 16);
        code.place(filled);
        code.copy(R1, R9);
        code.set(R2, 0);
        code.call(Helper::RingbufSubmit);
    }

    /// Stores the inode of the socket in R6 in the record in R9.
    fn inode(&self, code: &mut Assembler) {
        let none = code.label();
        follow(code, self.positions.socket);
        code.jump_if(R0, Equal, 0, none);
        read(code, R0, long(self.positions.inode));
        code.place(none);
        code.store(Long, R9, Word::Inode.place(), R0);
    }

    /// The same for the number of the cgroup.
    fn cgroup(&self, code: &mut Assembler) {
        let none = code.label();
        match self.positions.cgroup {
            Some(positions) => {
                follow(code, positions.cgroup);
                // Before Linux 5.15 the lower bits are flags.
                code.compute(Operation::And, R0, -4);
                code.jump_if(R0, Equal, 0, none);
                read(code, R0, long(positions.node));
                code.jump_if(R0, Equal, 0, none);
                read(code, R0, long(positions.id));
            }
            None => code.set(R0, 0),
        }
        code.place(none);
        code.store(Long, R9, Word::Cgroup.place(), R0);
    }

    /// R0 = the number of the running process, 0 for a thread of the kernel; copies the name of its main thread to the
    /// 16 bytes at R1. Overwrites R7.
    fn current(&self, code: &mut Assembler) {
        let [is_kernel, done] = [(); 2].map(|()| code.label());
        let task = self.positions.task;
        code.store(Long, R10, HEARD, R1);
        code.call(Helper::GetCurrentTask);
        code.copy(R7, R0);
        read(code, R7, long(task.leader));
        code.copy(R3, R0);
        code.compute(Operation::Add, R3, task.name.into());
        code.load(Long, R1, R10, HEARD);
        code.set(R2, 16);
        code.call(Helper::ProbeReadKernel);
        read(
            code,
            R7,
            Field {
                offset: task.flags,
                size: Four,
            },
        );
        code.compute(Operation::And, R0, KERNEL_THREAD);
        code.jump_if(R0, Different, 0, is_kernel);
        code.call(Helper::GetCurrentPidTgid);
        code.compute(Operation::ShiftRight, R0, 32);
        code.jump(done);
        code.place(is_kernel);
        code.set(R0, 0);
        code.place(done);
    }

    /// R0 = the value of the connection, or 0.
    fn look_up(&self, code: &mut Assembler) {
        self.key(code);
        code.call(Helper::MapLookupElem);
    }

    fn forget(&self, code: &mut Assembler) {
        self.key(code);
        code.call(Helper::MapDeleteElem);
    }

    fn update(&self, code: &mut Assembler) {
        self.key(code);
        code.copy(R3, R10);
        code.compute(Operation::Add, R3, VALUE.into());
        code.set(R4, 0);
        code.call(Helper::MapUpdateElem);
    }

    fn key(&self, code: &mut Assembler) {
        code.map(R1, self.connections);
        code.copy(R2, R10);
        code.compute(Operation::Add, R2, KEY.into());
    }
}

fn long(offset: i16) -> Field {
    Field { offset, size: Long }
}

/// Clears the value of a new connection.
fn clear(code: &mut Assembler) {
    for offset in (0..VALUE_LENGTH).step_by(8) {
        code.store_number(Long, VALUE + offset, 0);
    }
}

/// Clears `length` bytes, a multiple of eight, in the record in R9.
fn zero(code: &mut Assembler, offset: i16, length: i16) {
    code.set(R1, 0);
    for part in (0..length).step_by(8) {
        code.store(Long, R9, offset + part, R1);
    }
}

/// Copies `length` bytes to the record in R9; clears them if they cannot be read.
fn copy(code: &mut Assembler, to: i16, length: i32, from: Register, offset: i16) {
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.copy(R1, R9);
    code.compute(Operation::Add, R1, to.into());
    code.set(R2, length);
    code.call(Helper::ProbeReadKernel);
}

/// R0 = the pointer at this offset in the socket in R6; 0 if it cannot be read.
fn follow(code: &mut Assembler, offset: i16) {
    read(code, R6, long(offset));
}

/// R0 = the field of the structure at `from`; 0 if it cannot be read.
fn read(code: &mut Assembler, from: Register, field: Field) {
    let length = match field.size {
        Size::Byte => 1,
        Size::Half => 2,
        Four => 4,
        Long => 8,
    };
    code.copy(R3, from);
    code.compute(Operation::Add, R3, field.offset.into());
    code.copy(R1, R10);
    code.compute(Operation::Add, R1, NUMBER.into());
    code.set(R2, length);
    code.call(Helper::ProbeReadKernel);
    code.load(field.size, R0, R10, NUMBER);
}
