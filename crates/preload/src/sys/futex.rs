//! Uses futex(2), the only system call here that every seccomp filter allows under which a C library works.

use super::{Errno, call, number, result};
use core::ffi::{c_long, c_void};
use core::sync::atomic::AtomicU32;

const FUTEX_WAIT_PRIVATE: c_long = 128;
const FUTEX_CMP_REQUEUE_PRIVATE: c_long = 4 | 128;
/// The size of the smallest page on the architectures here.
const PAGE: usize = 4096;

/// Whether the kernel can read `length` bytes at `address`. `length` must be from 1 to `PAGE`, so the bytes are within
/// two pages.
pub(crate) fn is_readable(address: *const c_void, length: usize) -> bool {
    let first = address.addr();
    let Some(last) = length.checked_sub(1).and_then(|offset| first.checked_add(offset)) else {
        return false;
    };
    is_word_readable(first) && (first / PAGE == last / PAGE || is_word_readable(last))
}

/// Whether the kernel can read the aligned word around `address`. The call has no side effect: with FUTEX_CMP_REQUEUE
/// the kernel compares the word and moves none of its waiters (`kernel/futex/requeue.c`).
///
/// rt_sigprocmask(2) with an invalid operation would also work, but valgrind reports that as an error. write(2) to a
/// pipe needs a descriptor.
fn is_word_readable(address: usize) -> bool {
    const EAGAIN: Errno = Errno(11);
    let word = (address & !3) as c_long;
    // SAFETY: futex(2) reads the word, or refuses; it wakes and moves no waiters.
    let returned = unsafe { call(number::FUTEX, [word, FUTEX_CMP_REQUEUE_PRIVATE, 0, 0, word, 0]) };
    matches!(result(returned), Ok(_) | Err(EAGAIN))
}

/// Waits for 100 µs. Returns at once if `word` is no longer `value`.
pub(crate) fn wait_100_us(word: &AtomicU32, value: u32) {
    let time: [c_long; 2] = [0, 100_000];
    let arguments = [
        word.as_ptr() as c_long,
        FUTEX_WAIT_PRIVATE,
        value as c_long,
        &raw const time as c_long,
        0,
        0,
    ];
    // SAFETY: futex(2) reads a word and a `struct timespec`, both live; it wakes no thread.
    let _ = unsafe { call(number::FUTEX, arguments) };
}
