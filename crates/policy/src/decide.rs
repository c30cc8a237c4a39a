//! Decides what to set on a connection. All engines call these functions, so all engines make the same decisions.

use crate::mode::Mode;
use crate::option::SocketOption;
use crate::rule::{Facts, Rule};
use crate::settings::Settings;
use core::net::IpAddr;

/// The state that a socket has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The socket was just created. It may still connect or listen.
    Create,
    /// The socket connects to a peer.
    Connect,
    /// The socket listens. The accept rules without a peer address can match.
    Listen,
    /// The socket was accepted from a listener.
    Accept,
}

/// A socket at a moment, with the known facts about its connection.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The moment.
    pub moment: Moment,
    /// The peer's address, if known.
    pub peer: Option<IpAddr>,
    /// The peer's port on connect, the local port on accept and listen, if known.
    pub port: Option<u16>,
    /// The program's name: the last part of its path.
    pub program: &'a [u8],
}

/// One source of the policy: the command line, the environment, or a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The settings of the connections that no rule matches.
    pub default: Settings,
    /// The rules. The first match wins.
    pub rules: &'a [Rule<'a>],
}

impl<'a> Source<'a> {
    /// Returns the first rule that matches `event`.
    pub fn rule(&self, event: &Event<'_>) -> Option<&'a Rule<'a>> {
        let facts = Facts::of(event);
        self.rules.iter().find(|rule| rule.matches_facts(&facts))
    }

    /// Returns the settings of this source for `event`: those of the first rule that matches, without the default; if
    /// no rule matches, the default.
    pub fn settings(&self, event: &Event<'_>) -> &Settings {
        self.rule(event).map_or(&self.default, |rule| &rule.settings)
    }
}

/// Returns the settings for `event`. The value of each option comes from the first source that sets the option.
/// `sources` are in order of precedence.
pub fn decide(sources: &[Source<'_>], event: &Event<'_>) -> Settings {
    let mut settings = Settings::NONE;
    for source in sources {
        settings.complete(source.settings(event));
    }
    settings
}

/// Returns the number for `option` on a socket whose number is `current` and of unknown origin. The policy sets `ours`.
/// A number that is neither `ours` nor `kernel_default`, the kernel's default for new sockets, is the program's own; `mode`
/// resolves it. If `kernel_default` is `None` (the kernel's default varies), the result is `ours`.
pub fn resolve(mode: Mode, option: SocketOption, ours: u32, current: u32, kernel_default: Option<u32>) -> u32 {
    let is_own = current != ours && kernel_default.is_some_and(|kernel_default| kernel_default != current);
    if is_own {
        mode.resolve(option, ours, current)
    } else {
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tests::rules;
    use crate::settings::{Keepalive, Number};
    use std::vec::Vec;

    fn event<'a>(moment: Moment, peer: &str, port: u16, program: &'a str) -> Event<'a> {
        Event {
            moment,
            peer: Some(peer.parse().unwrap()),
            port: Some(port),
            program: program.as_bytes(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_the_default_where_none_does() {
        let (default, rules) = rules(
            "default idle=60s interval=10s count=6\n\
             connect 10.0.0.0/8:5432 idle=30s user-timeout=auto\n\
             connect [2001:db8::/32]:443 off\n\
             accept :8000-8999 idle=2m mode=enforce\n\
             program sshd off\n\
             program java connect *:27017 idle=120s\n",
        );
        let sources = [Source { default, rules: &rules }];
        let idle = |event: &Event<'_>| decide(&sources, event).number(SocketOption::Idle);
        for (moment, peer, port, program, expected) in [
            (Moment::Connect, "10.1.2.3", 5432, "psql", Some(30)),
            (Moment::Connect, "::ffff:10.1.2.3", 5432, "psql", Some(30)),
            (Moment::Connect, "10.1.2.3", 5433, "psql", Some(60)),
            (Moment::Accept, "10.1.2.3", 5432, "psql", Some(60)),
            (Moment::Connect, "2001:db8::1", 443, "curl", None),
            (Moment::Accept, "192.0.2.1", 8000, "x", Some(120)),
            (Moment::Accept, "192.0.2.1", 8999, "x", Some(120)),
            (Moment::Accept, "192.0.2.1", 9000, "x", Some(60)),
            (Moment::Connect, "192.0.2.1", 8000, "x", Some(60)),
            (Moment::Accept, "192.0.2.1", 22, "sshd", None),
            (Moment::Connect, "192.0.2.1", 27017, "java", Some(120)),
            (Moment::Connect, "192.0.2.1", 27017, "javac", Some(60)),
        ] {
            assert_eq!(
                idle(&event(moment, peer, port, program)),
                expected,
                "{moment:?} {peer} {port} {program}"
            );
        }
    }

    #[test]
    fn unknown_properties_match_only_rules_without_them() {
        let (default, rules) = rules("connect *:80 idle=1\nconnect 10.0.0.0/8 idle=2\nprogram sshd off");
        let sources = [Source { default, rules: &rules }];
        let created = Event {
            moment: Moment::Create,
            peer: None,
            port: None,
            program: b"sshd",
        };
        assert_eq!(decide(&sources, &created).keepalive, Some(Keepalive::Off));
        let created = Event {
            program: b"curl",
            ..created
        };
        assert_eq!(decide(&sources, &created), Settings::NONE);
    }

    #[test]
    fn earlier_sources_win_option_by_option_and_off_leaves_alone() {
        let (default, rules) = rules("default idle=9 count=9\nprogram sshd off");
        let environment = Source {
            default: Settings::NONE.with(SocketOption::Idle, Number::Is(5)),
            rules: &[],
        };
        let sources = [environment, Source { default, rules: &rules }];
        let settings = decide(&sources, &event(Moment::Connect, "::1", 1, "curl"));
        let numbers: Vec<_> = [SocketOption::Idle, SocketOption::Count]
            .map(|option| settings.number(option))
            .into();
        assert_eq!(numbers, [Some(5), Some(9)]);
        let settings = decide(&sources, &event(Moment::Accept, "::1", 1, "sshd"));
        assert_eq!(settings.number(SocketOption::Idle), None);
    }
}
