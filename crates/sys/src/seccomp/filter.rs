//! The filter: a classic BPF program over `struct seccomp_data` (`linux/seccomp.h`).

use crate::arch::{CAUGHT, Caught};
use keepalive_policy::option::{IPPROTO_TCP, SOL_SOCKET};
use keepalive_policy::protocol::{PASSING_LENGTH, PASSING_OPTION_LENGTH, PASSING_OPTION_MARK};
use keepalive_policy::{OPTIONS, SocketOption};
use libc::sock_filter;

/// The filter's action for setsockopt(2) of one option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetOption {
    /// The call is not caught.
    #[default]
    Pass,
    /// The call waits for the supervisor.
    Ask,
}

/// The filter's action for io_uring, whose operations no filter sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoUring {
    /// Programs may use it. `io_uring_setup(2)` waits for the supervisor, which looks after their sockets.
    #[default]
    Allow,
    /// `io_uring_setup(2)` fails with `ENOSYS`, as on kernels without it.
    Deny,
}

/// The calls that are caught in addition to `connect(2)`, `listen(2)` and sends that open a connection
/// (`MSG_FASTOPEN`).
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The action for each option, in the order of [`OPTIONS`].
    pub set_option: [SetOption; OPTIONS.len()],
    /// The action for io_uring.
    pub io_uring: IoUring,
}

/// The number of `io_uring_setup(2)` on every architecture (`asm-generic/unistd.h`).
pub(super) const IO_URING_SETUP: u32 = 425;
/// `SYS_CONNECT` and others (`linux/net.h`): the first argument of `socketcall(2)`.
const SOCKETCALL_CONNECT: u32 = 3;
const SOCKETCALL_LISTEN: u32 = 4;
const SOCKETCALL_SENDTO: u32 = 11;
const SOCKETCALL_SETSOCKOPT: u32 = 14;
const SOCKETCALL_SENDMSG: u32 = 16;
const SOCKETCALL_SENDMMSG: u32 = 20;

/// A caught call, under whatever name the architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Listen,
    SendTo,
    SendMsg,
    SendMmsg,
    SetOption,
    /// The actual call is the first argument; its arguments are in memory.
    Socketcall,
}

impl Kind {
    /// Returns the call with this number on this architecture, if it may be caught.
    pub(super) fn of(arch: u32, number: u32) -> Option<Self> {
        let numbers = CAUGHT.iter().find(|numbers| numbers.arch == arch)?;
        Some(match number {
            _ if number == numbers.connect => Self::Connect,
            _ if number == numbers.listen => Self::Listen,
            _ if number == numbers.sendto => Self::SendTo,
            _ if number == numbers.sendmsg => Self::SendMsg,
            _ if number == numbers.sendmmsg => Self::SendMmsg,
            _ if number == numbers.setsockopt => Self::SetOption,
            _ if Some(number) == numbers.socketcall => Self::Socketcall,
            _ => return None,
        })
    }

    /// Returns the call that the first argument of `socketcall(2)` names.
    pub(super) fn of_socketcall(number: u64) -> Option<Self> {
        Some(match u32::try_from(number).ok()? {
            SOCKETCALL_CONNECT => Self::Connect,
            SOCKETCALL_LISTEN => Self::Listen,
            SOCKETCALL_SENDTO => Self::SendTo,
            SOCKETCALL_SENDMSG => Self::SendMsg,
            SOCKETCALL_SENDMMSG => Self::SendMmsg,
            SOCKETCALL_SETSOCKOPT => Self::SetOption,
            _ => return None,
        })
    }
}

/// The size of `struct sockaddr_in`, 16 bytes: a shorter address is not one of TCP.
const SHORTEST_ADDRESS: u32 = 16;

impl Filter {
    /// Returns the program for the kernel.
    pub fn program(&self) -> Vec<sock_filter> {
        let mut code = Assembler::default();
        code.load(ARCH);
        for numbers in &CAUGHT {
            code.unless_equal(numbers.arch, |code| self.architecture(code, numbers));
        }
        code.answer(ALLOW);
        code.instructions
    }

