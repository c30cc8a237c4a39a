//! Arbitrary rules, events and texts.

use keepalive_policy::parse::{Error, Item, parse};
use keepalive_policy::{
    Direction, Event, Keepalive, Mode, Moment, Network, Number, OPTIONS, Ports, Rule, Settings, SocketOption, Unit,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Units and their milliseconds.
pub(crate) const UNITS: [(&str, u64); 5] = [("", 1000), ("s", 1000), ("ms", 1), ("m", 60_000), ("h", 3_600_000)];

/// What is matched in the tests of the decision: few enough of each kind that rules do match.
pub(crate) const PROGRAMS: [&str; 2] = ["java", "sshd"];
pub(crate) const PORTS: std::ops::Range<u16> = 0..6;

pub(crate) fn read(text: &[u8]) -> Vec<Result<Item<'_>, Error>> {
    parse(text).collect()
}

/// The number of the line that comes after `text`.
pub(crate) fn line_number(text: &[u8]) -> u32 {
    let lines = text.split(|byte| *byte == b'\n').count();
    u32::try_from(lines).unwrap()
}

/// A line as it is generated.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    program: Option<String>,
    direction: Option<(Direction, Prefix, Ports)>,
    pub(crate) settings: Settings,
}

impl Line {
    pub(crate) fn is_default(&self) -> bool {
        self.program.is_none() && self.direction.is_none()
    }

    pub(crate) fn rule(&self, line: u32) -> Rule<'_> {
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

    pub(crate) fn item(&self, line: u32) -> Item<'_> {
        if self.is_default() {
            Item::Default(self.settings)
        } else {
            Item::Rule(self.rule(line))
        }
    }

    /// The manual's words for what a rule matches. What is not known matches only what is not asked for.
    pub(crate) fn is_for(&self, event: &Happening) -> bool {
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
pub(crate) struct Prefix {
    bits: u128,
    length: u32,
}

impl Prefix {
    pub(crate) fn new(bits: u128, length: u32) -> Self {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Self {
            bits: bits & mask,
            length,
        }
    }

    /// Of length 0 it is every address, of both families.
    pub(crate) fn network(self) -> Network {
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

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        // IPv4, in either of its forms, is in no IPv6 network.
        let is_v4 = |bits: u128| bits >> 32 == 0xffff;
        let is_of_the_family = !is_v4(bits(address)) || (self.length >= 96 && is_v4(self.bits));
        self.length == 0 || is_of_the_family && Self::new(bits(address), self.length).bits == self.bits
    }
}

pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An event as it is generated.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    moment: Moment,
    peer: Option<IpAddr>,
    port: Option<u16>,
    program: &'static str,
}

impl Happening {
    pub(crate) fn as_event(&self) -> Event<'static> {
        Event {
            moment: self.moment,
            peer: self.peer,
            port: self.port,
            program: self.program.as_bytes(),
        }
    }
}

pub(crate) fn event() -> impl Strategy<Value = Happening> {
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
pub(crate) fn near_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4_u32).prop_map(|host| Ipv4Addr::from_bits(0x0a00_0000 | host << 22 | host).into()),
        (0..4_u32).prop_map(|host| Ipv4Addr::from_bits(host).to_ipv6_mapped().into()),
        (0..4_u128).prop_map(|host| Ipv6Addr::from_bits(0x2001_0db8 << 96 | host << 64 | host).into()),
        sparse_v6().prop_map(IpAddr::V6),
    ]
}

/// Addresses with groups of zeros.
pub(crate) fn sparse_v6() -> impl Strategy<Value = Ipv6Addr> {
    (any::<[u16; 8]>(), any::<[bool; 8]>()).prop_map(|(mut groups, kept)| {
        groups
            .iter_mut()
            .zip(kept)
            .for_each(|(group, kept)| *group *= u16::from(kept));
        Ipv6Addr::from(groups)
    })
}

pub(crate) fn network() -> impl Strategy<Value = Prefix> {
    let anywhere = (any::<u128>(), 0..=128_u32);
    let v4 = (any::<Ipv4Addr>(), 96..=128_u32).prop_map(|(address, length)| (bits(address.into()), length));
    let near = (near_address(), 0..=128_u32).prop_map(|(address, length)| (bits(address), length));
    prop_oneof![anywhere, v4, near, Just((0, 0))].prop_map(|(bits, length)| Prefix::new(bits, length))
}

pub(crate) fn ports() -> impl Strategy<Value = Ports> {
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

pub(crate) fn direction() -> impl Strategy<Value = Direction> {
    select(&[Direction::Connect, Direction::Accept][..])
}

/// Any number that `option` may have when it is written in a rule.
pub(crate) fn number(option: SocketOption) -> BoxedStrategy<Number> {
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
pub(crate) fn option_and_number() -> impl Strategy<Value = (SocketOption, Number)> {
    select(&OPTIONS[1..]).prop_flat_map(|option| (Just(option), number(option)))
}

/// Settings other than `off`, at least one.
pub(crate) fn timings() -> impl Strategy<Value = Settings> {
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
pub(crate) fn written_settings() -> impl Strategy<Value = Settings> {
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
pub(crate) fn any_settings() -> impl Strategy<Value = Settings> {
    let switched = (timings(), option_and_number())
        .prop_map(|(settings, (option, _))| settings.with(option, Number::Default).with_keepalive(Keepalive::Off));
    prop_oneof![4 => written_settings(), 1 => Just(Settings::NONE), 1 => switched]
}

/// Any line that may be written. A name is any text without white space, `;` and `#`.
pub(crate) fn any_line() -> impl Strategy<Value = Line> {
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
pub(crate) fn line_near() -> impl Strategy<Value = Line> {
    let network = (near_address(), 0..=128_u32).prop_map(|(address, length)| Prefix::new(bits(address), length));
    line(select(&PROGRAMS[..]).prop_map(str::to_owned), network, ports())
        .prop_filter("a rule", |line| !line.is_default())
}

pub(crate) fn line(
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
pub(crate) fn separator() -> impl Strategy<Value = String> {
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
pub(crate) fn any_statement() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("an end", |byte| !is_end(*byte)), 0..40)
}

/// Words of the grammar in the right order or in any, some of them with a byte changed.
pub(crate) fn near_statement() -> impl Strategy<Value = Vec<u8>> {
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

pub(crate) fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b';' | b'#')
}

/// A variable that keepalive reads, or almost, with a value that it takes, or not.
pub(crate) fn variable() -> impl Strategy<Value = Vec<u8>> {
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
