//! Finds rules that never match, since an earlier rule matches everything that they match. The time for each rule grows
//! with the logarithm of the number of rules.

use keepalive_policy::{Direction, Network, Ports, Rule};
use std::collections::{BTreeSet, HashMap};

/// The rules so far.
#[derive(Default)]
pub(super) struct Cover<'a> {
    /// The lengths of their networks.
    lengths: BTreeSet<u8>,
    /// Their ports, by everything else that they match.
    ports: HashMap<Key<'a>, PortRanges>,
}

type Key<'a> = (Option<&'a [u8]>, Option<Direction>, Network);

impl<'a> Cover<'a> {
    /// Adds a rule.
    pub(super) fn add(&mut self, rule: &Rule<'a>) {
        self.lengths.insert(rule.network.length());
        let key = (rule.program, rule.direction, rule.network);
        self.ports.entry(key).or_default().add(rule.ports, rule.line);
    }

    /// Returns the line of the first rule that matches everything that `rule` matches.
    pub(super) fn line(&self, rule: &Rule<'a>) -> Option<u32> {
        let programs = [None, rule.program];
        let directions = [None, rule.direction];
        // Without a condition there is one possibility.
        let programs = &programs[usize::from(rule.program.is_none())..];
        let directions = &directions[usize::from(rule.direction.is_none())..];
        let lengths = self.lengths.range(..=rule.network.length());
        let networks = lengths.map(|length| rule.network.first_bits(*length));
        let networks = networks.chain([Network::ANY]);
        let keys = networks.flat_map(|network| {
            let both = programs
                .iter()
                .flat_map(|program| directions.iter().map(|direction| (*program, *direction)));
            both.map(move |(program, direction)| (program, direction, network))
        });
        let lines = keys.filter_map(|key| self.ports.get(&key)?.line(rule.ports));
        lines.min()
    }
}

/// Ranges of ports with their lines, in a Fenwick tree of their first ports.
#[derive(Default)]
struct PortRanges {
    /// For each node, the last ports of its ranges in growing order, with their lines. A range that ends no later than an
    /// earlier range of its node is left out: the earlier one is found in its place.
    nodes: HashMap<u32, Vec<(u16, u32)>>,
}

/// The number of ports.
const PORTS: u32 = 1 << u16::BITS;

impl PortRanges {
    fn add(&mut self, ports: Ports, line: u32) {
        let mut node = u32::from(ports.first) + 1;
        while node <= PORTS {
            let ranges = self.nodes.entry(node).or_default();
            if ranges.last().is_none_or(|(last, _)| *last < ports.last) {
                ranges.push((ports.last, line));
            }
            node += lowest_bit(node);
        }
    }

    /// Returns the line of the first range that contains these ports.
    fn line(&self, ports: Ports) -> Option<u32> {
        let mut first = None;
        let mut node = u32::from(ports.first) + 1;
        while node > 0 {
            if let Some(ranges) = self.nodes.get(&node) {
                let place = ranges.partition_point(|(last, _)| *last < ports.last);
                let line = ranges.get(place).map(|(_, line)| *line);
                first = first.into_iter().chain(line).min();
            }
            node -= lowest_bit(node);
        }
        first
    }
}

fn lowest_bit(number: u32) -> u32 {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepalive_policy::parse::{Item, parse};

    /// Returns the line that covers the last rule.
    fn covering(text: &str) -> Option<u32> {
        let items: Vec<_> = parse(text.as_bytes()).map(Result::unwrap).collect();
        let mut cover = Cover::default();
        let mut line = None;
        for item in &items {
            let Item::Rule(rule) = item else { panic!("{item:?}") };
            line = cover.line(rule);
            cover.add(rule);
        }
        line
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one() {
        for text in [
            "connect * off\nconnect 10.0.0.0/8:5432 off",
            "connect 10.0.0.0/8 off\nconnect 10.1.2.3 off",
            "connect 10.0.0.0/8:1-9 off\nconnect 10.0.0.0/8:2-9 off",
            "connect [::ffff:10.0.0.0/104] off\nconnect 10.255.255.255 off",
            "connect [2001:db8::/32]:443 off\nconnect [2001:db8:1::/48]:443 off",
            "connect 0.0.0.0/0 off\nconnect 10.0.0.0/8 off",
            "connect * off\nconnect * off",
            "program a off\nprogram a connect *:80 off",
            "connect *:80 off\nprogram a connect *:80 off",
            "connect * off\naccept * off\nconnect *:1 off",
            "connect *:5-9 off\nconnect *:1-4 off\nconnect *:6 off",
            "accept :65535 off\naccept :1 off\naccept :65535 off",
        ] {
            assert_eq!(covering(text), Some(1), "{text}");
        }
    }

    #[test]
    fn the_first_line_that_covers_a_rule_is_found() {
        for (text, line) in [
            (
                "connect *:80 off\nconnect *:1-100 off\nconnect *:1-200 off\nconnect *:90 off",
                2,
            ),
            (
                "connect *:80 off\nconnect 10.0.0.0/8 off\nconnect * off\nconnect 10.0.0.1 off",
                2,
            ),
            (
                "accept :1 off\nprogram a off\nconnect * off\nprogram a connect *:1 off",
                2,
            ),
        ] {
            assert_eq!(covering(text), Some(line), "{text}");
        }
    }

    #[test]
    fn another_rule_does_not() {
        for text in [
            "connect 10.1.0.0/16 off\nconnect 10.0.0.0/8 off",
            "connect 10.0.0.0/8:5432 off\nconnect 10.0.0.0/8 off",
            "connect * off\naccept * off",
            "connect * off\nprogram a off",
            "program a off\nprogram b off",
            "program a off\nconnect * off",
            "connect 0.0.0.0/0 off\nconnect [2001:db8::]:1 off",
            "connect 0.0.0.0/0 off\nconnect * off",
            "connect [::/0] off\nconnect * off",
            "connect [::/0] off\nconnect 10.0.0.1 off",
            "connect [2001:db8::/32] off\nconnect [2001:db9::/32] off",
            "connect *:1-5 off\nconnect *:6-9 off\nconnect *:5-6 off",
        ] {
            assert_eq!(covering(text), None, "{text}");
        }
    }

    /// Many rules, compared one by one with the simplest form of the question: whether both ends of each range are contained.
    #[test]
    fn port_ranges_are_found_as_by_trying_each() {
        let mut state = 1_u32;
        let mut next = |limit: u16| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u16::try_from(state >> 16).unwrap_or(0) % limit
        };
        let (mut ranges, mut all) = (PortRanges::default(), Vec::new());
        for line in 1..2000 {
            let first = next(300);
            let ports = Ports {
                first,
                last: first + next(20),
            };
            let contains = |other: &Ports| other.first <= ports.first && ports.last <= other.last;
            let expected = all
                .iter()
                .position(contains)
                .map(|place| u32::try_from(place + 1).expect("few"));
            assert_eq!(ranges.line(ports), expected, "{ports:?}");
            ranges.add(ports, line);
            all.push(ports);
        }
    }
}