    /// Emits the code for one architecture, which never falls through.
    fn architecture(&self, code: &mut Assembler, numbers: &Caught) {
        code.load(NUMBER);
        code.unless_equal(numbers.connect, |code| {
            code.load(argument(2));
            code.unless_below(SHORTEST_ADDRESS, |code| {
                code.if_other(PASSING_LENGTH, |code| code.answer(NOTIFY));
            });
            code.answer(ALLOW);
        });
        code.unless_equal(numbers.listen, |code| code.answer(NOTIFY));
        for (number, flags) in [(numbers.sendto, 3), (numbers.sendmsg, 2), (numbers.sendmmsg, 3)] {
            code.unless_equal(number, |code| {
                code.load(argument(flags));
                code.if_any(libc::MSG_FASTOPEN.cast_unsigned(), |code| code.answer(NOTIFY));
                code.answer(ALLOW);
            });
        }
        if self.set_option.iter().any(|action| *action != SetOption::Pass) {
            code.unless_equal(numbers.setsockopt, |code| self.set_option(code));
        }
        if let Some(socketcall) = numbers.socketcall {
            code.unless_equal(socketcall, |code| self.socketcall(code));
        }
        let io_uring = match self.io_uring {
            IoUring::Allow => NOTIFY,
            IoUring::Deny => ERRNO | libc::ENOSYS.cast_unsigned(),
        };
        code.unless_equal(IO_URING_SETUP, |code| code.answer(io_uring));
        code.answer(ALLOW);
    }

    fn set_option(&self, code: &mut Assembler) {
        for level in [SOL_SOCKET, IPPROTO_TCP] {
            let caught = |option: &SocketOption| option.row().level == level && self.action(*option) != SetOption::Pass;
            if !OPTIONS.iter().any(caught) {
                continue;
            }
            code.load(argument(1));
            code.unless_equal(level.cast_unsigned(), |code| {
                code.load(argument(4));
                code.unless_equal(PASSING_OPTION_LENGTH, |code| {
                    code.load(argument(5));
                    code.unless_equal(PASSING_OPTION_MARK, |code| code.answer(ALLOW));
                });
                code.load(argument(2));
                for option in OPTIONS.iter().filter(|option| caught(option)) {
                    code.unless_equal(option.row().optname.cast_unsigned(), |code| {
                        code.answer(NOTIFY);
                    });
                }
                code.answer(ALLOW);
            });
        }
        code.answer(ALLOW);
    }

    /// Emits the code for `socketcall(2)`, whose arguments are in memory, which the filter cannot read.
    fn socketcall(&self, code: &mut Assembler) {
        code.load(argument(0));
        for number in [
            SOCKETCALL_CONNECT,
            SOCKETCALL_LISTEN,
            SOCKETCALL_SENDTO,
            SOCKETCALL_SENDMSG,
            SOCKETCALL_SENDMMSG,
        ] {
            code.unless_equal(number, |code| code.answer(NOTIFY));
        }
        if self.set_option.iter().any(|action| *action != SetOption::Pass) {
            code.unless_equal(SOCKETCALL_SETSOCKOPT, |code| code.answer(NOTIFY));
        }
        code.answer(ALLOW);
    }

    /// Returns the action for an option.
    pub fn action(&self, option: SocketOption) -> SetOption {
        self.set_option[option as usize]
    }
}

// The filter's return values (`linux/seccomp.h`).
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

// The offsets of the fields in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// Returns the offset of the lower half of an argument; the kernel reads only this half of the checked arguments.
const fn argument(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// Emits instructions; jumps lead forward, over a block.
#[derive(Default)]
struct Assembler {
    instructions: Vec<sock_filter>,
}

impl Assembler {
    fn load(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    }

    fn answer(&mut self, value: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, value);
    }

    /// Emits a block that runs if the loaded word is `value`. Since the block may load another word, it must
    /// not fall through, or the code after it must load its own word.
    fn unless_equal(&mut self, value: u32, block: impl FnOnce(&mut Self)) {
        self.branch(libc::BPF_JEQ, value, true, block);
    }

    fn if_other(&mut self, value: u32, block: impl FnOnce(&mut Self)) {
        self.branch(libc::BPF_JEQ, value, false, block);
    }

    fn unless_below(&mut self, value: u32, block: impl FnOnce(&mut Self)) {
        self.branch(libc::BPF_JGE, value, true, block);
    }

    fn if_any(&mut self, bits: u32, block: impl FnOnce(&mut Self)) {
        self.branch(libc::BPF_JSET, bits, true, block);
    }

    /// Emits a block that runs if the comparison is `wanted`; otherwise continues after it.
    fn branch(&mut self, comparison: u32, value: u32, wanted: bool, block: impl FnOnce(&mut Self)) {
        let at = self.instructions.len();
        self.push(libc::BPF_JMP | comparison | libc::BPF_K, value);
        block(self);
        // Blocks are far shorter than the longest jump: the tests build the longest.
        let over = u8::try_from(self.instructions.len() - at - 1).unwrap_or(u8::MAX);
        let jump = &mut self.instructions[at];
        if wanted {
            jump.jf = over;
        } else {
            jump.jt = over;
        }
    }

    fn push(&mut self, code: u32, k: u32) {
        self.instructions.push(sock_filter {
            // The codes are far smaller.
            code: u16::try_from(code).unwrap_or(u16::MAX),
            jt: 0,
            jf: 0,
            k,
        });
    }
}

#[cfg(test)]
mod tests;
