//! syscall(2) of the C library, by which some programs make the calls that are hooked (libuv accepts with it, libseccomp
//! installs its filters). Every other call goes straight on.

use super::accept::on_accept;
use super::connect::{after_connect, before_connect};
use super::getsockopt::on_getsockopt;
use super::listen::{after_listen, before_listen};
use super::prctl::installs_filter;
use super::setsockopt::{before_setsockopt, on_setsockopt};
use super::socket::on_socket;
use crate::apply::Undo;
use crate::sys::number;
use crate::{next, state};
use core::ffi::{c_int, c_long, c_void};

/// # Safety
/// As syscall(2) and the system call `n` ask. It is variadic; the C libraries read six arguments whatever the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let is_hooked = matches!(
        n,
        number::SOCKET
            | number::CONNECT
            | number::ACCEPT
            | number::ACCEPT4
            | number::LISTEN
            | number::GETSOCKOPT
            | number::SETSOCKOPT
            | number::PRCTL
            | number::SECCOMP
    ) || Some(n) == number::SOCKETCALL;
    let function = if is_hooked { hooked } else { next::syscall() };
    // SAFETY: the caller's promise.
    unsafe { function(n, a, b, c, d, e, f) }
}

/// # Safety
/// As the system call `n` asks.
#[inline(never)]
unsafe extern "C" fn hooked(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let (meant, [x, y, z]) = meaning(n, [a, b, c]);
    let fd = x as c_int;
    let mut undo = Undo::default();
    let filter = filter(n, a, b);
    if filter.is_some() {
        state::before_filter();
    }
    match meant {
        number::CONNECT => before_connect(fd, y as *const c_void, z as u32),
        number::LISTEN => undo = before_listen(fd),
        number::SETSOCKOPT => before_setsockopt(fd, y as c_int, z as c_int),
        _ => {}
    }
    // SAFETY: the caller's promise.
    let returned = unsafe { next::syscall()(n, a, b, c, d, e, f) };
    match meant {
        number::SOCKET => on_socket(returned as c_int, x as c_int, y as c_int, z as c_int),
        // SAFETY: the arguments are those of the call that returned this.
        number::CONNECT => unsafe { after_connect(fd, y as *const c_void, z as u32, returned) },
        number::LISTEN => after_listen(fd, returned, &undo),
        number::ACCEPT | number::ACCEPT4 => on_accept(returned as c_int, fd),
        number::GETSOCKOPT => on_getsockopt(fd, y as c_int, z as c_int),
        number::SETSOCKOPT => on_setsockopt(fd, y as c_int, z as c_int, returned),
        _ => {}
    }
    if filter.is_some_and(|filter| !filter.was_installed(returned)) {
        state::filter_refused();
    }
    returned
}

/// A call that installs a seccomp filter, where it succeeds.
struct Filter {
    gives_listener: bool,
}

impl Filter {
    /// With `SECCOMP_FILTER_FLAG_NEW_LISTENER` a descriptor is returned. Another positive number is the thread that could not
    /// have the filter (`SECCOMP_FILTER_FLAG_TSYNC`): then nobody has it.
    fn was_installed(&self, returned: c_long) -> bool {
        returned == 0 || (returned > 0 && self.gives_listener)
    }
}

/// Whether system call `n` with these arguments installs a filter. The kernel takes the lower half of each (seccomp(2)).
fn filter(n: c_long, a: c_long, b: c_long) -> Option<Filter> {
    /// Both of the first two operations, strict mode and a filter, restrict this process.
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 8;
    let installs = match n {
        number::PRCTL => installs_filter(a as c_int),
        number::SECCOMP => a as u32 <= SECCOMP_SET_MODE_FILTER,
        _ => false,
    };
    installs.then_some(Filter {
        gives_listener: n == number::SECCOMP && b as u32 & SECCOMP_FILTER_FLAG_NEW_LISTENER != 0,
    })
}

/// The call that is made, with its first arguments: i386's socketcall(2) makes another one.
fn meaning(n: c_long, arguments: [c_long; 3]) -> (c_long, [c_long; 3]) {
    if Some(n) == number::SOCKETCALL
        && let Some(meant) = super::socketcall::meaning(arguments[0], arguments[1] as _)
    {
        return meant;
    }
    (n, arguments)
}
