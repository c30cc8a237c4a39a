//! What holds for every policy, whatever is written in it: the parser, the decision and the modes against laws and
//! naive models of themselves.

use keepalive_policy::parse::{Error, Item, Mistake, parse};
use keepalive_policy::preset::{PRESETS, Remedy};
use keepalive_policy::{
    Direction, Environment, Event, Keepalive, Mode, Moment, Network, Number, OPTIONS, Ports, Rule, Settings,
    SocketOption, Source, Unit, address, decide, duration,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

proptest! {
    // A second or two in all in a debug build; `PROPTEST_CASES` does not count then.
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_printed_reads_as_the_same_rule(line in any_line()) {
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
    fn a_preset_fills_what_its_line_does_not_say(settings in timings(), preset in select(&PRESETS[..])) {
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
    fn a_network_contains_what_shares_its_bits(network in network(), address in near_address()) {
        prop_assert_eq!(network.network().contains(address), network.contains(address));
    }

    #[test]
    fn modes_settle_by_their_laws(option in select(&OPTIONS[..]), ours in any::<u32>(), theirs in any::<u32>()) {
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
                let settled = mode.settle(option, ours, theirs);
                prop_assert!(settled == ours || settled == theirs);
                prop_assert_eq!(mode.settle(option, ours, settled), settled, "settling twice");
                let expected = match mode {
                    Mode::Fill => wait(theirs),
                    Mode::Cap => wait(ours).min(wait(theirs)),
                    Mode::Floor => wait(ours).max(wait(theirs)),
                    Mode::Enforce => wait(ours),
                };
                prop_assert_eq!(wait(settled), expected, "{:?}", mode);
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

/// Units and their milliseconds.
const UNITS: [(&str, u64); 5] = [("", 1000), ("s", 1000), ("ms", 1), ("m", 60_000), ("h", 3_600_000)];

/// What is matched in the tests of the decision: few enough of each kind that rules do match.
const PROGRAMS: [&str; 2] = ["java", "sshd"];
const PORTS: std::ops::Range<u16> = 0..6;

fn read(text: &[u8]) -> Vec<Result<Item<'_>, Error>> {
    parse(text).collect()
}

/// The number of the line that comes after `text`.
fn line_number(text: &[u8]) -> u32 {
    let lines = text.split(|byte| *byte == b'\n').count();
    u32::try_from(lines).unwrap()
}

/// A line as it is generated.
#[derive(Clone, Debug)]
struct Line {
    program: Option<String>,
    direction: Option<(Direction, Prefix, Ports)>,
    settings: Settings,
}

impl Line {
    fn is_default(&self) -> bool {
        self.program.is_none() && self.direction.is_none()
    }

    fn rule(&self, line: u32) -> Rule<'_> {
        let place = self.direction.as_ref();
        Rule {
            program: self.program.as_ref().map(String::as_bytes),
            direction: place.map(|(direction, ..)| *direction),
            network: place.map_or(Network::ANY, |(_, prefix, _)| prefix.network()),
            ports: place.map_or(Ports::ANY, |(.., ports)| *ports),
            settings: self.settings,
            line,
        }
    }

    fn item(&self, line: u32) -> Item<'_> {
        if self.is_default() {
            Item::Default(self.settings)
        } else {
            Item::Rule(self.rule(line))
        }
    }

    /// The manual's words for what a rule matches. What is not known matches only what is not asked for.
    fn is_for(&self, event: &Happening) -> bool {
        let is_for_program = self.program.as_ref().is_none_or(|program| *program == event.program);
        let is_for_place = self.direction.as_ref().is_none_or(|(direction, prefix, ports)| {
            let is_direction = match direction {
                Direction::Connect => event.moment == Moment::Connect,
                Direction::Accept => matches!(event.moment, Moment::Accept | Moment::Listen),
            };
            let is_port = match event.port {
                Some(port) => ports.first <= port && port <= ports.last,
                None => *ports == Ports::ANY,
            };
            let is_peer = match event.peer {
                Some(peer) => prefix.contains(peer),
                None => prefix.length == 0,
            };
            is_direction && is_port && is_peer
        });
        is_for_program && is_for_place
    }
}

/// A network: bits of an IPv6 address, mapped if it was IPv4, and how many of them count.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    bits: u128,
    length: u32,
}

impl Prefix {
    fn new(bits: u128, length: u32) -> Self {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Self {
            bits: bits & mask,
            length,
        }
    }

    /// Of length 0 it is every address, of both families.
    fn network(self) -> Network {
        if self.length == 0 {
            return Network::ANY;
        }
        let address = Ipv6Addr::from(self.bits);
        let network = match address.to_ipv4_mapped() {
            Some(address) if self.length >= 96 => Network::new(address.into(), u8::try_from(self.length - 96).unwrap()),
            _ => Network::new(address.into(), u8::try_from(self.length).unwrap()),
        };
        network.expect("no bit is set behind the length")
    }

    fn contains(self, address: IpAddr) -> bool {
        // IPv4, in either of its forms, is in no IPv6 network.
        let is_v4 = |bits: u128| bits >> 32 == 0xffff;
        let is_of_the_family = !is_v4(bits(address)) || (self.length >= 96 && is_v4(self.bits));
        self.length == 0 || is_of_the_family && Self::new(bits(address), self.length).bits == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An event as it is generated.
#[derive(Clone, Debug)]
struct Happening {
    moment: Moment,
    peer: Option<IpAddr>,
    port: Option<u16>,
    program: &'static str,
}

impl Happening {
    fn as_event(&self) -> Event<'static> {
        Event {
            moment: self.moment,
            peer: self.peer,
            port: self.port,
            program: self.program.as_bytes(),
        }
    }
}

fn event() -> impl Strategy<Value = Happening> {
    let moments = select(&[Moment::Create, Moment::Connect, Moment::Listen, Moment::Accept][..]);
    let known = (
        moments,
        option::weighted(0.9, near_address()),
        option::weighted(0.9, PORTS),
        select(&PROGRAMS[..]),
    );
    known.prop_map(|(moment, peer, port, program)| Happening {
        moment,
        peer,
        port,
        program,
    })
}

/// Addresses that often share their first bits.
fn near_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4_u32).prop_map(|host| Ipv4Addr::from_bits(0x0a00_0000 | host << 22 | host).into()),
        (0..4_u32).prop_map(|host| Ipv4Addr::from_bits(host).to_ipv6_mapped().into()),
        (0..4_u128).prop_map(|host| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host << 64 | host).into()),
        sparse_v6().prop_map(IpAddr::V6),
    ]
}

