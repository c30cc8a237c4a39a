//! Defines a rule: the connections that it matches, and their settings.

use crate::decide::{Event, Moment};
use crate::settings::Settings;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The end that opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This host opened the connection. The rule's port is the peer's.
    Connect,
    /// The peer opened the connection. The rule's port is the local port.
    Accept,
}

/// A set of addresses with the same prefix. An IPv4 address is stored as its IPv4-mapped IPv6 address (RFC 4291
/// §2.5.5.2), so both forms match the same rules. An IPv6 network of any length contains no IPv4-mapped address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: [u8; 16],
    /// The bits of the prefix: `length` ones, then zeros.
    mask: [u8; 16],
    length: u8,
    is_v6: bool,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

/// The settings of the connections that match all conditions of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The program's name: the last part of the path that was executed. `None` matches every program.
    pub program: Option<&'a [u8]>,
    /// The end that opened the connection. `None` matches both.
    pub direction: Option<Direction>,
    /// The peer's address.
    pub network: Network,
    /// The peer's port if the program opened the connection; the local port if the program accepted the connection.
    pub ports: Ports,
    /// The settings of the connection. The source's default does not add to them.
    pub settings: Settings,
    /// The number of the rule's line, from 1.
    pub line: u32,
}

/// The length of the prefix of all IPv4-mapped addresses, in bits.
const MAPPED: u8 = 96;

impl Network {
    /// Every address.
    pub const ANY: Self = Self {
        address: [0; 16],
        mask: [0; 16],
        length: 0,
        is_v6: false,
    };

    /// Returns the network of the addresses that share their first `length` bits with `address`. Returns `None` if
    /// `length` is longer than the address, or if the address has bits set behind `length`.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let length = match address {
            IpAddr::V4(_) if length <= 32 => MAPPED + length,
            IpAddr::V6(_) if length <= 128 => length,
            _ => return None,
        };
        let network = Self {
            address: octets(address),
            mask: mask(length),
            length,
            is_v6: length < MAPPED || !is_mapped(&octets(address)),
        };
        let used = u128::BITS - u128::from_be_bytes(network.address).trailing_zeros();
        (used <= u32::from(network.length)).then_some(network)
    }

    /// Returns the number of bits that the addresses share, in the IPv4-mapped form.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Returns the wider network of the addresses that share the first `length` of these bits; this network if `length` is
    /// not shorter. As elsewhere, none of IPv6 contains IPv4.
    #[must_use]
    pub fn first_bits(self, length: u8) -> Self {
        let length = length.min(self.length);
        let mask = mask(length);
        Self {
            address: (u128::from_ne_bytes(self.address) & u128::from_ne_bytes(mask)).to_ne_bytes(),
            mask,
            length,
            ..self
        }
    }

    /// Returns the network of the addresses that both networks contain; `None` if they share no address.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (wide, narrow) = if self.length <= other.length {
            (self, other)
        } else {
            (other, self)
        };
        let different = u128::from_be_bytes(wide.address) ^ u128::from_be_bytes(narrow.address);
        let both = Self {
            is_v6: wide.is_v6 || narrow.is_v6,
            ..narrow
        };
        let is_empty = both.is_v6 && both.length >= MAPPED && is_mapped(&both.address);
        (different.leading_zeros() >= u32::from(wide.length) && !is_empty).then_some(both)
    }

    /// Returns the prefix in the form of IPv6 (IPv4-mapped for IPv4), and its length in bits.
    pub fn prefix(self) -> ([u8; 16], u8) {
        (self.address, self.length)
    }

    /// Whether some IPv4-mapped addresses have the network's prefix although the network does not contain them.
    pub fn excludes_mapped(self) -> bool {
        let mapped = Self {
            address: octets(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            mask: mask(MAPPED),
            length: MAPPED,
            is_v6: false,
        };
        let bits = Self { is_v6: false, ..self };
        self.is_v6 && bits.intersection(mapped).is_some()
    }

    /// Whether the network contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let octets = octets(address);
        self.contains_octets(octets, is_mapped(&octets))
    }

    /// Whether the network contains the address with these octets; `is_mapped` is whether it is IPv4-mapped.
    #[inline]
    fn contains_octets(&self, octets: [u8; 16], is_mapped: bool) -> bool {
        let different = u128::from_ne_bytes(self.address) ^ u128::from_ne_bytes(octets);
        different & u128::from_ne_bytes(self.mask) == 0 && !(self.is_v6 && is_mapped)
    }
}

/// Returns `length` ones, then zeros.
const fn mask(length: u8) -> [u8; 16] {
    match u128::MAX.checked_shr(length as u32) {
        Some(rest) => (!rest).to_be_bytes(),
        None => [0xff; 16],
    }
}

/// Whether the address is IPv4-mapped.
fn is_mapped(octets: &[u8; 16]) -> bool {
    u128::from_be_bytes(*octets) >> 32 == 0xffff
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Ports {
    /// Every port.
    pub const ANY: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Returns the ports that both ranges contain; `None` if they share no port.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        };
        (both.first <= both.last).then_some(both)
    }
}

