//! socket(2)

use crate::sys::{AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_STREAM};
use crate::{apply, next, own, state, sys};
use core::ffi::c_int;

#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: socket(2) takes any three numbers.
    let fd = unsafe { next::socket(domain, kind, protocol) };
    on_socket(fd, domain, kind, protocol);
    fd
}

/// `fd` is what the call gave: a new socket or −1.
#[inline(always)]
pub(super) fn on_socket(fd: c_int, domain: c_int, kind: c_int, protocol: c_int) {
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
        && (next::socket_is_libcs() || sys::is_tcp(fd))
    {
        apply::created(&work, fd);
    }
}

/// The kernel gives exactly what the arguments say; the upper bits of `kind` are flags (`SOCK_CLOEXEC`, `SOCK_NONBLOCK`).
fn asks_for_tcp(domain: c_int, kind: c_int, protocol: c_int) -> bool {
    const KIND: c_int = 0xf;
    matches!(domain, AF_INET | AF_INET6)
        && kind & KIND == SOCK_STREAM
        && matches!(protocol, 0 | IPPROTO_TCP | IPPROTO_MPTCP)
}