/// Addresses with groups of zeros.
fn sparse_v6() -> impl Strategy<Value = Ipv6Addr> {
    (any::<[u16; 8]>(), any::<[bool; 8]>()).prop_map(|(mut groups, kept)| {
        groups
            .iter_mut()
            .zip(kept)
            .for_each(|(group, kept)| *group *= u16::from(kept));
        Ipv6Addr::from(groups)
    })
}

fn network() -> impl Strategy<Value = Prefix> {
    let anywhere = (any::<u128>(), 0..=128_u32);
    let v4 = (any::<Ipv4Addr>(), 96..=128_u32).prop_map(|(address, length)| (bits(address.into()), length));
    let near = (near_address(), 0..=128_u32).prop_map(|(address, length)| (bits(address), length));
    prop_oneof![anywhere, v4, near, Just((0, 0))].prop_map(|(bits, length)| Prefix::new(bits, length))
}

fn ports() -> impl Strategy<Value = Ports> {
    let pair = |a: u16, b: u16| Ports {
        first: a.min(b),
        last: a.max(b),
    };
    prop_oneof![
        Just(Ports::ANY),
        any::<u16>().prop_map(move |port| pair(port, port)),
        any::<(u16, u16)>().prop_map(move |(a, b)| pair(a, b)),
        (PORTS, PORTS).prop_map(move |(a, b)| pair(a, b)),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    select(&[Direction::Connect, Direction::Accept][..])
}

/// Any number that `option` may have when it is written in a rule.
fn number(option: SocketOption) -> BoxedStrategy<Number> {
    let (smallest, largest) = option.row().range;
    let any = (smallest..=largest).prop_map(Number::Is);
    match option.row().unit {
        Unit::Milliseconds => prop_oneof![
            any,
            Just(Number::Auto),
            Just(Number::Is(0)),
            (0..=largest / 1000).prop_map(|seconds| Number::Is(seconds * 1000)),
        ]
        .boxed(),
        _ => any.boxed(),
    }
}

/// Any option but the switch, with any number that it may have.
fn option_and_number() -> impl Strategy<Value = (SocketOption, Number)> {
    select(&OPTIONS[1..]).prop_flat_map(|option| (Just(option), number(option)))
}

/// Settings other than `off`, at least one.
fn timings() -> impl Strategy<Value = Settings> {
    let keepalive = option::of(select(&[Keepalive::On, Keepalive::Leave][..]));
    let numbers: Vec<_> = OPTIONS[1..].iter().map(|option| option::of(number(*option))).collect();
    (
        keepalive,
        option::of(select(&Mode::ALL[..])),
        numbers,
        option_and_number(),
    )
        .prop_map(|(keepalive, mode, numbers, (least, number))| {
            let mut settings = Settings::NONE.with(least, number);
            settings.keepalive = keepalive;
            settings.mode = mode;
            for (option, number) in OPTIONS[1..].iter().zip(numbers) {
                if let Some(number) = number {
                    settings = settings.with(*option, number);
                }
            }
            settings
        })
}

/// What a line may say.
fn written_settings() -> impl Strategy<Value = Settings> {
    let one = (option_and_number()).prop_map(|(option, number)| Settings::NONE.with(option, number));
    let mode = select(&Mode::ALL[..]).prop_map(|mode| Settings::NONE.with_mode(mode));
    prop_oneof![
        4 => timings(),
        2 => one,
        1 => mode,
        1 => Just(Settings::NONE.with_keepalive(Keepalive::On)),
        1 => Just(Settings::NONE.with_keepalive(Keepalive::Leave)),
        1 => Just(Settings::NONE.with_keepalive(Keepalive::Off)),
    ]
}

/// What settings may be in a program, written or not.
fn any_settings() -> impl Strategy<Value = Settings> {
    let switched = (timings(), option_and_number())
        .prop_map(|(settings, (option, _))| settings.with(option, Number::Default).with_keepalive(Keepalive::Off));
    prop_oneof![4 => written_settings(), 1 => Just(Settings::NONE), 1 => switched]
}

/// Any line that may be written. A name is any text without white space, `;` and `#`.
fn any_line() -> impl Strategy<Value = Line> {
    let program = prop_oneof![
        "[a-z-]{1,15}",
        "[^\\s\\x00-\\x20;#]{1,15}",
        Just("connect".to_owned()),
        Just("off".to_owned()),
        Just("idle=1".to_owned()),
    ];
    line(program, network(), ports())
}

/// A line that often matches an event.
fn line_near() -> impl Strategy<Value = Line> {
    let network = (near_address(), 0..=128_u32).prop_map(|(address, length)| Prefix::new(bits(address), length));
    line(select(&PROGRAMS[..]).prop_map(str::to_owned), network, ports())
        .prop_filter("a rule", |line| !line.is_default())
}

fn line(
    program: impl Strategy<Value = String>,
    network: impl Strategy<Value = Prefix>,
    ports: impl Strategy<Value = Ports>,
) -> impl Strategy<Value = Line> {
    let direction = option::weighted(0.8, (direction(), network, ports));
    (option::of(program), direction, written_settings()).prop_map(|(program, direction, settings)| Line {
        program,
        direction,
        settings,
    })
}

/// What ends a statement, with anything that says nothing behind it.
fn separator() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\n".to_owned()),
        Just(" \r\n".to_owned()),
        Just(";".to_owned()),
        Just(" ;; \t".to_owned()),
        Just("\n\n \n".to_owned()),
        "#[^\n]{0,20}\n",
        Just(" # a ; default idle=1 # b\n  ".to_owned()),
    ]
}

