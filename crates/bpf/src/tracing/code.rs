//! The parts of which the programs are made: how they read sockets and processes, and the value of a connection.

use super::record::{Positions, Word};
use super::{LARGEST, PORT, Tracer, VALUE_LENGTH};
use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Operation, Register, Size};
use crate::fields::{Field, ReadTask};
use Condition::{Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R9, R10};
use Size::{Long, Word as Four};
use std::io;
use std::ops::{Deref, DerefMut};

/// A program of a [`Tracer`] under construction. R6 is the socket.
pub(super) struct Code<'a> {
    assembler: Assembler,
    tracer: &'a Tracer,
}

// The stack: the key of the connection, space for numbers, and an empty value.
const KEY: i16 = -8;
const NUMBER: i16 = -16;
const SAVED: i16 = -24;
const EMPTY: i16 = SAVED - VALUE_LENGTH;

/// `IPPROTO_TCP`. MPTCP, DCCP and SCTP share the tracepoint.
const TCP: i32 = 6;
/// `PF_KTHREAD` (`include/linux/sched.h`).
const KERNEL_THREAD: i32 = 0x0020_0000;

impl<'a> Code<'a> {
    pub(super) fn new(tracer: &'a Tracer) -> Self {
        Self {
            assembler: Assembler::default(),
            tracer,
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<Instruction>> {
        self.assembler.finish()
    }

    pub(super) fn tracer(&self) -> &'a Tracer {
        self.tracer
    }

    pub(super) fn positions(&self) -> &'a Positions {
        &self.tracer.positions
    }

    fn is_typed(&self) -> bool {
        self.tracer.read == ReadTask::Typed
    }

    /// Goes to `other` unless the socket is one of TCP. Stores the key of its connection.
    pub(super) fn check_protocol(&mut self, other: Label) {
        let protocol = self.positions().protocol;
        self.load(protocol.size, R1, R6, protocol.offset);
        self.jump_if(R1, Different, TCP, other);
        self.store(Long, R10, KEY, R6);
    }

    /// R6 = the socket with its type, for [`Self::read_socket`]; goes to `other` if it is not a TCP socket.
    pub(super) fn require_tcp_sock(&mut self, other: Label) {
        if self.is_typed() {
            self.copy(R1, R6);
            self.call(Helper::SkcToTcpSock);
            self.jump_if(R0, Equal, 0, other);
            self.copy(R6, R0);
        }
    }

    /// R0 = the field of the socket. Overwrites R1 to R5.
    pub(super) fn read_socket(&mut self, field: Field) {
        if self.is_typed() {
            self.load(field.size, R0, R6, field.offset);
        } else {
            self.copy_number(R6, field);
        }
    }

    /// R0 = the later of two times in jiffies. Overwrites R1 to R5.
    pub(super) fn later_of(&mut self, first: Word, second: Word) {
        let done = self.label();
        let [first, second] = [first, second].map(|word| self.positions().field(word));
        self.read_socket(first);
        self.store(Long, R10, SAVED, R0);
        self.read_socket(second);
        self.load(Long, R1, R10, SAVED);
        self.copy(R2, R0);
        self.compute_register(Operation::Subtract, R2, R1);
        self.jump_if_word(R2, Below, LARGEST, done);
        self.copy(R0, R1);
        self.place(done);
    }

    /// R0 = the value of the connection, or 0.
    pub(super) fn look_up(&mut self) {
        self.key();
        self.call(Helper::MapLookupElem);
    }

    /// R0 = the value of the connection, which is created if necessary; goes to `full` if that is impossible.
    pub(super) fn value(&mut self, full: Label) {
        let found = self.label();
        self.look_up();
        self.jump_if(R0, Different, 0, found);
        for offset in (0..VALUE_LENGTH).step_by(8) {
            self.store_number(Long, EMPTY + offset, 0);
        }
        self.key();
        self.copy(R3, R10);
        self.compute(Operation::Add, R3, EMPTY.into());
        self.set(R4, 0);
        self.call(Helper::MapUpdateElem);
        self.look_up();
        self.jump_if(R0, Equal, 0, full);
        self.place(found);
    }

    fn key(&mut self) {
        let map = self.tracer.connections;
        self.map(R1, map);
        self.copy(R2, R10);
        self.compute(Operation::Add, R2, KEY.into());
    }

    /// Sets a field of the value of a connection. Overwrites R1.
    pub(super) fn set_value(&mut self, value: Register, offset: i16, number: i32) {
        self.set(R1, number);
        self.store(Long, value, offset, R1);
    }

