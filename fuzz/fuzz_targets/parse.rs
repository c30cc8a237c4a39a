//! Any bytes as rules: there is no panic, the position of a mistake is in its line, and an item's text form parses as
//! the same item.
#![no_main]

use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Event, Moment, Rule, Source};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|text: &[u8]| {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut rules = Vec::new();
    let mut last_line = 1;
    for read in parse(text) {
        let line = match read {
            Ok(item) => {
                assert_display_parses(&item);
                if let Item::Rule(rule) = item {
                    rules.push(rule);
                    rule.line
                } else {
                    last_line
                }
            }
            Err(error) => {
                assert!(error.start < error.end);
                assert!(error.end <= lines[error.line as usize - 1].len());
                assert!(!error.mistake.reason().is_empty() && !error.mistake.hint().is_empty());
                error.line
            }
        };
        assert!(last_line <= line && line as usize <= lines.len());
        last_line = line;
    }
    assert_first_match_wins(&rules);
});

fn assert_display_parses(item: &Item<'_>) {
    let printed = item.to_string();
    // Invalid UTF-8 in a program's name is printed as U+FFFD.
    let name = match item {
        Item::Rule(rule) => rule.program.map(String::from_utf8_lossy),
        Item::Default(_) => None,
    };
    let expected = match *item {
        Item::Rule(rule) => Item::Rule(Rule {
            program: name.as_ref().map(|name| name.as_bytes()),
            line: 1,
            ..rule
        }),
        default @ Item::Default(_) => default,
    };
    let again: Vec<_> = parse(printed.as_bytes()).collect();
    assert_eq!(again, [Ok(expected)], "{printed}");
}

fn assert_first_match_wins(rules: &[Rule<'_>]) {
    let source = Source {
        rules,
        ..Source::default()
    };
    for (moment, peer, port) in [
        (Moment::Create, None, None),
        (Moment::Connect, Some(IpAddr::from([10, 0, 0, 1])), Some(443)),
        (
            Moment::Accept,
            Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
            Some(8080),
        ),
    ] {
        for program in [&b"java"[..], b"sshd"] {
            let event = Event {
                moment,
                peer,
                port,
                program,
            };
            let first = rules.iter().position(|rule| rule.matches(&event));
            assert_eq!(source.rule(&event), first.map(|first| &rules[first]));
        }
    }
}