/// Any bytes but those that end a statement.
fn any_statement() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("an end", |byte| !is_end(*byte)), 0..40)
}

/// Words of the grammar in the right order or in any, some of them with a byte changed.
fn near_statement() -> impl Strategy<Value = Vec<u8>> {
    const HEADS: &str = "default|connect|accept|program java|program off|program sshd accept|connect *|connect :80|\
        accept *:1-2|connect 10.0.0.0/8|accept 10.0.0.1:443|connect [2001:db8::/32]:443|connect ::1|accept [::ffff:1.2.3.4]:1|\
        connect ::/0|accept 0.0.0.0/0|connect 10.0.0.1/8|accept :2-1|connect :65536|connect [::1|connect [::1]x|program|x";
    const SETTINGS: &str = "off|OFF|idle=60s|idle=+2m|interval=2000ms|interval=1500ms|count=+5|count=128|count=1s|\
        user-timeout=auto|user-timeout=OFF|user-timeout=1500ms|user-timeout=0|mode=Cap|mode=max|preset=aws-nlb|\
        preset=AWS-ALB|keepalive=on|keepalive=Leave|keepalive=off|keepalive=OFF|keepalive=skip|syn-count=|\
        defer-accept=1h|max-segment=88|window-clamp=0|IDLE=1|idle";
    let words = |words: &'static str| select(words.split('|').map(str::to_owned).collect::<Vec<_>>());
    let written = any_line().prop_map(|line| line.item(1).to_string());
    let in_order =
        (words(HEADS), vec(words(SETTINGS), 1..4)).prop_map(|(head, rest)| format!("{head} {}", rest.join(" ")));
    let in_any_order = vec(prop_oneof![words(HEADS), words(SETTINGS)], 0..5).prop_map(|words| words.join("\t "));
    let change = option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (prop_oneof![2 => in_order, 1 => in_any_order, 1 => written], change).prop_map(|(statement, change)| {
        let mut statement = statement.into_bytes();
        if let Some((index, byte)) = change
            && !statement.is_empty()
            && !is_end(byte)
        {
            let index = index.index(statement.len());
            statement[index] = byte;
        }
        // A program's name that is no UTF-8 is not printed as it was read.
        if std::str::from_utf8(&statement).is_err() {
            statement.retain(u8::is_ascii);
        }
        statement
    })
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b';' | b'#')
}

