//! Network namespaces (`network_namespaces(7)`): which one a socket belongs to, and looking into it.

use crate::sockopt;
use rustix::fd::{AsFd, OwnedFd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::thread;

/// `SO_NETNS_COOKIE` (Linux 5.14, `include/uapi/asm-generic/socket.h`).
const SO_NETNS_COOKIE: libc::c_int = 71;
/// `SIOCGSKNS` (Linux 4.9, `include/uapi/linux/sockios.h`).
const SIOCGSKNS: libc::c_ulong = 0x894c;

/// A number that tells the network namespace of `socket` from all others since the machine was started.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.14.
pub fn cookie(socket: impl AsFd) -> io::Result<u64> {
    sockopt::get_long(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE)
}

/// The network namespace of `socket`, to be entered.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in it.
pub fn of_socket(socket: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: SIOCGSKNS takes no argument and touches no memory of ours (net/socket.c, `sock_ioctl`).
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS as _) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made this descriptor for us just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What `look` gives in the network namespace `namespace`. It runs in a thread of its own, since a namespace is left only
/// with the thread.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespaces of both (`setns(2)`).
pub fn within<T: Send>(namespace: &OwnedFd, look: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(look())
        });
        inside
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
