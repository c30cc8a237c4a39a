//! A program that tests whether programs can read the options of a socket (`bpf_getsockopt()` since Linux 6.1).

use crate::assembler::{Assembler, Condition, Helper, Instruction, Map, Operation, Register, Size};
use crate::established::{LISTEN, OPERATION};
use keepalive_policy::SocketOption;
use std::io;

/// The result if the program could read an option.
pub const READ: u64 = 1;
/// The result if the program could not read an option.
pub const NOT_READ: u64 = 2;

/// Returns the program, which changes nothing. Whenever a socket listens (`BPF_PROG_TYPE_SOCK_OPS`), the
/// program writes its result to `result`, a [`keepalive_sys::bpf::call::MapKind::Single`] of eight bytes.
///
/// # Errors
/// Only errors that the tests would detect.
pub fn program(result: Map) -> io::Result<Vec<Instruction>> {
    use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R10};
    let mut code = Assembler::default();
    let [end, write] = [(); 2].map(|()| code.label());
    let option = SocketOption::Idle.row();
    code.copy(R6, R1);
    code.load(Size::Word, R1, R6, OPERATION);
    code.jump_if(R1, Condition::Different, LISTEN, end);
    code.copy(R1, R6);
    code.set(R2, option.level);
    code.set(R3, option.optname);
    code.copy(R4, R10);
    code.compute(Operation::Add, R4, -8);
    code.set(R5, 4);
    code.call(Helper::GetSockOpt);
    code.set_any(R7, READ);
    code.jump_if(R0, Condition::Equal, 0, write);
    code.set_any(R7, NOT_READ);
    code.place(write);
    code.map_value(R1, result, 0);
    code.store(Size::Long, R1, 0, R7);
    code.place(end);
    code.exit_with(1);
    code.finish()
}
