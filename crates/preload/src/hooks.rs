//! The calls that this library stands in for, one file each: the exported function hands over to `on_…`, which calls the
//! next definition and does what is to be done before or after. What the program sees returned is always the next one's.

mod socketcall;
mod syscall;

use crate::sys::number;
use core::ffi::c_long;
use syscall::Call;

/// Defines the hooks: for each line its file, the functions of the C library that the file defines, and the system calls for
/// which it has `by_number`, which is syscall(2) of one of them. syscall(2) itself, by which programs make all of these calls,
/// too, is the last function.
macro_rules! hooks {
    ($($file:ident: [$($function:ident)*] for $($number:path)|+;)+) => {
        $(mod $file;)+

        /// The functions, by their names in the C library.
        #[allow(non_camel_case_types, reason = "they are C's")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function {
            $($($function,)*)+
            syscall,
        }

        /// How many functions there are.
        pub(crate) const FUNCTIONS: usize = Function::syscall as usize + 1;

        /// Their names in the same order, each with its NUL; one text, since an array of strings would be an array of
        /// relocations.
        pub(crate) const NAMES: &[u8] = concat!($($(stringify!($function), "\0",)*)+ "syscall\0").as_bytes();

        /// Whether a file stands in for the system call `n`.
        #[inline(always)]
        fn is_hooked(n: c_long) -> bool {
            matches!(n, $($($number)|+)|+)
        }

        /// Makes `call`, and does what the file that stands in for it does before and after.
        ///
        /// # Safety
        /// As the system call asks.
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
