//! Sums up how connections ended: to which peers, after which idle times, what that means, and which settings help.

mod evidence;
mod idle_times;
mod meaning;

use super::ending::{Cause, Direction, Ending};
use evidence::{Evidence, Units, direction};
pub use idle_times::Range;
use keepalive_policy::{Mode, Settings};
pub use meaning::{Cure, Forgotten, Meaning, Timer};
use std::collections::HashMap;
use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The endings so far, in bounded memory.
#[derive(Clone, Debug)]
pub struct Summary {
    groups: HashMap<Key, Evidence>,
    detail: Detail,
    ended: u64,
    others: u64,
    most: usize,
}

/// The summary of all endings.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The groups: those that lost most connections first.
    pub groups: Vec<Group>,
    /// All connections that ended.
    pub ended: u64,
    /// The connections that are in no group, since there are too many groups.
    pub others: u64,
}

/// The connections with some peers by one port.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The peers.
    pub peers: Peers,
    /// The port of the server: of the peer for connections that this end began, else the local one.
    pub port: u16,
    /// Who began the connections. Where no start was seen, the end with the higher port.
    pub direction: Direction,
    /// Whether a start was seen.
    pub is_direction_seen: bool,
    /// The idle times by cause, for the causes that occurred.
    pub causes: Vec<(Cause, Range)>,
    /// What the endings mean: what was lost first.
    pub meanings: Vec<Meaning>,
    /// The shortest idle time in seconds after which a connection was lost ([`Cause::is_loss`]).
    pub shortest_lost: Option<f64>,
    /// The longest idle time in seconds after which path and peer still knew a connection, as far as seen.
    pub longest_survived: Option<f64>,
    /// Whether keepalive helps; `None` if that was not seen.
    pub helps: Option<bool>,
    /// The settings that help.
    pub cure: Option<Cure>,
    /// The systemd service whose connections were lost, if it is a single one.
    pub unit: Option<String>,
}

/// The addresses of peers that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peers {
    /// The first address; IPv4-mapped addresses are IPv4 addresses here.
    pub address: IpAddr,
    /// The number of bits: 32 or 128 for one peer, 0 for any.
    pub length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    peers: Peers,
    port: u16,
    direction: Direction,
}

/// How exactly peers are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    Address,
    Network,
    Port,
}

/// The limit of groups. An entry has at most a few KiB.
const MOST: usize = 2048;
/// More networks of clients with the same fate are shown as one.
const FEW_NETWORKS: usize = 3;

impl Cause {
    /// Returns whether a connection was lost: it ended, and not because an end closed it.
    pub fn is_loss(self) -> bool {
        !matches!(self, Self::ClosedByPeer | Self::Closed | Self::Other)
    }
}

impl Peers {
    /// Returns the network of an address: of 24 bits, for IPv6 of 64.
    fn new(address: IpAddr, detail: Detail) -> Self {
        let (address, length) = match (detail, address.to_canonical()) {
            (Detail::Address, IpAddr::V4(address)) => (IpAddr::V4(address), 32),
            (Detail::Address, IpAddr::V6(address)) => (IpAddr::V6(address), 128),
            (Detail::Network, IpAddr::V4(address)) => {
                let [one, two, three, _] = address.octets();
                (IpAddr::V4(Ipv4Addr::new(one, two, three, 0)), 24)
            }
            (Detail::Network, IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                (IpAddr::V6(Ipv6Addr::from_bits(network)), 64)
            }
            (Detail::Port, _) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        };
        Self { address, length }
    }

