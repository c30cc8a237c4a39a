//! The system calls that a confined program may not make, because namespaces and missing capabilities do not
//! prevent them.

use crate::arch::{CONFINED, Confined};
use libc::{sock_filter, sock_fprog};
use std::io;

/// `io_uring_setup`, whose operations no filter sees, and `clone3`, whose flags no filter sees; the numbers
/// are the same on every architecture (`asm-generic/unistd.h`). Programs work without these calls.
const MISSING: [u32; 2] = [425, 435];
/// `__X32_SYSCALL_BIT`; without this bit the calls have the same numbers.
const X32: u32 = 0x4000_0000;
/// `CLONE_NEW*` (`linux/sched.h`).
const NAMESPACES: u32 = 0x7e02_0000;

// The offsets of the fields in `struct seccomp_data`; both architectures are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

/// Returns the program for the kernel.
pub(super) fn program() -> Vec<sock_filter> {
    let mut code = vec![load(ARCH)];
    for numbers in CONFINED {
        let block = architecture(numbers);
        code.push(jump(libc::BPF_JEQ, numbers.arch, 0, block.len()));
        code.extend(block);
    }
    // Programs for other architectures are not tried.
    code.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    code
}

/// Emits the code for one architecture, which never falls through.
fn architecture(numbers: &Confined) -> Vec<sock_filter> {
    let mut code = vec![
        load(NUMBER),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, !X32),
    ];
    let refused = numbers.refused.iter().map(|number| (*number, REFUSED));
    for (number, value) in refused.chain(MISSING.map(|number| (number, ABSENT))) {
        code.extend([jump(libc::BPF_JEQ, number, 0, 1), answer(value)]);
    }
    // Refuses a new limit: checks both halves of its address.
    code.extend([
        jump(libc::BPF_JEQ, numbers.limits, 0, 6),
        load(argument(2)),
        jump(libc::BPF_JEQ, 0, 0, 2),
        load(argument(2) + 4),
        jump(libc::BPF_JEQ, 0, 1, 0),
        answer(REFUSED),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    code.extend([
        jump(libc::BPF_JEQ, numbers.clone, 0, 3),
        load(argument(0)),
        jump(libc::BPF_JSET, NAMESPACES, 0, 1),
        answer(REFUSED),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    code
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value)
}

/// Returns a jump that skips `holds` instructions if the comparison holds, and `not` otherwise.
fn jump(comparison: u32, value: u32, holds: usize, not: usize) -> sock_filter {
    let [jt, jf] = [holds, not].map(|count| u8::try_from(count).expect("blocks are short"));
    sock_filter {
        jt,
        jf,
        ..instruction(libc::BPF_JMP | comparison | libc::BPF_K, value)
    }
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt: 0,
        jf: 0,
        k,
    }
}

/// Applies the filter to this process and its future children, permanently. The process must have no_new_privs.
///
/// # Errors
/// `EINVAL` if the kernel does not support filters.
pub(super) fn install(program: &[sock_filter]) -> io::Result<()> {
    let filter = sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: prctl(2) copies the program, which lives through the call, and does not change it.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
