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
    /// As in [`super::ending::Ending`], like the fields that follow.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who began the connection.
    pub direction: Option<Direction>,
    /// What ended the connection.
    pub cause: Cause,
    /// The idle time before that.
    pub idle: Duration,
    /// The time since the connection was established.
    pub lived: Option<Duration>,
    /// The keepalive settings of the socket.
    pub settings: Settings,
    /// Keepalive or window probes without an answer.
    pub unanswered_probes: u32,
    /// Retransmissions without an answer.
    pub retransmits: u32,
    /// The socket's error.
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
    /// The length of a record in bytes.
    pub const SIZE: usize = RECORD_SIZE;

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
        let started = self.noted(Word::Started);
        let direction = match i32::try_from(self.noted(Word::Direction)) {
            Ok(CONNECT) => Some(Direction::Connect),
            Ok(ACCEPT) => Some(Direction::Accept),
            _ => None,
        };
        let lived = jiffies(self.word(Word::Jiffies).saturating_sub(started), hz);
        let lived = (started != 0).then_some(lived);
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
            closer: closer.filter(|_| facts.is_closed_by_program()),
            opener: self
                .task(Word::Opener, Text::OpenerName)
                .filter(|_| self.noted(Word::Opener) != 0),
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
            retransmits: self.small(Word::Retransmits),
            now: self.small(Word::Jiffies),
            received_data: self.small(Word::ReceivedData),
            received_ack: self.small(Word::ReceivedAck),
            sent_data: self.small(Word::SentData),
            resent: (self.noted(Word::HasResent) != 0).then(|| (self.small(Word::BusySince), self.small(Word::Resent))),
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

    /// Returns what the program has noted of the connection before; 0 if it did not.
    fn noted(&self, word: Word) -> u64 {
        if self.half(Word::NotedPort) == self.half(Word::PeerPort) {
            self.word(word)
        } else {
            0
        }
    }

    fn word(&self, word: Word) -> u64 {
        self.words[word as usize]
    }

    /// Returns the lower 32 bits.
    fn small(&self, word: Word) -> u32 {
        u32::try_from(self.word(word) & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// Returns the lower 16 bits.
    fn half(&self, word: Word) -> u16 {
        u16::try_from(self.word(word) & u64::from(u16::MAX)).unwrap_or_default()
    }
}

fn jiffies(number: u64, hz: u32) -> Duration {
    Duration::from_micros(number.saturating_mul(1_000_000) / u64::from(hz.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a record with these words; the others are 0.
    fn record(words: &[(Word, u64)], texts: &[(Text, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_SIZE];
        for (word, number) in words {
            bytes[8 * *word as usize..][..8].copy_from_slice(&number.to_ne_bytes());
        }
        for (text, value) in texts {
            bytes[8 * WORDS + 16 * *text as usize..][..value.len()].copy_from_slice(value);
        }
        bytes
    }

    fn ended(bytes: &[u8]) -> Ended {
        Record::decode(bytes)
            .expect("a record")
            .ended(250)
            .expect("a known family")
    }

    #[test]
    fn values_of_a_record_have_their_units() {
        let bytes = record(
            &[
                (Word::Time, 9_000_000_000),
                (Word::Started, 0x1_0000_0100 - 8 * 250),
                (Word::Direction, 2),
                (Word::Family, 2),
                (Word::Local4, u32::from_ne_bytes([10, 0, 0, 1]).into()),
                (Word::LocalPort, 5432_u16.to_be().into()),
                (Word::Peer4, u32::from_ne_bytes([10, 0, 0, 2]).into()),
                (Word::PeerPort, 40000_u16.to_be().into()),
                (Word::NotedPort, 40000_u16.to_be().into()),
                (Word::OldState, 1),
                (Word::NewState, 4),
                (Word::Flags, 1 << 3 | 1 << 9),
                (Word::Jiffies, 0x1_0000_0100),
                (Word::ReceivedData, 0xffff_ff00),
                (Word::ReceivedAck, 6),
                (Word::SentData, 0),
                (Word::Idle, 60 * 250),
                (Word::DefaultInterval, 75 * 250),
                (Word::DefaultCount, 9),
                (Word::Inode, 4242),
                (Word::Current, 77),
            ],
            &[(Text::CurrentName, b"postgres\0garbage")],
        );
        let ended = ended(&bytes);
        assert_eq!(ended.local, "10.0.0.1:5432".parse().unwrap());
        assert_eq!(ended.peer, "10.0.0.2:40000".parse().unwrap());
        assert_eq!((ended.direction, ended.cause), (Some(Direction::Accept), Cause::Closed));
        assert_eq!(ended.idle, Duration::from_secs(1));
        assert_eq!(ended.lived, Some(Duration::from_secs(8)));
        let settings = Settings {
            is_on: true,
            idle: 60,
            interval: 75,
            count: 9,
            user_timeout: 0,
        };
        assert_eq!(ended.settings, settings);
        let closer = Task {
            pid: 77,
            name: "postgres".into(),
        };
        assert_eq!((ended.closer, ended.opener), (Some(closer), None));
        assert_eq!((ended.inode, ended.cgroup, ended.errno), (Some(4242), None, None));
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let mapped = "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets();
        let other = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        let bytes = record(&[(Word::Family, 10)], &[(Text::Local6, &mapped), (Text::Peer6, &other)]);
        let ended = ended(&bytes);
        assert_eq!(ended.local, "192.0.2.1:0".parse().unwrap());
        assert_eq!(ended.peer, "[2001:db8::1]:0".parse().unwrap());
    }

    /// A generator of numbers that does not repeat soon (xorshift64).
    fn numbers() -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::from_fn(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some(state)
        })
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic() {
        let mut numbers = numbers();
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = numbers
                .by_ref()
                .take(RECORD_SIZE / 8)
                .flat_map(u64::to_ne_bytes)
                .collect();
            // Half of the records have a family and states that exist, and extreme numbers.
            if round % 2 == 0 {
                for (word, value) in [(Word::Family, 2), (Word::OldState, 1), (Word::NewState, 7)] {
                    bytes[8 * word as usize..][..8].copy_from_slice(&u64::to_ne_bytes(value));
                }
                let place = 8 * (round / 2 % WORDS);
                let extreme = [0, u64::MAX, u64::from(u32::MAX), i64::MAX.cast_unsigned()][round / 2 % 4];
                bytes[place..place + 8].copy_from_slice(&extreme.to_ne_bytes());
            }
            for hz in [0, 1, 100, 250, 300, 1000, u32::MAX] {
                let ended = Record::decode(&bytes).expect("a record").ended(hz);
                assert!(ended.is_none_or(|ended| ended.lived.is_none_or(|lived| ended.idle <= lived)));
            }
        }
        for length in (0..RECORD_SIZE).chain(RECORD_SIZE + 1..2 * RECORD_SIZE) {
            assert_eq!(Record::decode(&vec![0xff; length]), None, "{length}");
        }
    }
}
