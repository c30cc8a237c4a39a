//! Decodes the records of the eBPF program ([`keepalive_bpf::tracing`]). Any bytes are accepted: a record that the
//! program cannot have written yields meaningless values, never a panic.

use super::cause::{Facts, cause};
use super::ending::{Cause, Direction, Settings};
use keepalive_bpf::tracing::record::{ACCEPT, CONNECT, RECORD_SIZE, TEXTS, Text, WORDS, Word};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    words: [u64; WORDS],
    texts: [[u8; 16]; TEXTS],
}

/// A process as the eBPF program saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The number of the process in the initial pid namespace.
    pub pid: u32,
    /// The name of its main thread (`proc_pid_comm(5)`).
    pub name: OsString,
}

/// What a record alone shows of the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The time of `CLOCK_MONOTONIC`, in nanoseconds.
    pub time: u64,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub direction: Option<Direction>,
    pub cause: Cause,
    pub idle: Duration,
    pub lived: Option<Duration>,
    pub settings: Settings,
    pub unanswered_probes: u32,
    pub retransmits: u32,
    pub errno: Option<i32>,
    /// The inode of the socket; `None` if no program had accepted the connection.
    pub inode: Option<u64>,
    /// The number of the socket's cgroup.
    pub cgroup: Option<u64>,
    /// The process that closed the socket, if a program did.
    pub closer: Option<Task>,
    /// The process that called connect(2).
    pub opener: Option<Task>,
}

// Numbers of `include/linux/socket.h` and `include/net/sock.h`.
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SOCK_KEEPOPEN: u32 = 3;

impl Record {
    /// Decodes a record; `None` if its length is not that of a record.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_SIZE] = bytes.try_into().ok()?;
        let (words, texts) = bytes.split_at(8 * WORDS);
        let (words, texts) = (words.as_chunks::<8>().0, texts.as_chunks::<16>().0);
        Some(Self {
            words: std::array::from_fn(|index| words.get(index).map_or(0, |word| u64::from_ne_bytes(*word))),
            texts: std::array::from_fn(|index| texts.get(index).copied().unwrap_or_default()),
        })
    }

    /// Returns what the record shows; `None` for an unknown address family. `hz` is the number of jiffies in a second.
    pub fn ended(&self, hz: u32) -> Option<Ended> {
        let facts = self.facts();
        let (cause, idle) = (cause(&facts), facts.idle());
        let started = self.word(Word::Started);
        let direction = match i32::try_from(self.word(Word::Direction)) {
            Ok(CONNECT) => Some(Direction::Connect),
            Ok(ACCEPT) => Some(Direction::Accept),
            _ => None,
        };
        let lived = Duration::from_nanos(self.word(Word::Time).saturating_sub(started));
        let lived = (started != 0).then_some(lived);
        // The two come from different clocks.
        let idle = jiffies(idle.into(), hz).min(lived.unwrap_or(Duration::MAX));
        let closer = self.task(Word::Current, Text::CurrentName);
        Some(Ended {
            time: self.word(Word::Time),
            local: self.address(Word::Local4, Text::Local6, u16::from_be(self.half(Word::LocalPort)))?,
            peer: self.address(Word::Peer4, Text::Peer6, u16::from_be(self.half(Word::PeerPort)))?,
            direction,
            cause,
            idle,
            lived,
            settings: self.settings(hz),
            unanswered_probes: self.small(Word::Probes),
            retransmits: self.small(Word::Retransmits),
            errno: facts.errno,
            inode: Some(self.word(Word::Inode)).filter(|inode| *inode != 0),
            cgroup: Some(self.word(Word::Cgroup)).filter(|cgroup| *cgroup != 0),
            closer: closer.filter(|_| cause == Cause::Closed),
            opener: self.task(Word::Opener, Text::OpenerName),
        })
    }

    fn facts(&self) -> Facts {
        let errno = self.small(Word::Error).cast_signed();
        Facts {
            old_state: self.small(Word::OldState),
            new_state: self.small(Word::NewState),
            errno: (errno != 0).then_some(errno),
            is_on: self.is_on(),
            unanswered_probes: self.small(Word::Probes),
            is_unacknowledged: self.small(Word::Written) != self.small(Word::Acknowledged),
            now: self.jiffies(Word::Jiffies),
            received_data: self.jiffies(Word::ReceivedData),
            received_ack: self.jiffies(Word::ReceivedAck),
            sent_data: self.jiffies(Word::SentData),
            resent: (self.word(Word::HasResent) != 0)
                .then(|| (self.jiffies(Word::BusySince), self.jiffies(Word::Resent))),
        }
    }

    fn is_on(&self) -> bool {
        self.word(Word::Flags) >> SOCK_KEEPOPEN & 1 == 1
    }

    fn settings(&self, hz: u32) -> Settings {
        // The fields of the socket are 0 where the sysctl applies.
        let value = |own, default| match self.small(own) {
            0 => self.small(default),
            set => set,
        };
        Settings {
            is_on: self.is_on(),
            idle: value(Word::Idle, Word::DefaultIdle) / hz.max(1),
            interval: value(Word::Interval, Word::DefaultInterval) / hz.max(1),
            count: value(Word::Count, Word::DefaultCount),
            user_timeout: self.small(Word::UserTimeout),
        }
    }

    fn address(&self, word: Word, text: Text, port: u16) -> Option<SocketAddr> {
        let address = match self.word(Word::Family) {
            AF_INET => IpAddr::V4(Ipv4Addr::from(self.small(word).to_ne_bytes())),
            // A socket of IPv6 may use IPv4.
            AF_INET6 => Ipv6Addr::from(self.texts[text as usize]).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(address, port))
    }

    fn task(&self, pid: Word, name: Text) -> Option<Task> {
        let name = self.texts[name as usize].split(|byte| *byte == 0).next();
        let pid = self.small(pid);
        (pid != 0).then(|| Task {
            pid,
            name: OsStr::from_bytes(name.unwrap_or_default()).to_owned(),
        })
    }

    fn word(&self, word: Word) -> u64 {
        self.words[word as usize]
    }

    /// Returns the lower 32 bits.
    fn small(&self, word: Word) -> u32 {
        (self.word(word) & u64::from(u32::MAX)) as u32
    }

    /// Returns the lower 16 bits.
    fn half(&self, word: Word) -> u16 {
        (self.word(word) & u64::from(u16::MAX)) as u16
    }

    fn jiffies(&self, word: Word) -> u32 {
        self.small(word)
    }
}

fn jiffies(number: u64, hz: u32) -> Duration {
    Duration::from_micros(number.saturating_mul(1_000_000) / u64::from(hz.max(1)))
}
