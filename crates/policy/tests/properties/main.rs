//! What holds for every policy, whatever is written in it: the parser, the decision and the modes against laws and
//! naive models of themselves.

mod generators;

use generators::*;
use keepalive_policy::parse::{Error, Item, Mistake, parse};
use keepalive_policy::preset::{PRESETS, Remedy};
use keepalive_policy::{
    Environment, Mode, Number, OPTIONS, Rule, Settings, SocketOption, Source, Unit, address, decide, duration,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv4Addr};

proptest! {
    // A second or two in all in a debug build; `PROPTEST_CASES` does not count then.
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn printed_rules_parse_to_the_same_rule(line in any_line()) {
        let item = line.item(1);
        let printed = item.to_string();
        prop_assert_eq!(read(printed.as_bytes()), [Ok(item)], "{}", printed);
    }

    #[test]
    fn a_file_reads_line_by_line(lines in vec((any_line(), separator()), 0..12)) {
        let mut text = String::new();
        let mut expected = Vec::new();
        let mut has_default = false;
        for (line, separator) in &lines {
            if line.is_default() && has_default {
                continue;
            }
            has_default |= line.is_default();
            let item = line.item(line_number(text.as_bytes()));
            text += &item.to_string();
            text += separator;
            expected.push(Ok(item));
        }
        prop_assert_eq!(read(text.as_bytes()), expected, "{}", text);
    }

    #[test]
    fn a_statement_means_the_same_among_others(
        statements in vec((prop_oneof![any_statement(), near_statement()], separator()), 0..12),
    ) {
        let mut text = Vec::new();
        let mut expected = Vec::new();
        let mut has_default = false;
        for (statement, separator) in &statements {
            let alone = read(statement);
            prop_assert!(alone.len() <= 1);
            let line = line_number(&text);
            let column = text.len() - text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            let start = statement.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
            let is_default = statement.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()) == Some(b"default");
            expected.extend(alone.into_iter().map(|read| match read {
                _ if is_default && has_default => Err(Error {
                    line,
                    start: column + start,
                    end: column + start + b"default".len(),
                    mistake: Mistake::SecondDefault,
                }),
                Ok(Item::Rule(rule)) => Ok(Item::Rule(Rule { line, ..rule })),
                Ok(default @ Item::Default(_)) => {
                    has_default = true;
                    Ok(default)
                }
                Err(error) => Err(Error {
                    line,
                    start: column + error.start,
                    end: column + error.end,
                    ..error
                }),
            }));
            text.extend_from_slice(statement);
            text.extend_from_slice(separator.as_bytes());
        }
        prop_assert_eq!(read(&text), expected);
    }

    #[test]
    fn any_bytes_are_read_and_mistakes_point_into_their_line(
        text in prop_oneof![vec(any::<u8>(), 0..200), vec(select(&b"aop :/=[]*0123.-;#\n\r\tdfs"[..]), 0..200)],
    ) {
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        for read in parse(&text) {
            if let Err(error) = read {
                let line = lines[error.line as usize - 1];
                prop_assert!(error.start < error.end && error.end <= line.len());
                prop_assert!(!line[error.start..error.end].iter().any(u8::is_ascii_whitespace));
            }
        }
    }

    #[test]
    fn whatever_is_read_can_be_printed_and_read_again(statement in near_statement()) {
        if let [Ok(item)] = read(&statement)[..] {
            let printed = item.to_string();
            prop_assert_eq!(read(printed.as_bytes()), [Ok(item)], "{}", printed);
        }
    }

    #[test]
    fn preset_fills_unset_values(settings in timings(), preset in select(&PRESETS[..])) {
        let line = format!("default {settings} preset={}", preset.name);
        let expected = match preset.remedy {
            Remedy::Settings(timings) => Ok(Item::Default(settings.or(timings.settings()))),
            Remedy::Useless(_) => Err(Error {
                line: 1,
                start: line.len() - preset.name.len() - "preset=".len(),
                end: line.len(),
                mistake: Mistake::UselessPreset,
            }),
        };
        prop_assert_eq!(read(line.as_bytes()), [expected], "{}", line);
    }

    #[test]
    fn a_value_reads_as_its_number((option, number) in option_and_number()) {
        let settings = Settings::NONE.with(option, number);
        let printed = settings.to_string();
        let (name, value) = printed.split_once('=').unwrap();
        prop_assert_eq!(SocketOption::from_name(name.as_bytes()), Some(option));
        let mut again = Settings::NONE;
        prop_assert_eq!(again.set(option, value.as_bytes()), Ok(()));
        prop_assert_eq!(again, settings);
    }

    #[test]
    fn a_number_is_taken_exactly_when_it_is_within_the_range(option in select(&OPTIONS[1..]), number in any::<u64>()) {
        // Half of all numbers at most one and a half times the largest that is taken.
        let (smallest, largest) = option.row().range;
        for number in [number, number % (u64::from(largest) + u64::from(largest) / 2)] {
            let mut settings = Settings::NONE;
            let text = match option.row().unit {
                Unit::Milliseconds => format!("{number}ms"),
                _ => number.to_string(),
            };
            let is_taken = settings.set(option, text.as_bytes()).is_ok();
            prop_assert_eq!(is_taken, (u64::from(smallest)..=u64::from(largest)).contains(&number));
            prop_assert_eq!(settings == Settings::NONE, !is_taken);
        }
    }

    #[test]
    fn a_duration_is_its_number_times_its_unit(number in any::<u64>(), (unit, scale) in select(&UNITS[..])) {
        for number in [number, number % 1_000_000] {
            prop_assert_eq!(
                duration::parse(format!("{number}{unit}").as_bytes()).ok(),
                number.checked_mul(scale)
            );
        }
    }

    #[test]
    fn any_bytes_are_a_duration_only_with_a_known_unit(
        text in prop_oneof![vec(any::<u8>(), 0..8), vec(select(&b"0123+-msh ."[..]), 0..8)],
    ) {
        let unsigned = text.strip_prefix(b"+").unwrap_or(&text);
        let digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let unit = UNITS.iter().find(|(unit, _)| unit.as_bytes() == &unsigned[digits..]);
        prop_assert_eq!(duration::parse(&text).is_ok(), digits > 0 && unit.is_some());
        prop_assert_eq!(duration::parse_number(&text).is_ok(), digits > 0 && digits == unsigned.len());
    }

    #[test]
    fn the_first_rule_that_matches_decides(
        sources in vec((any_settings(), vec(line_near(), 0..8)), 0..4),
        event in event(),
    ) {
        let rules: Vec<Vec<Rule<'_>>> = sources
            .iter()
            .map(|(_, lines)| lines.iter().map(|line| line.rule(1)).collect())
            .collect();
        let decided = decide(
            &sources
                .iter()
                .zip(&rules)
                .map(|((default, _), rules)| Source { default: *default, rules })
                .collect::<Vec<_>>(),
            &event.as_event(),
        );
        // One source says what its first rule says; each option comes from the first source that says anything of it.
        let say: Vec<Settings> = sources
            .iter()
            .map(|(default, lines)| {
                let first = lines.iter().find(|line| line.is_for(&event));
                first.map_or(*default, |line| line.settings)
            })
            .collect();
        prop_assert_eq!(decided.keepalive, say.iter().find_map(|settings| settings.keepalive));
        prop_assert_eq!(decided.mode, say.iter().find_map(|settings| settings.mode));
        for option in OPTIONS {
            let mut numbers = say.iter().map(|settings| settings.written(option));
            let first = numbers.find(|number| *number != Number::Unset);
            prop_assert_eq!(decided.written(option), first.unwrap_or(Number::Unset), "{:?}", option);
        }
    }

    #[test]
    fn addresses_read_as_in_the_standard_library(
        text in prop_oneof![
            "[0-9a-fA-F:.]{0,40}",
            "[0-9]{0,4}(\\.[0-9]{0,4}){2,4}",
            "([0-9a-f]{0,5}::?){1,9}[0-9a-f]{0,4}(\\.[0-9]{1,3}){0,3}",
            any::<Ipv4Addr>().prop_map(|address| address.to_string()),
            sparse_v6().prop_map(|address| address.to_string()),
            any::<String>(),
        ],
        change in option::of((any::<prop::sample::Index>(), select(&b":.0f1 %g"[..]), 0..3_u8)),
    ) {
        let mut text = text.into_bytes();
        match change {
            Some((index, byte, 0)) => text.insert(index.index(text.len() + 1), byte),
            Some((index, byte, 1)) if !text.is_empty() => {
                let index = index.index(text.len());
                text[index] = byte;
            }
            Some((index, _, 2)) if !text.is_empty() => drop(text.remove(index.index(text.len()))),
            _ => {}
        }
        let expected = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<IpAddr>().ok());
        prop_assert_eq!(address::parse(&text), expected, "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn network_contains_addresses_with_its_bits(network in network(), address in near_address()) {
        prop_assert_eq!(network.network().contains(address), network.contains(address));
    }

    #[test]
    fn modes_resolve_by_their_laws(option in select(&OPTIONS[..]), ours in any::<u32>(), theirs in any::<u32>()) {
        let (smallest, largest) = option.row().range;
        let ours = smallest + ours % (largest - smallest + 1);
        // The kernel may have a number that it would not take, such as 0 for what was never set.
        for theirs in [theirs % 2, theirs % (largest + 1), ours] {
            let wait = |number: u32| match option {
                SocketOption::Keepalive | SocketOption::UserTimeout if number == 0 => u64::MAX,
                SocketOption::Keepalive => 0,
                _ => u64::from(number),
            };
            for mode in Mode::ALL {
                let resolved = mode.resolve(option, ours, theirs);
                prop_assert!(resolved == ours || resolved == theirs);
                prop_assert_eq!(mode.resolve(option, ours, resolved), resolved, "resolving twice");
                let expected = match mode {
                    Mode::Fill => wait(theirs),
                    Mode::Cap => wait(ours).min(wait(theirs)),
                    Mode::Floor => wait(ours).max(wait(theirs)),
                    Mode::Enforce => wait(ours),
                };
                prop_assert_eq!(wait(resolved), expected, "{:?}", mode);
            }
        }
    }

    #[test]
    fn fallbacks_may_be_grouped_as_one_likes(a in any_settings(), b in any_settings(), c in any_settings()) {
        prop_assert_eq!(a.or(b).or(c), a.or(b.or(c)));
        prop_assert_eq!(a.or(Settings::NONE), a);
        prop_assert_eq!(Settings::NONE.or(a), a);
        prop_assert_eq!(a.or(a), a);
    }

    #[test]
    fn any_environment_is_read_and_the_first_of_a_name_counts(
        entries in vec(prop_oneof![vec(any::<u8>(), 0..20), variable()], 0..12),
        secure in any::<bool>(),
    ) {
        let mut environment = Environment::default();
        let mut alone = Vec::new();
        let mut names: Vec<&[u8]> = Vec::new();
        for entry in &entries {
            let name = entry.split_inclusive(|byte| *byte == b'=').next().unwrap_or_default();
            let is_first = !names.contains(&name);
            let result = environment.read(entry, secure);
            let result_alone = Environment::default().read(entry, secure);
            prop_assert_eq!(result, if is_first { result_alone } else { Ok(()) });
            if is_first {
                names.push(name);
                alone.extend(result.is_ok().then_some(entry));
            }
            if let Err(invalid) = result {
                prop_assert_eq!(&[invalid.name, b"=", invalid.value].concat(), entry);
            }
        }
        // What cannot be used changes nothing of the rest.
        let mut usable = Environment::default();
        for entry in alone {
            prop_assert_eq!(usable.read(entry, secure), Ok(()));
        }
        let seen = |environment: &Environment<'_>| {
            format!("{:?}", (environment.settings(), environment.log, environment.rules, environment.config))
        };
        prop_assert_eq!(seen(&environment), seen(&usable));
        if secure {
            prop_assert_eq!((usable.log, usable.rules, usable.config), (None, None, None));
            prop_assert_eq!(usable.settings().mode, None);
        }
    }
}
