//! The function of [`crate::established`]'s program that sets a socket's options.

use crate::assembler::{Assembler, Condition, Helper, Label, Operation, Register, Size};
use crate::established::{Maps, OwnValues, SOCKET, count, make_zero_the_longest};
use crate::fields::Field;
use crate::sock_settings::{AUTO, CAP, ENFORCE, FILL, UNSET, index, place, store_settings};
use Condition::{AtMost, Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use Size::{Long, Word};
use keepalive_policy::SocketOption;
use keepalive_policy::option::{BY_EBPF, ByEbpf, KernelField};

/// The function that applies the settings at R2 to the socket of the context in R1. It follows
/// `keepalive_policy::resolve`: options at the kernel's default get the policy's value, and options that the
/// program has set are resolved by the mode.
pub(crate) struct Apply<'a> {
    pub(crate) code: &'a mut Assembler,
    pub(crate) maps: &'a Maps,
    pub(crate) own: OwnValues,
    pub(crate) refusals: usize,
    /// Whether some settings have a user timeout that is computed from the times.
    pub(crate) has_automatic: bool,
}

// Stack slots: the value to set, the current value.
const NUMBER: i16 = -4;
const CURRENT: i16 = -8;

impl Apply<'_> {
    /// Emits the function. R6 = the context, R7 = the settings, R8 = the socket's structure, R9 = the option's value.
    pub(crate) fn emit(mut self) {
        let end = self.code.label();
        let code = &mut *self.code;
        code.copy(R6, R1);
        code.copy(R7, R2);
        if let OwnValues::Fields(_) = self.own {
            code.load(Long, R1, R6, SOCKET);
            code.jump_if(R1, Equal, 0, end);
            code.call(Helper::SkcToTcpSock);
            code.jump_if(R0, Equal, 0, end);
            code.copy(R8, R0);
        }
        for option in BY_EBPF {
            self.option(option);
        }
        if let Some(sock_settings) = self.maps.sock_settings {
            let code = &mut *self.code;
            code.load(Long, R2, R6, SOCKET);
            code.jump_if(R2, Equal, 0, end);
            store_settings(code, sock_settings, R7, 0, end);
        }
        self.code.place(end);
        self.code.exit_with(0);
    }

    fn option(&mut self, option: SocketOption) {
        let [set, skip] = [(); 2].map(|()| self.code.label());
        self.code.load(Word, R9, R7, place(option));
        self.code.jump_if_word(R9, Equal, UNSET, skip);
        if option == SocketOption::UserTimeout && self.has_automatic {
            self.make_automatic(skip);
        }
        // Keepalive has no such field: the kernel does not show whether the program switched it off, and
        // setting it again does no harm.
        if let ByEbpf::Unless(field) = option.row().by_ebpf {
            self.code.load(Word, R1, R7, 0);
            self.code.jump_if(R1, Equal, ENFORCE.cast_signed(), set);
            self.unless_own(option, set, skip);
            self.code.load(Word, R1, R7, 0);
            self.code.jump_if(R1, Equal, FILL.cast_signed(), skip);
            self.resolve(option, field, set, skip);
        }
        self.code.place(set);
        self.code.store(Word, R10, NUMBER, R9);
        self.ask(Helper::SetSockOpt, option, NUMBER);
        self.code.jump_if(R0, Equal, 0, skip);
        count(self.code, self.maps.counters, self.refusals);
        self.code.place(skip);
    }

    /// Computes the user timeout from the connection's own times, in milliseconds, up to the kernel's limit.
    /// Goes to `skip` if the times cannot be read.
    fn make_automatic(&mut self, skip: Label) {
        let [done, unknown, is_known] = [(); 3].map(|()| self.code.label());
        let limit = SocketOption::UserTimeout.row().range.1;
        self.code.jump_if_word(R9, Different, AUTO, done);
        for (option, operation) in [
            (SocketOption::Interval, None),
            (SocketOption::Count, Some(Operation::Multiply)),
            (SocketOption::Idle, Some(Operation::Add)),
        ] {
            self.effective(option, unknown);
            match operation {
                None => self.code.copy(R9, R1),
                Some(operation) => self.code.compute_register(operation, R9, R1),
            }
        }
        self.code.compute(Operation::Multiply, R9, 1000);
        if let OwnValues::Fields(fields) = self.own {
            self.code.compute(Operation::Divide, R9, fields.hz);
        }
        self.code.set_long(R1, limit.into());
        self.code.jump_if_registers(R9, AtMost, R1, is_known);
        self.code.copy(R9, R1);
        self.code.jump(is_known);
        self.code.place(unknown);
        // The verifier rejects unreachable instructions.
        if self.code.is_used(unknown) {
            count(self.code, self.maps.counters, self.refusals);
            self.code.set(R2, UNSET.cast_signed());
            self.code.keep_word(R2);
            self.store_user_timeout();
            self.code.jump(skip);
        }
        self.code.place(is_known);
        self.code.copy(R2, R9);
        self.store_user_timeout();
        self.code.place(done);
    }

    /// Stores R2 as the user timeout of the settings. Writes the preceding value too, since all eight bytes
    /// are written at once.
    fn store_user_timeout(&mut self) {
        const PAIR: i16 = place(SocketOption::UserTimeout) - 4;
        const { assert!(PAIR % 8 == 0, "the user timeout is the second of two numbers") };
        self.code.load(Word, R1, R7, PAIR);
        self.code.join_words(R1, R2);
        self.code.store(Long, R7, PAIR, R1);
    }

    /// R1 = the effective value of a time or the count on the socket. Times are in jiffies if the kernel's
    /// fields are read. Goes to `unknown` if the value cannot be read.
    fn effective(&mut self, option: SocketOption, unknown: Label) {
        let fields = match self.own {
            OwnValues::Differ { .. } => {
                self.ask(Helper::GetSockOpt, option, CURRENT);
                self.code.jump_if(R0, Different, 0, unknown);
                return self.code.load(Word, R1, R10, CURRENT);
            }
            OwnValues::Fields(fields) => fields,
        };
        let Some(defaults) = fields.defaults else {
            return self.code.jump(unknown);
        };
        let is_set = self.code.label();
        load(self.code, R8, fields.set[index(option)]);
        self.code.jump_if(R1, Different, 0, is_set);
        self.code.load(Long, R1, R8, defaults.namespace);
        load(self.code, R1, defaults.sysctls[index(option)]);
        self.code.place(is_set);
    }

    /// Goes to `kernel_default` if the option has the kernel's default, to `unknown` if its value cannot be read.
    fn unless_own(&mut self, option: SocketOption, kernel_default: Label, unknown: Label) {
        let fresh = match self.own {
            OwnValues::Fields(fields) => {
                load(self.code, R8, fields.set[index(option)]);
                self.code.jump_if(R1, Equal, 0, kernel_default);
                return;
            }
            OwnValues::Differ { kernel_default } => [
                Some(kernel_default[index(option)]),
                option.row().kernel_default.built_in(),
            ],
        };
        let known = self.code.label();
        self.ask(Helper::GetSockOpt, option, CURRENT);
        self.code.jump_if(R0, Equal, 0, known);
        count(self.code, self.maps.counters, self.refusals);
        self.code.jump(unknown);
        self.code.place(known);
        self.code.load(Word, R1, R10, CURRENT);
        for number in fresh.into_iter().flatten() {
            self.code.jump_if(R1, Equal, number.cast_signed(), kernel_default);
        }
    }

    /// Goes to `set` if the policy's value takes precedence over the program's in the modes cap and floor,
    /// else to `skip`.
    fn resolve(&mut self, option: SocketOption, in_kernel: KernelField, set: Label, skip: Label) {
        let floor = self.code.label();
        self.code.copy(R2, R9);
        match self.own {
            OwnValues::Fields(fields) => {
                load(self.code, R8, fields.set[index(option)]);
                if in_kernel.is_in_jiffies {
                    self.code.compute(Operation::Multiply, R2, fields.hz);
                }
            }
            // The value was read earlier, and is still on the stack.
            OwnValues::Differ { .. } => self.code.load(Word, R1, R10, CURRENT),
        }
        if option == SocketOption::UserTimeout {
            make_zero_the_longest(self.code);
        }
        self.code.load(Word, R3, R7, 0);
        self.code.jump_if(R3, Different, CAP.cast_signed(), floor);
        self.code.jump_if_registers(R2, Below, R1, set);
        self.code.jump(skip);
        self.code.place(floor);
        self.code.jump_if_registers(R2, AtMost, R1, skip);
    }

    /// R0 = the result of getsockopt(2) or setsockopt(2) for `option`, with four bytes of the stack as its value.
    fn ask(&mut self, helper: Helper, option: SocketOption, place: i16) {
        self.code.copy(R1, R6);
        self.code.set(R2, option.row().level);
        self.code.set(R3, option.row().optname);
        self.code.copy(R4, R10);
        self.code.compute(Operation::Add, R4, place.into());
        self.code.set(R5, 4);
        self.code.call(helper);
    }
}

/// R1 = the value of `field` in the structure at `base`; 0 if there is no such field.
fn load(code: &mut Assembler, base: Register, field: Option<Field>) {
    match field {
        Some(Field { offset, size }) => code.load(size, R1, base, offset),
        None => code.set(R1, 0),
    }
}
