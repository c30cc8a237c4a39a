//! Tests every form and every mistake of the grammar.

use super::*;
use std::string::{String, ToString};
use std::vec::Vec;

/// Parses a text without mistakes. Returns its default and its rules.
pub(crate) fn rules(text: &str) -> (Settings, Vec<Rule<'_>>) {
    let mut default = Settings::NONE;
    let mut rules = Vec::new();
    for item in parse(text.as_bytes()) {
        match item.unwrap() {
            Item::Default(settings) => default = settings,
            Item::Rule(rule) => rules.push(rule),
        }
    }
    (default, rules)
}

/// Returns the mistakes of a text, each with the words at its position.
fn mistakes(text: &str) -> Vec<(u32, &str, Mistake)> {
    let lines: Vec<&str> = text.split('\n').collect();
    parse(text.as_bytes())
        .filter_map(Result::err)
        .map(|error| {
            (
                error.line,
                &lines[error.line as usize - 1][error.start..error.end],
                error.mistake,
            )
        })
        .collect()
}

#[test]
fn the_grammar_of_the_manual_is_read_and_printed_as_it_is_written() {
    let text = "default idle=60s interval=10s count=6\n\
                connect 10.0.0.0/8:5432 idle=30s user-timeout=auto\n\
                connect [2001:db8::/32]:443 off\n\
                accept *:8000-8999 idle=120s mode=enforce\n\
                program sshd off\n\
                program java connect *:27017 idle=120s\n\
                connect 192.0.2.1 keepalive=leave syn-count=3\n\
                accept [::1]:80 max-segment=1400\n";
    let printed: String = parse(text.as_bytes())
        .map(|item| item.unwrap().to_string() + "\n")
        .collect();
    assert_eq!(printed, text);
}

#[test]
fn comments_blank_lines_and_semicolons_are_parsed() {
    let text = "# nothing\n\n  \t;; connect off # the rest ; default idle=1\n;accept off;default idle=2#x\n";
    let items: Vec<_> = parse(text.as_bytes()).map(|item| item.unwrap().to_string()).collect();
    assert_eq!(items, ["connect * off", "accept * off", "default idle=2s"]);
    let lines: Vec<_> = rules(text).1.iter().map(|rule| rule.line).collect();
    assert_eq!(lines, [3, 4]);
}

#[test]
fn addresses_are_read_in_every_form() {
    for (text, expected) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3:80", "10.1.2.3:80"),
        (":443", "*:443"),
        ("*:1-2", "*:1-2"),
        ("*", "*"),
        ("2001:db8::/32", "[2001:db8::/32]"),
        ("::1", "[::1]"),
        ("[::1]:22", "[::1]:22"),
        ("[::ffff:10.0.0.0/104]:1", "10.0.0.0/8:1"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("[::/0]:1", "[::/0]:1"),
        ("[10.0.0.0/8]:1", "10.0.0.0/8:1"),
    ] {
        let line = std::format!("connect {text} off");
        let printed: Vec<_> = parse(line.as_bytes()).map(|item| item.unwrap().to_string()).collect();
        assert_eq!(printed, [std::format!("connect {expected} off")]);
    }
}

#[test]
fn every_mistake_is_found_where_it_is() {
    for (text, place, mistake) in [
        ("conect 10.0.0.1 off", "conect", Mistake::UnknownKeyword),
        ("program", "program", Mistake::NoProgram),
        ("program idle=60s", "program", Mistake::NoProgram),
        ("program ssh", "ssh", Mistake::NoSettings),
        ("default", "default", Mistake::NoSettings),
        ("connect", "connect", Mistake::NoSettings),
        ("connect *:80", "*:80", Mistake::NoSettings),
        ("connect 10.0.0 off", "10.0.0", Mistake::BadAddress),
        ("connect [::1 off", "[::1", Mistake::BadAddress),
        ("connect [::1]80 off", "[::1]80", Mistake::BadAddress),
        ("connect example.com:80 off", "example.com:80", Mistake::BadAddress),
        ("connect 10.0.0.0/33 off", "10.0.0.0/33", Mistake::BadLength),
        ("connect [::/x] off", "[::/x]", Mistake::BadLength),
        ("connect 10.0.0.1/8 off", "10.0.0.1/8", Mistake::StrayBits),
        ("connect :65536 off", ":65536", Mistake::BadPorts),
        ("connect :9-8 off", ":9-8", Mistake::BadPorts),
        ("connect 10.0.0.1: off", "10.0.0.1:", Mistake::BadPorts),
        ("connect * off idle=1", "idle=1", Mistake::OffAndMore),
        ("connect * idle=1 off", "off", Mistake::OffAndMore),
        ("connect * idle=1 now", "now", Mistake::NotASetting),
        ("default idel=1", "idel=1", Mistake::UnknownSetting),
        ("default idle=1 idle=2", "idle=2", Mistake::Twice),
        ("default mode=fill mode=cap", "mode=cap", Mistake::Twice),
        ("default mode=max", "mode=max", Mistake::BadMode),
        (
            "default idle=5 keepalive=OFF",
            "keepalive=OFF",
            Mistake::BadValue(Invalid {
                option: SocketOption::Keepalive,
                problem: Problem::UnknownWord,
            }),
        ),
        ("default preset=nonesuch", "preset=nonesuch", Mistake::UnknownPreset),
        ("default idle=1\ndefault idle=2", "default", Mistake::SecondDefault),
        (
            "default idle=60x",
            "idle=60x",
            Mistake::BadValue(Invalid {
                option: SocketOption::Idle,
                problem: Problem::UnknownUnit,
            }),
        ),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!((found[0].1, found[0].2), (place, mistake), "{text}");
    }
}

#[test]
fn one_mistake_leaves_the_other_lines() {
    let text = "default idle=1\nconnect x off; accept :1 off\nprogram a off";
    assert_eq!(parse(text.as_bytes()).flatten().count(), 3);
    assert_eq!(mistakes(text), [(2, "x", Mistake::BadAddress)]);
    let second = "accept :1 off; accept :x off";
    assert_eq!(mistakes(second), [(1, ":x", Mistake::BadPorts)]);
}

#[test]
fn statements_have_no_comments() {
    let text = b"\xef\xbb\xbf# a; b\ndefault idle=1 # c ; d\r\n;; connect :80\toff;accept off#e\n #";
    let found: Vec<_> = statements(text).collect();
    assert_eq!(found, [&b"default idle=1"[..], b"connect :80\toff", b"accept off"]);
    assert_eq!(statements(b"").next(), None);
    let joined = found.join(&b';');
    let items = |text| {
        parse(text)
            .map(|item| {
                item.map(|item| match item {
                    Item::Rule(rule) => Item::Rule(Rule { line: 1, ..rule }),
                    Item::Default(settings) => Item::Default(settings),
                })
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(items(&joined), items(text));
}
