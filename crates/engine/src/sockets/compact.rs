//! The form in which workers send sockets to a process that has the kernel's table too: only the values that
//! the table does not contain, in JSON arrays, which are several times faster than objects.

use super::{Exact, Holder, Kernel, Socket};
use keepalive_sys::sockopt::{Numbers, Protocol};
use serde::{Deserialize, Serialize};

/// A socket: the thread and the descriptor of its holder, its inode, whether it is MPTCP, and the values of
/// its options.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CompactSocket(u32, i32, u64, bool, Numbers);

impl Kernel {
    /// Returns `socket` in compact form, if the process that started this worker has the socket's row.
    pub fn brief(&self, socket: &Socket) -> Option<CompactSocket> {
        let (holder, numbers) = (socket.holder?, socket.numbers?);
        let (_, namespace) = self.row(socket.inode)?;
        // Only the worker has the rows of other namespaces.
        (*namespace == 0).then_some(CompactSocket(
            holder.tid,
            holder.fd,
            socket.inode,
            socket.protocol == Protocol::Mptcp,
            numbers,
        ))
    }

    /// Returns the socket of the process `pid` that a worker has sent in compact form.
    pub fn whole(&self, pid: u32, brief: CompactSocket) -> Option<Socket> {
        let CompactSocket(tid, fd, inode, is_mptcp, numbers) = brief;
        let (row, namespace) = self.row(inode)?;
        let exact = Exact {
            protocol: if is_mptcp { Protocol::Mptcp } else { Protocol::Tcp },
            numbers,
        };
        Some(Socket::exact(row, *namespace, Holder { pid, tid, fd }, exact))
    }
}
