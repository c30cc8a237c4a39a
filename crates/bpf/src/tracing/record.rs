//! The record of a connection's end: numbers of eight bytes in the order of [`Word`], then the texts of [`Text`].
//! There is no padding, and every number has the same size whatever the kernel's field has.

use crate::fields::Field;
use crate::kernel_types::KernelTypes;

/// A number in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    Time,
    /// The time in jiffies.
    Jiffies,
    /// The state before (`include/net/tcp_states.h`).
    OldState,
    /// The state after.
    NewState,
    /// The inode of the socket, as in `/proc/PID/fd`; 0 if no program has accepted the connection yet.
    Inode,
    /// The number of the socket's cgroup; 0 if unknown.
    Cgroup,
    /// The process that runs now. It has closed the socket if the program did; otherwise it may be any. 0 for
    /// threads of the kernel.
    Current,
    /// The time at which the connection was established, as [`Word::Time`]; 0 if unknown.
    Started,
    /// [`CONNECT`], [`ACCEPT`], or 0 if unknown.
    Direction,
    /// The process that called connect(2); 0 if unknown.
    Opener,
    /// The time at which the data were queued that are or were retransmitted, in the lower 32 bits of jiffies.
    BusySince,
    /// The time of the last retransmission, in the lower 32 bits of jiffies.
    Resent,
    /// Whether [`Word::BusySince`] and [`Word::Resent`] are known.
    HasResent,
    /// The address family of the socket (`include/linux/socket.h`).
    Family,
    /// In network byte order.
    LocalPort,
    /// In network byte order.
    PeerPort,
    /// The local IPv4 address, in network byte order.
    Local4,
    /// The peer's IPv4 address, in network byte order.
    Peer4,
    /// The bits of `enum sock_flags` (`include/net/sock.h`).
    Flags,
    /// The socket's error.
    Error,
    /// The time at which data were last received, in the lower 32 bits of jiffies.
    ReceivedData,
    /// The time at which an acknowledgement was last received, likewise.
    ReceivedAck,
    /// The time at which data were last sent, likewise.
    SentData,
    /// The number of the next byte that the program sends.
    Written,
    /// The number of the first byte that is not acknowledged.
    Acknowledged,
    /// The number of unanswered keepalive or window probes.
    Probes,
    /// The number of retransmissions without an answer.
    Retransmits,
    /// Jiffies; 0 if not set.
    Idle,
    /// Jiffies; 0 if not set.
    Interval,
    /// 0 if not set.
    Count,
    /// Milliseconds; 0 if not set.
    UserTimeout,
    /// The sysctl of the network namespace, in jiffies.
    DefaultIdle,
    /// Likewise.
    DefaultInterval,
    /// The sysctl of the network namespace.
    DefaultCount,
}

/// The value of [`Word::Direction`] for a connection that began with connect(2).
pub const CONNECT: i32 = 1;
/// The value of [`Word::Direction`] for a connection that a listener has accepted.
pub const ACCEPT: i32 = 2;

/// The number of words.
pub const WORDS: usize = Word::DefaultCount as usize + 1;

/// A text of 16 bytes in the record, after the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The local IPv6 address.
    Local6,
    /// The peer's IPv6 address.
    Peer6,
    /// The name of the process of [`Word::Current`] (`proc_pid_comm(5)`), up to a zero byte.
    CurrentName,
    /// The name of the process of [`Word::Opener`] when it called connect(2).
    OpenerName,
}

/// The number of texts.
pub const TEXTS: usize = Text::OpenerName as usize + 1;

/// The size of a record in bytes.
pub const RECORD_SIZE: usize = 8 * WORDS + 16 * TEXTS;

impl Word {
    /// Returns the offset in the record, in bytes.
    pub(super) const fn place(self) -> i16 {
        8 * self as i16
    }
}

impl Text {
    /// Returns the offset in the record, in bytes.
    pub(super) const fn place(self) -> i16 {
        8 * (Word::DefaultCount as i16 + 1) + 16 * self as i16
    }
}

/// The words that are fields of the socket, which is a `struct tcp_sock`: with the structure and the field.
const OF_SOCKET: [(Word, &str, &str); 18] = [
    (Word::Family, "sock_common", "skc_family"),
    // `skc_num` is 0 by then.
    (Word::LocalPort, "inet_sock", "inet_sport"),
    (Word::PeerPort, "sock_common", "skc_dport"),
    (Word::Local4, "sock_common", "skc_rcv_saddr"),
    (Word::Peer4, "sock_common", "skc_daddr"),
    (Word::Flags, "sock_common", "skc_flags"),
    (Word::Error, "sock", "sk_err"),
    (Word::ReceivedData, "inet_connection_sock", "icsk_ack.lrcvtime"),
    (Word::ReceivedAck, "tcp_sock", "rcv_tstamp"),
    (Word::SentData, "tcp_sock", "lsndtime"),
    (Word::Written, "tcp_sock", "write_seq"),
    (Word::Acknowledged, "tcp_sock", "snd_una"),
    (Word::Probes, "inet_connection_sock", "icsk_probes_out"),
    (Word::Retransmits, "inet_connection_sock", "icsk_retransmits"),
    (Word::Idle, "tcp_sock", "keepalive_time"),
    (Word::Interval, "tcp_sock", "keepalive_intvl"),
    (Word::Count, "tcp_sock", "keepalive_probes"),
    (Word::UserTimeout, "inet_connection_sock", "icsk_user_timeout"),
];

