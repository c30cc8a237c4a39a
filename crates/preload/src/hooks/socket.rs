//! Hooks socket(2).

use super::syscall::Call;
use crate::next::{next, socket_is_libcs};
use crate::sys::number;
use crate::sys::{AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_STREAM};
use crate::{apply, own, state, sys};
use core::ffi::{c_int, c_long};

next! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int = number::SOCKET, [domain, kind, protocol, 0, 0];
}

#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: socket(2) accepts any three numbers.
    let fd = unsafe { next::socket(domain, kind, protocol) };
    on_socket(fd, domain, kind, protocol);
    fd
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    let [domain, kind, protocol] = call.arguments.map(|argument| argument as c_int);
    on_socket(returned as c_int, domain, kind, protocol);
    returned
}

/// Applies the settings to a new socket. `fd` is the call's result: a new socket or −1.
#[inline(always)]
fn on_socket(fd: c_int, domain: c_int, kind: c_int, protocol: c_int) {
    if fd < 0 {
        return;
    }
    let Some(policy) = state::policy() else { return };
    state::remember(fd);
    if policy.is_watching {
        own::forget(fd);
    }
    if asks_for_tcp(domain, kind, protocol)
        && let Some(work) = state::work()
        && (socket_is_libcs() || sys::is_tcp(fd))
    {
        apply::created(&work, fd);
    }
}

/// Whether the arguments request a TCP or MPTCP socket. The kernel creates exactly the requested socket. The upper bits
/// of `kind` are flags (`SOCK_CLOEXEC`, `SOCK_NONBLOCK`).
fn asks_for_tcp(domain: c_int, kind: c_int, protocol: c_int) -> bool {
    const KIND: c_int = 0xf;
    matches!(domain, AF_INET | AF_INET6)
        && kind & KIND == SOCK_STREAM
        && matches!(protocol, 0 | IPPROTO_TCP | IPPROTO_MPTCP)
}
