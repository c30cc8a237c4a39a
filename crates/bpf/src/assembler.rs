//! A typed assembler for eBPF (RFC 9669): registers, sizes and helpers by name, jumps to labels.

pub use keepalive_sys::bpf::Instruction;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;

/// The registers. 0 contains the result of a call and of the program. 1 to 5 contain arguments, and a call
/// overwrites them. A call preserves 6 to 9. 10 points to the end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the RFC's names")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// The size of a read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    Byte = 0x10,
    /// Two bytes.
    Half = 0x08,
    /// Four bytes.
    Word = 0x00,
    /// Eight bytes.
    Long = 0x18,
}

/// An operation on all 64 bits of its first operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are arithmetic's")]
pub enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    Divide = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    ExclusiveOr = 0xa0,
}

/// The condition of a jump. Values are unsigned unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are arithmetic's")]
pub enum Condition {
    Equal = 0x10,
    Above = 0x20,
    AtLeast = 0x30,
    Different = 0x50,
    /// Signed.
    Greater = 0x60,
    Below = 0xa0,
    AtMost = 0xb0,
}

/// The kernel's functions for programs (bpf-helpers(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names")]
pub enum Helper {
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    KtimeGetNs = 5,
    GetCurrentPidTgid = 14,
    GetCurrentTask = 35,
    ProbeReadKernel = 113,
    GetCurrentTaskBtf = 158,
    GetSocketCookie = 46,
    SetSockOpt = 49,
    GetSockOpt = 57,
    SockOpsCbFlagsSet = 59,
    SkStorageGet = 107,
    SeqWrite = 127,
    Jiffies64 = 118,
    RingbufReserve = 131,
    RingbufSubmit = 132,
    SkcToTcpSock = 137,
}

/// A map that a program uses, by a descriptor of the process that loads the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map(pub i32);

/// A position in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    instructions: Vec<Instruction>,
    places: HashMap<Label, usize>,
    /// Jumps and calls, with their targets.
    jumps: Vec<(usize, Label)>,
    labels: usize,
}

// The next four opcodes are combined with a size.
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_NUMBER: u8 = 0x62;
const STORE_ATOMIC: u8 = 0xc3;
const LOAD_LONG: u8 = 0x18;
const ALU: u8 = 0x07;
const ALU_WORD: u8 = 0x04;
const MOVE: u8 = 0xb0;
const TO_BIG_ENDIAN: u8 = 0xdc;
const JUMP: u8 = 0x05;
const JUMP_WORD: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// A flag: the second operand is a register.
const WITH_REGISTER: u8 = 0x08;
/// The kind of the value in [`LOAD_LONG`] (`BPF_PSEUDO_MAP_FD`, `BPF_PSEUDO_MAP_VALUE`).
const A_MAP: u8 = 1;
const A_MAP_VALUE: u8 = 2;
/// A call within the program (`BPF_PSEUDO_CALL`).
const LOCAL: u8 = 1;

impl Assembler {
    /// Returns a new label without a position.
    pub(crate) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// Sets the position of `label` to the next instruction.
    pub(crate) fn place(&mut self, label: Label) {
        self.places.insert(label, self.instructions.len());
    }

