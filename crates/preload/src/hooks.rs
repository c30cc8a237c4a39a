//! Contains the hooks, one file for each call. The exported function calls the next definition, and `before_…`, `on_…`
//! or `after_…` functions do this library's work. The program always receives the return value of the next definition.

mod socketcall;
mod syscall;

use crate::sys::number;
use core::ffi::c_long;
use syscall::Call;

/// Defines the hooks. Each line names a file, the functions of the C library that the file defines, and the system
/// calls that the file's `by_number` handles when a program makes them with syscall(2). `syscall` itself is the last
/// function, because programs can make all of these calls with it.
macro_rules! hooks {
    ($($file:ident: [$($function:ident)*] for $($number:path)|+;)+) => {
        $(mod $file;)+

        /// The hooked functions, by their names in the C library.
        #[allow(non_camel_case_types, reason = "they are C's")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function {
            $($($function,)*)+
            syscall,
        }

        /// The number of functions.
        pub(crate) const FUNCTIONS: usize = Function::syscall as usize + 1;

        /// The names of the functions in the same order, each with its NUL. They are one text, because an array of
        /// strings would need relocations.
        pub(crate) const NAMES: &[u8] = concat!($($(stringify!($function), "\0",)*)+ "syscall\0").as_bytes();

        /// Whether a file hooks the system call `n`.
        #[inline(always)]
        fn is_hooked(n: c_long) -> bool {
            matches!(n, $($($number)|+)|+)
        }

        /// Makes `call` through the `by_number` of the file that hooks it.
        ///
        /// # Safety
        /// As the system call requires.
        #[inline(always)]
        unsafe fn by_number(call: &Call) -> c_long {
            match call.meant {
                // SAFETY: the caller's promise.
                $($($number)|+ => unsafe { $file::by_number(call) },)+
                // SAFETY: the caller's promise.
                _ => unsafe { call.make() },
            }
        }
    };
}

hooks! {
    accept: [accept accept4] for number::ACCEPT | number::ACCEPT4;
    connect: [connect] for number::CONNECT;
    getsockopt: [getsockopt] for number::GETSOCKOPT;
    listen: [listen] for number::LISTEN;
    prctl: [prctl] for number::PRCTL;
    seccomp: [] for number::SECCOMP;
    setsockopt: [setsockopt] for number::SETSOCKOPT;
    socket: [socket] for number::SOCKET;
}