/// The words that are sysctls of the network namespace, with the field of `struct net`.
const OF_NAMESPACE: [(Word, &str); 3] = [
    (Word::DefaultIdle, "ipv4.sysctl_tcp_keepalive_time"),
    (Word::DefaultInterval, "ipv4.sysctl_tcp_keepalive_intvl"),
    (Word::DefaultCount, "ipv4.sysctl_tcp_keepalive_probes"),
];

/// Where the running kernel has what the programs read. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    pub(super) protocol: Field,
    pub(super) state: Field,
    /// The pointer to `struct socket` in `struct sock`.
    pub(super) socket: i16,
    /// `i_ino`, relative to `struct socket`.
    pub(super) inode: i16,
    /// The pointer to the cgroup in `struct sock`; `None` in a kernel without cgroups.
    pub(super) cgroup: Option<CgroupPositions>,
    /// The pointer to the network namespace in `struct sock`.
    pub(super) namespace: i16,
    /// `skc_v6_rcv_saddr` and `skc_v6_daddr`; `None` in a kernel without IPv6.
    pub(super) addresses6: Option<[i16; 2]>,
    pub(super) of_socket: [(Word, Field); OF_SOCKET.len()],
    pub(super) of_namespace: [(Word, Field); OF_NAMESPACE.len()],
    /// `chrono_start`: when data were queued after all earlier data had been acknowledged.
    pub(super) busy_since: Field,
    pub(super) task: TaskPositions,
}

/// Where the number of a socket's cgroup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupPositions {
    pub(super) cgroup: i16,
    /// The pointer to `struct kernfs_node` in `struct cgroup`.
    pub(super) node: i16,
    /// The number in `struct kernfs_node`.
    pub(super) id: i16,
}

/// Where a process's name and flags are in `struct task_struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskPositions {
    pub(super) flags: i16,
    pub(super) leader: i16,
    pub(super) name: i16,
}

impl Positions {
    /// Finds the positions in the running kernel.
    ///
    /// # Errors
    /// The name of a field that the kernel does not have.
    pub fn find(types: &KernelTypes) -> Result<Self, String> {
        let number = |structure: &str, path: &str| {
            Field::nested(types, structure, path).ok_or_else(|| format!("{path} of struct {structure}"))
        };
        let offset = |structure: &str, path: &str| {
            let found = types.nested(structure, path);
            found
                .map(|(offset, _)| offset)
                .ok_or_else(|| format!("{path} of struct {structure}"))
        };
        let mut of_socket = [(
            Word::Time,
            Field {
                offset: 0,
                size: crate::assembler::Size::Long,
            },
        ); OF_SOCKET.len()];
        for (to, (word, structure, path)) in of_socket.iter_mut().zip(OF_SOCKET) {
            *to = (word, number(structure, path)?);
        }
        let mut of_namespace = [of_socket[0]; OF_NAMESPACE.len()];
        for (to, (word, path)) in of_namespace.iter_mut().zip(OF_NAMESPACE) {
            *to = (word, number("net", path)?);
        }
        let cgroup = || -> Result<_, String> {
            Ok(CgroupPositions {
                cgroup: offset("sock", "sk_cgrp_data")?,
                node: offset("cgroup", "kn")?,
                id: offset("kernfs_node", "id")?,
            })
        };
        let addresses6 = || {
            Some([
                types.offset("sock_common", "skc_v6_rcv_saddr")?,
                types.offset("sock_common", "skc_v6_daddr")?,
            ])
        };
        let file = offset("socket_alloc", "vfs_inode")?.checked_add(offset("inode", "i_ino")?);
        let inode = file.and_then(|file| file.checked_sub(offset("socket_alloc", "socket").ok()?));
        Ok(Self {
            protocol: number("sock", "sk_protocol")?,
            state: number("sock_common", "skc_state")?,
            socket: offset("sock", "sk_socket")?,
            inode: inode.ok_or("i_ino of struct inode")?,
            cgroup: cgroup().ok(),
            namespace: offset("sock_common", "skc_net")?,
            addresses6: addresses6(),
            of_socket,
            of_namespace,
            busy_since: number("tcp_sock", "chrono_start")?,
            task: TaskPositions {
                flags: offset("task_struct", "flags")?,
                leader: offset("task_struct", "group_leader")?,
                name: offset("task_struct", "comm")?,
            },
        })
    }

    /// Returns the field of the socket for this word, which must be one of [`OF_SOCKET`].
    pub(super) fn field(&self, wanted: Word) -> Field {
        let found = self.of_socket.iter().find(|(word, _)| *word == wanted);
        found.map_or(self.protocol, |(_, field)| *field)
    }
}
