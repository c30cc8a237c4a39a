//! Network namespaces (`network_namespaces(7)`): identifies the namespace of a socket, and runs code in it.

use crate::sockopt;
use crate::worker::Worker;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::{Errno, write};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::thread;
use std::time::Duration;

/// `SO_NETNS_COOKIE` (Linux 5.14, `include/uapi/asm-generic/socket.h`).
const SO_NETNS_COOKIE: libc::c_int = 71;
/// `SIOCGSKNS` (Linux 4.9, `include/uapi/linux/sockios.h`).
const SIOCGSKNS: libc::c_ulong = 0x894c;

/// Returns a number that identifies the network namespace of `socket` among all existing ones.
///
/// # Errors
/// `EPERM` before Linux 5.14 without `CAP_NET_ADMIN` in that namespace.
pub fn cookie(socket: impl AsFd) -> io::Result<u64> {
    match sockopt::get_long(&socket, libc::SOL_SOCKET, SO_NETNS_COOKIE) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => inode(socket),
        cookie => cookie,
    }
}

/// Returns whether the kernel returns [`cookie`] without a capability (Linux 5.14).
pub fn has_cookies(socket: impl AsFd) -> bool {
    sockopt::get_long(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE).is_ok()
}

/// Returns the inode of the namespace of `socket`.
fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(fstat(of_socket(socket)?)?.st_ino)
}

/// Opens the network namespace of `socket`.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in the namespace.
pub fn of_socket(socket: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: SIOCGSKNS takes no argument and touches no memory of ours (net/socket.c, `sock_ioctl`).
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS as _) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just created this descriptor, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the result of `read`, which runs in the network namespace `namespace`. It runs in a separate
/// thread, since a thread stays in the namespace until it ends.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespaces of both (`setns(2)`); `EAGAIN` if the limit of threads is reached.
pub fn within<T: Send>(namespace: &OwnedFd, read: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(read())
        });
        inside?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}

/// Returns what `read` writes to its descriptor, in the network namespace `network`. The namespace is entered
/// through `user`, the user namespace that owns it: so a user can enter its own namespaces without
/// capabilities. `read` runs in a child, since a process with several threads cannot enter a user namespace
/// (`setns(2)`).
///
/// # Errors
/// `EPERM` if the user namespace belongs to another user; as [`Worker::start`]; `ETIMEDOUT` after five seconds.
pub fn within_owned(user: &OwnedFd, network: &OwnedFd, read: impl FnOnce(&OwnedFd)) -> io::Result<Vec<u8>> {
    let worker = Worker::start(&[user.as_fd(), network.as_fd()], |output| {
        let entered = move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
            .and_then(|()| move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)));
        let errno = entered.err().map_or(0, Errno::raw_os_error);
        if write(output, &errno.to_ne_bytes()).is_ok() && errno == 0 {
            read(output);
        }
    })?;
    let written = worker.output_within(Duration::from_secs(5))?;
    let (errno, found) = written.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    match i32::from_ne_bytes(*errno) {
        0 => Ok(found.to_vec()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn before_linux_5_14_the_inode_tells_a_namespace() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        match inode(&socket) {
            Ok(inode) => {
                let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a link");
                assert_eq!(own.to_str(), Some(format!("net:[{inode}]").as_str()));
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
    }
}