    /// Stores the peer's port in the value of the connection, in R8.
    pub(super) fn note_port(&mut self) {
        let port = self.positions().field(Word::PeerPort);
        self.load(port.size, R1, R6, port.offset);
        self.store(Long, Register::R8, PORT, R1);
    }

    /// R0 = the number of the running process, 0 for a thread of the kernel; copies the name of its main thread to the
    /// 16 bytes at `to`. Overwrites R7.
    pub(super) fn current(&mut self, to: Register, offset: i16) {
        let [is_kernel, done] = [(); 2].map(|()| self.label());
        let task = self.positions().task;
        let flags = Field {
            offset: task.flags,
            size: Four,
        };
        if self.is_typed() {
            self.call(Helper::GetCurrentTaskBtf);
            self.copy(R7, R0);
            self.load(Long, R2, R7, task.leader);
            for half in [0, 8] {
                self.load(Long, R1, R2, task.name + half);
                self.store(Long, to, offset + half, R1);
            }
            self.load(flags.size, R0, R7, flags.offset);
        } else {
            self.call(Helper::GetCurrentTask);
            self.copy(R7, R0);
            self.copy_number(R7, long(task.leader));
            self.copy(R3, R0);
            self.compute(Operation::Add, R3, task.name.into());
            self.copy_bytes(to, offset);
            self.copy_number(R7, flags);
        }
        self.compute(Operation::And, R0, KERNEL_THREAD);
        self.jump_if(R0, Different, 0, is_kernel);
        self.call(Helper::GetCurrentPidTgid);
        self.compute(Operation::ShiftRight, R0, 32);
        self.jump(done);
        self.place(is_kernel);
        self.set(R0, 0);
        self.place(done);
    }

    /// R0 = the inode of the socket; 0 if it has none.
    pub(super) fn inode(&mut self) {
        let none = self.label();
        let Positions { socket, inode, .. } = *self.positions();
        self.follow(socket);
        self.jump_if(R0, Equal, 0, none);
        self.copy_number(R0, long(inode));
        self.place(none);
    }

    /// R0 = the number of the socket's cgroup; 0 if it has none.
    pub(super) fn cgroup(&mut self) {
        let none = self.label();
        match self.positions().cgroup {
            Some(positions) => {
                self.follow(positions.cgroup);
                // Before Linux 5.15 the lower bits are flags.
                self.compute(Operation::And, R0, -4);
                self.jump_if(R0, Equal, 0, none);
                self.copy_number(R0, long(positions.node));
                self.jump_if(R0, Equal, 0, none);
                self.copy_number(R0, long(positions.id));
            }
            None => self.set(R0, 0),
        }
        self.place(none);
    }

    /// R0 = the pointer at this offset in the socket, without its type; 0 if it cannot be read.
    pub(super) fn follow(&mut self, offset: i16) {
        self.copy_number(R6, long(offset));
    }

    /// R0 = the field of the structure at `from`, whose type need not be known; 0 if it cannot be read.
    pub(super) fn copy_number(&mut self, from: Register, field: Field) {
        let length = match field.size {
            Size::Byte => 1,
            Size::Half => 2,
            Four => 4,
            Long => 8,
        };
        self.copy(R3, from);
        self.compute(Operation::Add, R3, field.offset.into());
        self.copy(R1, R10);
        self.compute(Operation::Add, R1, NUMBER.into());
        self.set(R2, length);
        self.call(Helper::ProbeReadKernel);
        self.load(field.size, R0, R10, NUMBER);
    }

    /// Copies 16 bytes to the record in R9; clears them if they cannot be read.
    pub(super) fn copy_text(&mut self, to: i16, from: Register, offset: i16) {
        self.copy(R3, from);
        self.compute(Operation::Add, R3, offset.into());
        self.copy_bytes(R9, to);
    }

    /// Copies 16 bytes from R3.
    fn copy_bytes(&mut self, to: Register, offset: i16) {
        self.copy(R1, to);
        self.compute(Operation::Add, R1, offset.into());
        self.set(R2, 16);
        self.call(Helper::ProbeReadKernel);
    }

    /// Clears `length` bytes, a multiple of eight, in the record in R9.
    pub(super) fn clear(&mut self, offset: i16, length: i16) {
        self.set(R1, 0);
        for part in (0..length).step_by(8) {
            self.store(Long, R9, offset + part, R1);
        }
    }
}

impl Deref for Code<'_> {
    type Target = Assembler;

    fn deref(&self) -> &Assembler {
        &self.assembler
    }
}

impl DerefMut for Code<'_> {
    fn deref_mut(&mut self) -> &mut Assembler {
        &mut self.assembler
    }
}

fn long(offset: i16) -> Field {
    Field { offset, size: Long }
}
