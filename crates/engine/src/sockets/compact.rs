//! Sockets as workers send them to a process that has the kernel's table too: only what the table does not have, in JSON
//! arrays, which take a fraction of the time of objects.

use super::{Exact, Holder, Kernel, Socket};
use keepalive_sys::sockopt::{Numbers, Protocol};
use serde::{Deserialize, Serialize};

/// A socket: the thread and the descriptor of its holder, its inode, whether it is MPTCP, and its numbers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CompactSocket(u32, i32, u64, bool, Numbers);

impl Kernel {
    /// Returns `socket` in brief, where its row is one that the process has that started this worker.
    pub fn brief(&self, socket: &Socket) -> Option<CompactSocket> {
        let (holder, numbers) = (socket.holder?, socket.numbers?);
        let (_, namespace) = self.row(socket.inode)?;
        // Other namespaces are found by the worker.
        (*namespace == 0).then_some(CompactSocket(
            holder.tid,
            holder.fd,
            socket.inode,
            socket.protocol == Protocol::Mptcp,
            numbers,
        ))
    }

    /// Returns the socket that a worker has sent in brief, of the process `pid`.
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
