//! Combines a policy into one list: the first entry that matches a connection contains all its settings.
//!
//! A policy has several sources, each with rules and a default. A later source sets the values that an
//! earlier source leaves unset. The list is the product of the sources' entries, without combinations that no
//! connection can match.

use keepalive_policy::{Direction, Keepalive, Network, Ports, Rule, Settings, Source};

/// The connections that match all these conditions, and their settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch<'a> {
    pub(crate) program: Option<&'a [u8]>,
    pub(crate) direction: Option<Direction>,
    pub(crate) network: Network,
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    /// The rules that contribute to this branch, numbered through all sources.
    pub(crate) rules: Vec<usize>,
}

/// Returns the branches for `sources`; the last branch matches every connection.
pub(crate) fn decision_list<'a>(sources: &[Source<'a>]) -> Vec<Branch<'a>> {
    let everything = Branch {
        program: None,
        direction: None,
        network: Network::ANY,
        ports: Ports::ANY,
        settings: Settings::NONE,
        rules: Vec::new(),
    };
    let mut first = 0;
    sources.iter().fold(vec![everything], |branches, source| {
        let numbered: Vec<_> = (first..).zip(source.rules).collect();
        first += source.rules.len();
        let split = branches
            .into_iter()
            .flat_map(|branch| branch.split(&numbered, source.default));
        split.collect()
    })
}

impl<'a> Branch<'a> {
    /// Divides this branch by a further source.
    fn split(self, rules: &[(usize, &Rule<'a>)], default: Settings) -> Vec<Self> {
        let mut parts = Vec::new();
        for (number, rule) in rules {
            let Some(part) = self.narrowed(*number, rule) else {
                continue;
            };
            let is_all = part.matches_as(&self);
            parts.push(part);
            if is_all {
                return self.or_whole(parts);
            }
        }
        parts.push(Self {
            settings: or(self.settings, default),
            ..self.clone()
        });
        self.or_whole(parts)
    }

    /// Returns only this branch if the parts have the same settings.
    fn or_whole(self, parts: Vec<Self>) -> Vec<Self> {
        if parts.iter().all(|part| part.settings == self.settings) && !self.rules.is_empty() {
            vec![self]
        } else {
            parts
        }
    }

    /// Returns the part of this branch that `rule` matches too.
    fn narrowed(&self, number: usize, rule: &Rule<'a>) -> Option<Self> {
        let program = both(self.program, rule.program).ok()?;
        let direction = both(self.direction, rule.direction).ok()?;
        let mut rules = self.rules.clone();
        rules.push(number);
        Some(Self {
            program,
            direction,
            network: self.network.intersection(rule.network)?,
            ports: self.ports.intersection(rule.ports)?,
            settings: or(self.settings, rule.settings),
            rules,
        })
    }

    fn matches_as(&self, other: &Self) -> bool {
        self.program == other.program
            && self.direction == other.direction
            && self.network == other.network
            && self.ports == other.ports
    }
}

/// Returns the condition that satisfies both conditions.
///
/// # Errors
/// No value satisfies both.
fn both<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> Result<Option<T>, Disjoint> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Disjoint),
        _ => Ok(one.or(other)),
    }
}

/// The conditions exclude each other.
struct Disjoint;

/// Returns the combined settings. With keepalive off, all other settings are dropped.
fn or(settings: Settings, fallback: Settings) -> Settings {
    let settings = settings.or(fallback);
    if settings.keepalive == Some(Keepalive::Off) {
        Settings::NONE.with_keepalive(Keepalive::Off)
    } else {
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepalive_policy::parse::{Item, parse};
    use keepalive_policy::{Event, Moment, decide};

    fn read(text: &str) -> (Settings, Vec<Rule<'_>>) {
        let mut default = Settings::NONE;
        let mut rules = Vec::new();
        for item in parse(text.as_bytes()) {
            match item.expect("a line of the grammar") {
                Item::Default(settings) => default = settings,
                Item::Rule(rule) => rules.push(rule),
            }
        }
        (default, rules)
    }

    const TEXTS: [&str; 5] = [
        "",
        "default idle=60s interval=10s count=6 mode=cap keepalive=on user-timeout=off",
        "connect 10.0.0.0/8:5432 idle=30s; accept :8000-8999 idle=2m mode=enforce; program sshd off; default count=3",
        "program java connect *:27017 idle=120s; connect [::/0] off; connect 10.1.0.0/16 interval=7; accept off; \
         connect :1-100 count=2; default idle=9",
        "connect keepalive=leave; accept keepalive=leave idle=5; connect idle=77; default off",
    ];

    #[test]
    fn first_branch_matches_the_decision() {
        let addresses = ["10.1.2.3", "10.2.0.1", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.1"];
        for (first, second) in TEXTS
            .iter()
            .flat_map(|first| TEXTS.iter().map(move |second| (*first, *second)))
        {
            let parts = [first, second].map(read);
            let sources = parts.each_ref().map(|(default, rules)| Source {
                default: *default,
                rules,
            });
            let branches = decision_list(&sources);
            for moment in [Moment::Connect, Moment::Accept] {
                for peer in addresses.map(|address| address.parse().unwrap()) {
                    for port in [1, 80, 5432, 8000, 8999, 9000, 27017] {
                        for program in ["sshd", "java", "curl"] {
                            let event = Event {
                                moment,
                                peer: Some(peer),
                                port: Some(port),
                                program: program.as_bytes(),
                            };
                            let expected = or(decide(&sources, &event), Settings::NONE);
                            let as_rule = |branch: &&Branch<'_>| {
                                let rule = Rule {
                                    program: branch.program,
                                    direction: branch.direction,
                                    network: branch.network,
                                    ports: branch.ports,
                                    settings: branch.settings,
                                    line: 0,
                                };
                                rule.matches(&event)
                            };
                            let found = branches.iter().find(as_rule).expect("the last is for all");
                            assert_eq!(found.settings, expected, "{first} / {second}: {event:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn unreachable_and_redundant_rules_are_omitted() {
        let one = read("connect 10.0.0.0/8 off; accept idle=5");
        let other = read("connect 11.0.0.0/8 idle=1; accept :80 count=2; connect 10.1.0.0/16 idle=2");
        let sources = [&one, &other].map(|(default, rules)| Source {
            default: *default,
            rules,
        });
        let rules: Vec<_> = decision_list(&sources).into_iter().map(|branch| branch.rules).collect();
        assert_eq!(rules, [vec![0], vec![1, 3], vec![1], vec![2], vec![3], vec![4], vec![]]);
    }
}