    /// Returns whether a jump or call to `label` exists so far.
    pub(crate) fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, used)| *used == label)
    }

    /// `to` = `number`, sign-extended.
    pub(crate) fn set(&mut self, to: Register, number: i32) {
        self.emit(ALU | MOVE, to, Register::R0, 0, number);
    }

    /// `to` = `from`.
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.emit(ALU | MOVE | WITH_REGISTER, to, from, 0, 0);
    }

    /// `to` = this 64-bit value, by the shorter instruction if possible.
    pub(crate) fn set_any(&mut self, to: Register, number: u64) {
        match i32::try_from(number.cast_signed()) {
            Ok(number) => self.set(to, number),
            Err(_) => self.set_long(to, number),
        }
    }

    /// `to` = this 64-bit value.
    pub(crate) fn set_long(&mut self, to: Register, number: u64) {
        self.long(to, Register::R0, number);
    }

    /// `to` = the address of a map, for helpers.
    pub(crate) fn map(&mut self, to: Register, map: Map) {
        self.emit(LOAD_LONG, to, register(A_MAP), 0, map.0);
        self.emit(0, Register::R0, Register::R0, 0, 0);
    }

    /// `to` = the address of byte `offset` in the only value of an array map (Linux 5.2).
    pub(crate) fn map_value(&mut self, to: Register, map: Map, offset: u32) {
        self.emit(LOAD_LONG, to, register(A_MAP_VALUE), 0, map.0);
        self.emit(0, Register::R0, Register::R0, 0, offset.cast_signed());
    }

    /// `to` = `to` *operation* `number`.
    pub(crate) fn compute(&mut self, operation: Operation, to: Register, number: i32) {
        self.emit(ALU | operation as u8, to, Register::R0, 0, number);
    }

    /// `to` = `to` *operation* `from`.
    pub(crate) fn compute_register(&mut self, operation: Operation, to: Register, from: Register) {
        self.emit(ALU | operation as u8 | WITH_REGISTER, to, from, 0, 0);
    }

    /// `to` = the lower four bytes of `to`.
    pub(crate) fn keep_word(&mut self, to: Register) {
        self.emit(ALU_WORD | MOVE | WITH_REGISTER, to, to, 0, 0);
    }

    /// Converts the lower four bytes of `to` between host and network byte order.
    pub(crate) fn swap_network_word(&mut self, to: Register) {
        self.emit(TO_BIG_ENDIAN, to, Register::R0, 0, 32);
    }

    /// `to` = the value in memory.
    pub(crate) fn load(&mut self, size: Size, to: Register, base: Register, offset: i16) {
        self.emit(LOAD | size as u8, to, base, offset, 0);
    }

    /// Stores `from` in memory.
    pub(crate) fn store(&mut self, size: Size, base: Register, offset: i16, from: Register) {
        self.emit(STORE | size as u8, base, from, offset, 0);
    }

    /// Stores `number` on the stack, sign-extended to `size`. Before Linux 6.4 the verifier rejects this
    /// instruction for the context, so there is no variant for other memory.
    pub(crate) fn store_number(&mut self, size: Size, offset: i16, number: i32) {
        self.emit(STORE_NUMBER | size as u8, Register::R10, Register::R0, offset, number);
    }

    /// `first` = the eight bytes that these two four-byte values form in memory, in this order. Overwrites `second`.
    pub(crate) fn join_words(&mut self, first: Register, second: Register) {
        let upper = if cfg!(target_endian = "little") { second } else { first };
        self.compute(Operation::ShiftLeft, upper, 32);
        self.compute_register(Operation::Or, first, second);
    }

    /// Adds `from` to the eight bytes in memory, atomically.
    pub(crate) fn add_atomically(&mut self, base: Register, from: Register) {
        self.emit(STORE_ATOMIC | Size::Long as u8, base, from, 0, 0);
    }

    /// Jumps to `label`.
    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(JUMP, Register::R0, Register::R0, 0, 0);
    }

    /// Jumps to `label` if `condition` holds for `left` and the sign-extended `number`.
    pub(crate) fn jump_if(&mut self, left: Register, condition: Condition, number: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(JUMP | condition as u8, left, Register::R0, 0, number);
    }

    /// The same for the lower four bytes of `left` (Linux 5.1).
    pub(crate) fn jump_if_word(&mut self, left: Register, condition: Condition, number: u32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(JUMP_WORD | condition as u8, left, Register::R0, 0, number.cast_signed());
    }

    /// The same for two registers.
    pub(crate) fn jump_if_registers(&mut self, left: Register, condition: Condition, right: Register, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(JUMP | condition as u8 | WITH_REGISTER, left, right, 0, 0);
    }

    /// R0 = the result of the kernel's function.
    pub(crate) fn call(&mut self, helper: Helper) {
        self.emit(CALL, Register::R0, Register::R0, 0, helper as i32);
    }

    /// R0 = the result of a function of this program (Linux 4.16).
    pub(crate) fn call_local(&mut self, function: Label) {
        self.jumps.push((self.instructions.len(), function));
        self.emit(CALL, Register::R0, register(LOCAL), 0, 0);
    }

    /// Ends a function or the program.
    pub(crate) fn exit(&mut self) {
        self.emit(EXIT, Register::R0, Register::R0, 0, 0);
    }

    /// Ends a function or the program with this result.
    pub(crate) fn exit_with(&mut self, result: i32) {
        self.set(Register::R0, result);
        self.exit();
    }

    /// Returns the program.
    ///
    /// # Errors
    /// `E2BIG` if a jump spans more than 32,767 instructions.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Instruction>> {
        let too_far = |_| io::Error::from(Errno::TOOBIG);
        for (from, label) in self.jumps {
            let missing = || io::Error::other("a label that is nowhere");
            let to = *self.places.get(&label).ok_or_else(missing)?;
            let [from_number, to] = [from, to].map(|place| i32::try_from(place).unwrap_or(i32::MAX));
            let distance = to - from_number - 1;
            let instruction = self.instructions.get_mut(from).ok_or_else(missing)?;
            if instruction.code == CALL {
                instruction.immediate = distance;
            } else {
                instruction.offset = distance.try_into().map_err(too_far)?;
            }
        }
        Ok(self.instructions)
    }

    fn long(&mut self, to: Register, kind: Register, number: u64) {
        let [low, high] = [number, number >> 32].map(|half| (half & 0xffff_ffff) as u32);
        self.emit(LOAD_LONG, to, kind, 0, low.cast_signed());
        self.emit(0, Register::R0, Register::R0, 0, high.cast_signed());
    }

    fn emit(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.instructions.push(Instruction {
            code,
            registers: (from as u8) << 4 | to as u8,
            offset,
            immediate,
        });
    }
}

/// Returns the register for a number that has another meaning in the same field.
const fn register(number: u8) -> Register {
    if number == 1 { Register::R1 } else { Register::R2 }
}