impl Rule<'_> {
    /// A rule that matches every connection and has no settings.
    pub const EMPTY: Self = Self {
        program: None,
        direction: None,
        network: Network::ANY,
        ports: Ports::ANY,
        settings: Settings::NONE,
        line: 0,
    };

    /// Whether the rule matches `event`. An unknown address or port of the event matches only if the rule does not
    /// restrict it.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.matches_facts(&Facts::of(event))
    }

    /// Whether the rule matches the event of `facts`.
    #[inline]
    pub(crate) fn matches_facts(&self, facts: &Facts<'_>) -> bool {
        // The condition that most rules do not meet comes first.
        match facts.peer {
            Some(octets) if !self.network.contains_octets(octets, facts.is_mapped) => return false,
            None if self.network != Network::ANY => return false,
            _ => {}
        }
        (self.direction.is_none() || self.direction == facts.direction)
            && match facts.port {
                Some(port) => (self.ports.first..=self.ports.last).contains(&port),
                None => self.ports == Ports::ANY,
            }
            && self.program.is_none_or(|program| program == facts.program)
    }
}

/// The facts of an event in the form in which rules compare them: one event is compared with many rules.
pub(crate) struct Facts<'a> {
    direction: Option<Direction>,
    port: Option<u16>,
    peer: Option<[u8; 16]>,
    is_mapped: bool,
    program: &'a [u8],
}

impl<'a> Facts<'a> {
    pub(crate) fn of(event: &Event<'a>) -> Self {
        let peer = event.peer.map(octets);
        Self {
            direction: match event.moment {
                Moment::Connect => Some(Direction::Connect),
                Moment::Accept | Moment::Listen => Some(Direction::Accept),
                Moment::Create => None,
            },
            port: event.port,
            peer,
            is_mapped: peer.is_some_and(|peer| is_mapped(&peer)),
            program: event.program,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
        })
    }
}

/// Writes the network as in a rule before a port: `*` for every address, brackets around IPv6.
impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        match (address.to_ipv4_mapped(), self.length) {
            _ if *self == Self::ANY => formatter.write_str("*"),
            (Some(address), 128) => write!(formatter, "{address}"),
            (Some(address), length) if length >= MAPPED => write!(formatter, "{address}/{}", length - MAPPED),
            (_, 128) => write!(formatter, "[{address}]"),
            (_, length) => write!(formatter, "[{address}/{length}]"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// Writes the rule as one line of the grammar. Invalid UTF-8 in a program's name becomes U+FFFD.
impl fmt::Display for Rule<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = self.program {
            formatter.write_str("program ")?;
            for chunk in program.utf8_chunks() {
                formatter.write_str(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    formatter.write_str("\u{fffd}")?;
                }
            }
            formatter.write_str(" ")?;
        }
        if let Some(direction) = self.direction {
            write!(formatter, "{direction} {}", self.network)?;
            if self.ports != Ports::ANY {
                write!(formatter, ":{}", self.ports)?;
            }
            formatter.write_str(" ")?;
        }
        write!(formatter, "{}", self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str, length: u8) -> Network {
        Network::new(text.parse().unwrap(), length).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn network_contains_addresses_with_its_prefix() {
        let ten = network("10.0.0.0", 8);
        assert!(ten.contains(address("10.255.1.2")));
        assert!(ten.contains(address("::ffff:10.1.2.3")));
        assert!(!ten.contains(address("11.0.0.0")));
        assert!(!ten.contains(address("a00::")));
        let odd = network("2001:db8:8000::", 33);
        assert!(odd.contains(address("2001:db8:ffff::1")));
        assert!(!odd.contains(address("2001:db8:7fff::1")));
        assert!(Network::ANY.contains(address("::1")) && Network::ANY.contains(address("127.0.0.1")));
        assert!(network("::1", 128).contains(address("::1")));
    }

    #[test]
    fn all_of_one_family_is_not_everything() {
        let all = network("0.0.0.0", 0);
        assert!(all.contains(address("192.0.2.1")));
        assert!(!all.contains(address("2001:db8::1")));
        let all = network("::", 0);
        assert!(all.contains(address("2001:db8::1")) && all.contains(address("::1")));
        assert!(!all.contains(address("192.0.2.1")) && !all.contains(address("::ffff:192.0.2.1")));
        assert!(network("::ffff:0:0", 96).contains(address("192.0.2.1")));
    }

    #[test]
    fn intersection_contains_addresses_of_both_networks() {
        let networks = [
            Network::ANY,
            network("0.0.0.0", 0),
            network("::", 0),
            network("::", 80),
            network("10.0.0.0", 8),
            network("10.1.0.0", 16),
            network("11.0.0.0", 8),
            network("::ffff:0:0", 96),
            network("2001:db8::", 32),
            network("::1", 128),
        ];
        let addresses = [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "11.1.1.1",
            "::1",
            "2001:db8::7",
            "::2",
            "192.0.2.1",
        ];
        for one in networks {
            for other in networks {
                let both = one.intersection(other);
                for address in addresses.map(address) {
                    let expected = one.contains(address) && other.contains(address);
                    let found = both.is_some_and(|both| both.contains(address));
                    assert_eq!(found, expected, "{one} {other} {address}");
                }
            }
        }
        assert!(network("::", 0).excludes_mapped() && network("::", 80).excludes_mapped());
        assert!(!network("0.0.0.0", 0).excludes_mapped() && !network("2001:db8::", 32).excludes_mapped());
    }

    #[test]
    fn a_network_with_bits_behind_its_length_is_none() {
        assert_eq!(Network::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8), None);
        assert_eq!(Network::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 33), None);
        assert_eq!(Network::new(address("2001:db8::"), 129), None);
    }
}