    /// Returns whether this is one address.
    pub fn is_one(self) -> bool {
        self.length == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl Key {
    fn with(self, detail: Detail) -> Self {
        Self {
            peers: if self.peers.length == 0 {
                self.peers
            } else {
                Peers::new(self.peers.address, detail)
            },
            ..self
        }
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

impl Summary {
    /// Returns the summary of no endings.
    pub fn new() -> Self {
        Self {
            groups: HashMap::new(),
            detail: Detail::Address,
            ended: 0,
            others: 0,
            most: MOST,
        }
    }

    /// Adds an ending.
    pub fn add(&mut self, ending: &Ending) {
        self.ended += 1;
        let direction = direction(ending);
        let key = Key {
            peers: Peers::new(ending.peer.ip(), Detail::Address),
            port: match direction {
                Direction::Connect => ending.peer.port(),
                Direction::Accept => ending.local.port(),
            },
            direction,
        };
        // With too many groups, peers are kept apart less exactly.
        while self.groups.len() >= self.most && !self.groups.contains_key(&key.with(self.detail)) {
            self.detail = match self.detail {
                Detail::Address => Detail::Network,
                Detail::Network => Detail::Port,
                Detail::Port => {
                    self.others += 1;
                    return;
                }
            };
            let groups = std::mem::take(&mut self.groups);
            for (key, evidence) in groups {
                merge(&mut self.groups, key.with(self.detail), &evidence);
            }
        }
        let new = || Evidence::new(ending.peer.ip().to_canonical());
        let evidence = self.groups.entry(key.with(self.detail)).or_insert_with(new);
        // Of the others only the first has to be known.
        evidence.peer = evidence.peer.filter(|peer| *peer == ending.peer.ip().to_canonical());
        evidence.add(ending);
    }

    /// Returns the summary so far. Peers of a network have one group if they share port and fate, clients of many
    /// networks too.
    pub fn report(&self) -> Report {
        let mut groups: Vec<(Key, Evidence)> = self.groups.iter().map(|(key, all)| (*key, all.clone())).collect();
        groups = join(groups, Detail::Network, |_, members| members > 1);
        groups = join(groups, Detail::Port, |key, members| {
            key.direction == Direction::Accept && members > FEW_NETWORKS
        });
        let mut groups: Vec<Group> = groups
            .into_iter()
            .map(|(key, evidence)| Group::new(key, &evidence))
            .collect();
        groups.sort_by_key(|group| {
            let count = |causes: &[(Cause, Range)], is_loss: bool| -> u64 {
                let causes = causes.iter().filter(|(cause, _)| cause.is_loss() == is_loss);
                causes.map(|(_, range)| range.count).sum()
            };
            let order = (count(&group.causes, true), count(&group.causes, false));
            (std::cmp::Reverse(order), group.peers, group.port, group.direction)
        });
        Report {
            groups,
            ended: self.ended,
            others: self.others,
        }
    }
}

fn merge(groups: &mut HashMap<Key, Evidence>, key: Key, evidence: &Evidence) {
    match groups.get_mut(&key) {
        Some(merged) => merged.merge(evidence),
        None => {
            groups.insert(key, evidence.clone());
        }
    }
}

/// Joins groups that have the same key at this detail and the same fate, where `is_joined` holds for the key and the number
/// of groups.
fn join(groups: Vec<(Key, Evidence)>, detail: Detail, is_joined: impl Fn(&Key, usize) -> bool) -> Vec<(Key, Evidence)> {
    let mut by_fate: HashMap<_, Vec<(Key, Evidence)>> = HashMap::new();
    for (key, evidence) in groups {
        let fate: Vec<_> = meaning::meanings(&evidence).iter().map(discriminant).collect();
        by_fate
            .entry((key.with(detail), fate))
            .or_default()
            .push((key, evidence));
    }
    let mut joined = Vec::new();
    for ((key, _), members) in by_fate {
        if is_joined(&key, members.len()) {
            let merged = members
                .into_iter()
                .map(|(_, evidence)| evidence)
                .reduce(|mut one, other| {
                    one.merge(&other);
                    one
                });
            joined.extend(merged.map(|evidence| (key, evidence)));
        } else {
            joined.extend(members);
        }
    }
    joined
}

impl Group {
    fn new(key: Key, evidence: &Evidence) -> Self {
        let meanings = meaning::meanings(evidence);
        let cure = meaning::cure(evidence, &meanings);
        let causes = Cause::ALL.into_iter().zip(evidence.causes);
        let causes: Vec<(Cause, Range)> = causes.filter_map(|(cause, range)| Some((cause, range?))).collect();
        let lost = causes.iter().filter(|(cause, _)| cause.is_loss());
        let bound = meanings.iter().find_map(|meaning| match meaning {
            Meaning::Forgotten(forgotten) => Some(forgotten.survived),
            _ => None,
        });
        let survived = evidence.survived.ranges().last().map(|range| range.longest);
        Self {
            peers: evidence
                .peer
                .map_or(key.peers, |peer| Peers::new(peer, Detail::Address)),
            port: key.port,
            direction: key.direction,
            is_direction_seen: evidence.is_direction_seen,
            shortest_lost: lost.map(|(_, range)| range.shortest).reduce(f64::min),
            longest_survived: bound.unwrap_or(survived),
            helps: meaning::helps(&meanings, cure.as_ref()),
            unit: match &evidence.units {
                Units::One(unit) => Some(unit.clone()),
                Units::None | Units::Several => None,
            },
            causes,
            meanings,
            cure,
        }
    }

    /// Returns the number of connections that ended.
    pub fn count(&self) -> u64 {
        self.causes.iter().map(|(_, range)| range.count).sum()
    }

    /// Returns whether nothing shows a problem.
    pub fn is_ordinary(&self) -> bool {
        !self.causes.iter().any(|(cause, _)| cause.is_loss())
            && !self
                .meanings
                .iter()
                .any(|meaning| matches!(meaning, Meaning::EndedByTimer(_)))
    }

    /// Returns what a rule for the connections matches, in the grammar of rules.
    pub fn matching(&self) -> String {
        format!("{} {}", self.direction.name(), self.with_port())
    }

    /// Returns peers and port, as `10.0.0.0/24:5432`.
    pub fn with_port(&self) -> String {
        let Peers { address, length } = self.peers;
        let port = self.port;
        match (address, self.peers.is_one()) {
            _ if length == 0 => format!("*:{port}"),
            (IpAddr::V4(address), true) => format!("{address}:{port}"),
            (IpAddr::V4(address), false) => format!("{address}/{length}:{port}"),
            (IpAddr::V6(address), true) => format!("[{address}]:{port}"),
            (IpAddr::V6(address), false) => format!("[{address}/{length}]:{port}"),
        }
    }
}

impl Cure {
    /// Returns the settings.
    pub fn settings(&self) -> Settings {
        let (idle, interval, count) = self.timings;
        let settings = Settings::timings(idle, interval, count);
        if self.needs_cap {
            settings.with_mode(Mode::Cap)
        } else {
            settings
        }
    }
}

#[cfg(test)]
mod tests;
