//! The program that enforces the policy after connections are established (`BPF_PROG_TYPE_CGROUP_SOCKOPT`).
//! It changes the value of a setsockopt(2) call as the mode requires, and the call succeeds.
//!
//! The settings of a socket are stored when its connection is established, so this program is the same for
//! every policy.

use crate::assembler::{Assembler, Condition, Helper, Instruction, Label, Map, Operation, Register, Size};
use crate::established::make_zero_the_longest;
use crate::sock_settings::{CAP, FILL, FLOOR, UNSET, place};
use Condition::{Above, AtLeast, AtMost, Below, Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use Size::{Long, Word};
use keepalive_policy::SocketOption;
use keepalive_policy::option::{BY_EBPF, IPPROTO_TCP, SOL_SOCKET};
use std::io;

// `struct bpf_sockopt` (`include/uapi/linux/bpf.h`).
const SOCKET: i16 = 0;
const VALUE: i16 = 8;
const VALUE_END: i16 = 16;
const LEVEL: i16 = 24;
const NAME: i16 = 28;
const LENGTH: i16 = 32;

/// The kernel shows the program at most one page of a value (`kernel/bpf/cgroup.c`). Pages have at least this size.
const PAGE: i32 = 4096;

/// Returns the program, which uses the map of [`crate::established::Maps::sock_settings`].
///
/// # Errors
/// Only errors that the tests would detect.
pub fn program(sock_settings: Map) -> io::Result<Vec<Instruction>> {
    let mut code = Assembler::default();
    let [pass, socket_level, ask, found] = [(); 4].map(|()| code.label());
    code.copy(R6, R1);
    code.load(Word, R1, R6, LEVEL);
    code.load(Word, R9, R6, NAME);
    code.jump_if(R1, Equal, SOL_SOCKET, socket_level);
    code.jump_if(R1, Different, IPPROTO_TCP, pass);
    for option in BY_EBPF.into_iter().filter(|option| is_of_tcp(*option)) {
        code.jump_if(R9, Equal, option.row().optname, ask);
    }
    code.jump(pass);
    code.place(socket_level);
    code.jump_if(R9, Different, SocketOption::Keepalive.row().optname, pass);
    code.place(ask);
    // The kernel may show the program more bytes than the value has.
    code.load(Word, R1, R6, LENGTH);
    code.jump_if(R1, Below, 4, pass);
    code.map(R1, sock_settings);
    code.load(Long, R2, R6, SOCKET);
    code.set(R3, 0);
    code.set(R4, 0);
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Different, 0, found);

    // Otherwise the kernel would refuse a value that is longer than the part that it showed.
    code.place(pass);
    let short = code.label();
    code.load(Word, R1, R6, LENGTH);
    code.jump_if(R1, AtMost, PAGE, short);
    set_length(&mut code, 0);
    code.place(short);
    code.exit_with(1);

    // R7 = the settings, R8 = the value, R2 = the number that the program sets.
    code.place(found);
    code.copy(R7, R0);
    code.load(Long, R8, R6, VALUE);
    code.load(Long, R1, R6, VALUE_END);
    code.copy(R2, R8);
    code.compute(Operation::Add, R2, 4);
    code.jump_if_registers(R2, Above, R1, pass);
    code.load(Word, R2, R8, 0);
    // The mode fill changes no calls.
    code.load(Word, R3, R7, 0);
    code.jump_if(R3, Equal, FILL.cast_signed(), pass);
    // The same number means keepalive on one level and another option on the other level.
    let keepalive = code.label();
    code.load(Word, R1, R6, LEVEL);
    code.jump_if(R1, Equal, SOL_SOCKET, keepalive);
    for option in BY_EBPF.into_iter().filter(|option| is_of_tcp(*option)) {
        let other = code.label();
        code.jump_if(R9, Different, option.row().optname, other);
        clamp(&mut code, option, pass);
        code.place(other);
    }
    code.jump(pass);
    code.place(keepalive);
    clamp_switch(&mut code, pass);
    code.finish()
}

fn is_of_tcp(option: SocketOption) -> bool {
    option.row().level == IPPROTO_TCP
}

/// R1 = the policy's value of `option`; goes to `pass` if it has none.
fn load_ours(code: &mut Assembler, option: SocketOption, pass: Label) {
    code.load(Word, R1, R7, place(option));
    code.jump_if_word(R1, Equal, UNSET, pass);
}

/// Goes to `pass` or ends the program.
fn clamp(code: &mut Assembler, option: SocketOption, pass: Label) {
    let [floor, ours] = [(); 2].map(|()| code.label());
    let (smallest, largest) = option.row().range;
    // Values that the kernel refuses are passed to the kernel, so that the call fails.
    if smallest > 0 {
        code.jump_if(R2, Below, smallest.cast_signed(), pass);
    }
    code.jump_if(R2, Above, largest.cast_signed(), pass);
    load_ours(code, option, pass);
    code.copy(R9, R1);
    if option == SocketOption::UserTimeout {
        make_zero_the_longest(code);
    }
    code.load(Word, R3, R7, 0);
    code.jump_if(R3, Equal, FLOOR.cast_signed(), floor);
    code.jump_if(R3, Different, CAP.cast_signed(), ours);
    code.jump_if_registers(R2, AtMost, R1, pass);
    code.jump(ours);
    code.place(floor);
    code.jump_if_registers(R2, AtLeast, R1, pass);
    code.place(ours);
    write(code, R9);
}

/// The same for keepalive itself: changes only a call that switches it off against the mode.
fn clamp_switch(code: &mut Assembler, pass: Label) {
    load_ours(code, SocketOption::Keepalive, pass);
    code.jump_if(R2, Different, 0, pass);
    code.load(Word, R3, R7, 0);
    code.jump_if(R3, Equal, FLOOR.cast_signed(), pass);
    write(code, R1);
}

/// Passes this value to the kernel instead of the program's value, and ends.
fn write(code: &mut Assembler, number: Register) {
    code.store(Word, R8, 0, number);
    set_length(code, 4);
    code.exit_with(1);
}

fn set_length(code: &mut Assembler, length: i32) {
    code.set(R1, length);
    code.store(Word, R6, LENGTH, R1);
}
