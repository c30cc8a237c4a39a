//! Programs for existing connections: iterators over the TCP sockets of a network namespace (`bpf_iter_tcp`).
//! One program reads the sockets, the other sets them.
//!
//! The values to set are decided between the two programs, by the same code as in `keepalive attach`.

use crate::assembler::{Assembler, Condition, Helper, Instruction, Map, Operation, Register, Size};
use crate::sock_settings::{SOCK_SETTINGS_LENGTH, SOCK_SETTINGS_SIZE, UNSET, place, store_settings};
use Condition::{Different, Equal};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use Size::{Long, Word};
use keepalive_policy::SocketOption;
use keepalive_policy::option::BY_EBPF;
use std::io;

/// The kernel's function to which both programs are attached.
pub const FUNCTION: &str = "bpf_iter_tcp";

/// The values of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `SO_COOKIE`.
    pub cookie: u64,
    /// The values of the options in [`BY_EBPF`]; [`UNSET`] if the kernel does not show one.
    pub numbers: [u32; BY_EBPF.len()],
}

/// The size of a [`Seen`] in bytes, rounded up to eight.
const SEEN_SIZE: usize = (8 + 4 * BY_EBPF.len()).next_multiple_of(8);

// `struct bpf_iter__tcp` (`net/ipv4/tcp_ipv4.c`). Its first field points to `struct bpf_iter_meta`, whose
// first field points to the file.
const META: i16 = 0;
const SOCKET: i16 = 8;

/// Returns the program that writes a [`Seen`] for every socket.
///
/// # Errors
/// Only errors that the tests would detect.
pub fn dump() -> io::Result<Vec<Instruction>> {
    let mut code = Assembler::default();
    let begin = -i16::try_from(SEEN_SIZE).map_err(io::Error::other)?;
    socket(&mut code, begin);
    for (option, offset) in BY_EBPF.into_iter().zip((begin + 8..).step_by(4)) {
        let is_known = code.label();
        ask(&mut code, Helper::GetSockOpt, option, offset);
        code.jump_if(R0, Equal, 0, is_known);
        code.store_number(Word, offset, UNSET.cast_signed());
        code.place(is_known);
    }
    if !BY_EBPF.len().is_multiple_of(2) {
        code.store_number(Word, -4, 0);
    }
    code.load(Long, R1, R6, META);
    code.load(Long, R1, R1, 0);
    code.copy(R2, R10);
    code.compute(Operation::Add, R2, begin.into());
    code.set(R3, (-begin).into());
    code.call(Helper::SeqWrite);
    code.exit_with(0);
    code.finish()
}

/// Parses the output of [`look`].
pub fn read(bytes: &[u8]) -> Vec<Seen> {
    let (records, _) = bytes.as_chunks::<SEEN_SIZE>();
    let seen = records.iter().map(|record| {
        let (words, _) = record.as_chunks::<4>();
        Seen {
            cookie: u64::from_ne_bytes(record.as_chunks::<8>().0[0]),
            numbers: std::array::from_fn(|index| u32::from_ne_bytes(words[2 + index])),
        }
    });
    seen.collect()
}

/// Returns the order for a socket, for the map of [`set`]: the values to set now, or [`UNSET`] to leave an
/// option unchanged; then the persistent settings, if the mode is not fill.
pub fn order(now: [u32; BY_EBPF.len()], lasting: &[u8; SOCK_SETTINGS_SIZE as usize]) -> Vec<u8> {
    // The first value is the mode, which setting now does not use.
    let mut order = [0]
        .into_iter()
        .chain(now)
        .flat_map(u32::to_ne_bytes)
        .collect::<Vec<_>>();
    order.resize(SOCK_SETTINGS_SIZE as usize, 0);
    order.extend(lasting);
    order
}

/// The size of an [`order`] in bytes.
pub const ORDER_SIZE: u32 = 2 * SOCK_SETTINGS_SIZE;
/// The offset of the second half of an order.
const LASTING: i16 = SOCK_SETTINGS_LENGTH;

/// Returns the program that sets every socket as `orders` specify, a
/// [`keepalive_sys::bpf::call::MapKind::Hash`] by cookies. `sock_settings` is as in
/// [`crate::established::Maps`].
///
/// # Errors
/// Only errors that the tests would detect.
pub fn set(orders: Map, sock_settings: Option<Map>) -> io::Result<Vec<Instruction>> {
    let mut code = Assembler::default();
    let end = code.label();
    socket(&mut code, -8);
    code.map(R1, orders);
    code.copy(R2, R10);
    code.compute(Operation::Add, R2, -8);
    code.call(Helper::MapLookupElem);
    code.jump_if(R0, Equal, 0, end);
    code.copy(R8, R0);
    for option in BY_EBPF {
        let skip = code.label();
        code.load(Word, R9, R8, place(option));
        code.jump_if_word(R9, Equal, UNSET, skip);
        code.store(Word, R10, -12, R9);
        ask(&mut code, Helper::SetSockOpt, option, -12);
        code.place(skip);
    }
    if let Some(sock_settings) = sock_settings {
        code.copy(R2, R7);
        store_settings(&mut code, sock_settings, R8, LASTING, end);
    }
    code.place(end);
    code.exit_with(0);
    code.finish()
}

/// R6 = the context, R7 = the socket; writes its cookie on the stack. Ends the program for sockets that no
/// process owns.
fn socket(code: &mut Assembler, cookie: i16) {
    let [none, some] = [(); 2].map(|()| code.label());
    code.copy(R6, R1);
    code.load(Long, R1, R6, SOCKET);
    code.jump_if(R1, Equal, 0, none);
    code.call(Helper::SkcToTcpSock);
    code.jump_if(R0, Different, 0, some);
    code.place(none);
    code.exit_with(0);
    code.place(some);
    code.copy(R7, R0);
    code.copy(R1, R7);
    code.call(Helper::GetSocketCookie);
    code.store(Long, R10, cookie, R0);
}

fn ask(code: &mut Assembler, helper: Helper, option: SocketOption, place: i16) {
    code.copy(R1, R7);
    code.set(R2, option.row().level);
    code.set(R3, option.row().optname);
    code.copy(R4, R10);
    code.compute(Operation::Add, R4, place.into());
    code.set(R5, 4);
    code.call(helper);
}
