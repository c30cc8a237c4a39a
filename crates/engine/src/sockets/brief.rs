//! Sockets as workers send them to a process that has the kernel's table too: only what the table does not have, in JSON
//! arrays, which take a fraction of the time of objects.

use super::{Exact, Holder, Kernel, Socket};
use keepalive_sys::sockopt::{Options, Protocol};
use serde::{Deserialize, Serialize};

/// A socket: the thread and the descriptor of its holder, its inode, whether it is MPTCP, and its options: keepalive, then
/// idle, interval, count and user timeout.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Brief(u32, i32, u64, bool, bool, [Option<u32>; 4]);

impl Kernel {
    /// Returns `socket` in brief, where its row is one that the process has that started this worker.
    pub fn brief(&self, socket: &Socket) -> Option<Brief> {
        let (holder, options) = (socket.holder?, socket.options?);
        let (_, namespace) = self.row(socket.inode)?;
        // Other namespaces are found by the worker.
        (*namespace == 0).then_some(Brief(
            holder.tid,
            holder.fd,
            socket.inode,
            socket.protocol == Protocol::Mptcp,
            options.keepalive,
            [options.idle, options.interval, options.count, options.user_timeout],
        ))
    }

    /// Returns the socket that a worker has sent in brief, of the process `pid`.
    pub fn whole(&self, pid: u32, brief: Brief) -> Option<Socket> {
        let Brief(tid, fd, inode, is_mptcp, keepalive, [idle, interval, count, user_timeout]) = brief;
        let (row, namespace) = self.row(inode)?;
        let exact = Exact {
            protocol: if is_mptcp { Protocol::Mptcp } else { Protocol::Tcp },
            options: Options {
                keepalive,
                idle,
                interval,
                count,
                user_timeout,
            },
        };
        Some(Socket::exact(row, *namespace, Holder { pid, tid, fd }, exact))
    }
}