/// A variable that keepalive reads, or almost, with a value that it takes, or not.
fn variable() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: [&str; 24] = [
        "KEEPALIVE",
        "KEEPIDLE",
        "KEEPINTVL",
        "KEEPCNT",
        "KEEPALIVE_USER_TIMEOUT",
        "KEEPALIVE_MODE",
        "KEEPALIVE_LOG",
        "KEEPALIVE_RULES",
        "KEEPALIVE_CONFIG",
        "DD_USE_KEEPALIVE",
        "DD_DEBUG",
        "DD_TCP_KEEPALIVE_TIME",
        "DD_TCP_KEEPALIVE_INTVL",
        "DD_TCP_KEEPALIVE_PROBES",
        "LIBKEEPALIVE_DEBUG",
        "TCP_KEEPIDLE",
        "TCP_KEEPINTVL",
        "TCP_KEEPCNT",
        "TCP_USER_TIMEOUT",
        "TCP_SYNCNT",
        "TCP_DEFER_ACCEPT",
        "TCP_MAXSEG",
        "TCP_WINDOW_CLAMP",
        "KEEP",
    ];
    let value = prop_oneof![
        (0..200_u32).prop_map(|number| number.to_string()),
        select(
            &[
                "on", "OFF", "skip", "auto", "-1", "2h", "60x", "cap", "stderr", "", " 5 "
            ][..]
        )
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    (select(&NAMES[..]), value).prop_map(|(name, value)| format!("{name}={value}").into_bytes())
}
