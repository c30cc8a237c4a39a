//! Random policies and connections: the kernel has the options that the policy decides, and the counters show the rules
//! that matched.
//!
//! `KEEPALIVE_TEST_SEEDS=1000-2000` runs more of them than the suite.

use super::random::{ADDRESSES, OPTIONS, PORTS, Random};
use crate::support::py_peer::PyPeer;
use crate::support::test_cgroup::TestCgroup;
use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Event, Mode, Moment, Rule, Settings, SocketOption, Source, decide};
use std::env;
use std::fs;
use std::net::IpAddr;

const SEEDS: &str = "1-30";
/// Connections for each policy.
const CONNECTIONS: usize = 100;

/// The kernel's defaults, in the order of [`OPTIONS`].
const KERNEL_DEFAULTS: [u32; 5] = [0, 7200, 75, 9, 0];
const SHOWN: [SocketOption; 5] = [
    SocketOption::Keepalive,
    SocketOption::Idle,
    SocketOption::Interval,
    SocketOption::Count,
    SocketOption::UserTimeout,
];

/// Lines of Python for the program that connects.
const MEET: &str = "
listeners = {}

def apply(end, numbers):
    for name, number in numbers:
        try:
            own(end, **{name: number})
        except OSError:
            pass

def bind(listener, port):
    # Another test may examine all sockets of the machine, and hold one of these for a moment longer.
    for attempt in range(1000):
        try:
            return listener.bind(('', port))
        except OSError:
            time.sleep(0.01)
    raise TimeoutError('bind')

def open_all(ports):
    while listeners:
        listeners.popitem()[1].close()
    for port, is_dual, numbers in ports:
        for family in [socket.AF_INET6] if is_dual else [socket.AF_INET, socket.AF_INET6]:
            one = socket.socket(family)
            one.setsockopt(SOL, socket.SO_REUSEADDR, 1)
            one.setsockopt(SOL, socket.SO_LINGER, struct.pack('ii', 1, 0))
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
            apply(one, numbers)
            bind(one, port)
            one.listen(100)
            listeners[port, family] = one

def meet(port, source, host, is_mapped, numbers, later):
    is_v6 = ':' in host
    family = socket.AF_INET6 if is_v6 or is_mapped else socket.AF_INET
    prefix = '::ffff:' if is_mapped else ''
    listener = listeners.get((port, socket.AF_INET6 if is_v6 else socket.AF_INET)) or listeners[port, socket.AF_INET6]
    client = socket.socket(family)
    apply(client, numbers)
    client.bind((prefix + source, 0))
    client.connect((prefix + host, port))
    ends = client, listener.accept()[0]
    has = [[end.getsockopt(*option) for option in OPTIONS.values()] for end in ends]
    for end in ends:
        apply(end, later)
    has += [[end.getsockopt(*option) for option in OPTIONS.values()] for end in ends]
    ends[1].close()
    client.close()
    return ' '.join(str(number) for numbers in has for number in numbers)
";

/// Returns a command prefix that creates a network with all addresses, and no other sockets.
fn prepare() -> String {
    let add = |address: &&str| {
        let length = if address.contains(':') { "128 nodad" } else { "32" };
        let (length, flags) = length.split_at(length.find(' ').unwrap_or(length.len()));
        format!("ip address replace {address}/{length} dev lo{flags} && ")
    };
    let all: String = ADDRESSES.iter().map(add).collect();
    format!("ip link set lo up && {all}exec \"$@\"")
}

fn read(text: &str) -> (Settings, Vec<Rule<'_>>) {
    let (mut default, mut rules) = (Settings::NONE, Vec::new());
    for item in parse(text.as_bytes()) {
        match item.unwrap_or_else(|mistake| panic!("{mistake:?} in {text}")) {
            Item::Default(settings) => default = settings,
            Item::Rule(rule) => rules.push(rule),
        }
    }
    (default, rules)
}

/// Returns the expected options of a socket with `settings` when it is connected, after its program has set `own`.
fn established(settings: &Settings, own: &[(usize, i64)]) -> [u32; 5] {
    let mode = settings.mode.unwrap_or_default();
    let mut has = KERNEL_DEFAULTS;
    for (place, number) in own {
        has[*place] = valid(*place, *number).unwrap_or(has[*place]);
    }
    for (place, option) in SHOWN.into_iter().enumerate() {
        let policy_value = match option {
            SocketOption::UserTimeout => settings.user_timeout_ms(has[1], has[2], has[3]),
            _ => settings.number(option),
        };
        let is_own = own
            .iter()
            .any(|(set, number)| *set == place && valid(place, *number).is_some());
        // The engine cannot detect who has switched keepalive off, and a user timeout of 0 equals none.
        let is_known = option != SocketOption::Keepalive && has[place] != 0;
        if let Some(policy_value) = policy_value {
            has[place] = if is_own && is_known {
                mode.resolve(option, policy_value, has[place])
            } else {
                policy_value
            };
        }
    }
    has
}

/// Returns the expected options after the program has then set `later`.
fn after_later_calls(settings: &Settings, has: [u32; 5], later: &[(usize, i64)]) -> [u32; 5] {
    let mode = settings.mode.unwrap_or_default();
    let mut now = has;
    for (place, number) in later {
        let Some(wanted) = valid(*place, *number) else { continue };
        let policy_value = match SHOWN[*place] {
            SocketOption::UserTimeout => settings.user_timeout_ms(has[1], has[2], has[3]),
            option => settings.number(option),
        };
        now[*place] = match policy_value {
            Some(policy_value) if mode != Mode::Fill => mode.resolve(SHOWN[*place], policy_value, wanted),
            _ => wanted,
        };
    }
    now
}

/// Returns the number, if the kernel accepts it.
fn valid(place: usize, number: i64) -> Option<u32> {
    let (least, most) = SHOWN[place].row().range;
    u32::try_from(number)
        .ok()
        .filter(|number| (least..=most).contains(number))
}

/// Returns the options as a Python list.
fn as_python(own: &[(usize, i64)]) -> String {
    let pairs = own
        .iter()
        .map(|(place, number)| format!("('{}', {number})", OPTIONS[*place].0));
    format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
}

/// A connection, and the options that are set on its sockets.
#[derive(Debug)]
struct TestConnection {
    port: u16,
    source: IpAddr,
    host: IpAddr,
    is_mapped: bool,
    /// Set by the client before it connects.
    own: Vec<(usize, i64)>,
    /// Set by both ends when they are connected.
    later: Vec<(usize, i64)>,
}

impl TestConnection {
    fn by(random: &mut Random) -> Self {
        let host = random.address();
        Self {
            port: random.of(&PORTS),
            source: random.address_like(host),
            host,
            is_mapped: host.is_ipv4() && random.once_in(3),
            own: random.own(true),
            later: random.own(false),
        }
    }

    fn expression(&self) -> String {
        let Self { port, source, host, .. } = self;
        let mapped = if self.is_mapped { "True" } else { "False" };
        let [own, later] = [&self.own, &self.later].map(|own| as_python(own));
        format!("meet({port}, '{source}', '{host}', {mapped}, {own}, {later})")
    }

    /// Returns the events that the rules match, one for each end.
    fn events(&self) -> [Event<'static>; 2] {
        [(Moment::Connect, self.host), (Moment::Accept, self.source)].map(|(moment, peer)| Event {
            moment,
            peer: Some(peer),
            port: Some(self.port),
            program: b"python3",
        })
    }
}

/// Compares connections under one random policy with its decisions.
fn check(test_cgroup: &TestCgroup, py_peer: &mut PyPeer, seed: u64) {
    let mut random = Random(seed);
    let counts = [[0, 1], [1, 0], [3, 3], [8, 8], [2, 60], [60, 2], [0, 500], [500, 0]];
    let texts = random.of(&counts).map(|count| random.rules(count));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), &texts[1]).expect("a file of the test");
    test_cgroup.enable(&["--config", file.path().to_str().expect("a path"), "--rule", &texts[0]]);
    let parts = texts.each_ref().map(|text| read(text));
    let sources = parts.each_ref().map(|(default, rules)| Source {
        default: *default,
        rules,
    });

    let listeners = PORTS.map(|port| (port, random.once_in(2), random.own(true)));
    let words = listeners.each_ref().map(|(port, is_dual, own)| {
        let is_dual = if *is_dual { "True" } else { "False" };
        format!("({port}, {is_dual}, {})", as_python(own))
    });
    py_peer.execute(&format!("open_all([{}])", words.join(", ")));

    let mut counted = vec![0_u64; parts[0].1.len()];
    let mut without_rule = 0;
    for _ in 0..CONNECTIONS {
        let connection = TestConnection::by(&mut random);
        let answer = py_peer.ask(&connection.expression());
        let numbers: Vec<u32> = answer
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        let (sockets, _) = numbers.as_chunks::<5>();
        let listener = listeners.iter().find(|listener| listener.0 == connection.port);
        let listeners_own = &listener.expect("one for each port").2;
        for (end, (event, own)) in connection
            .events()
            .iter()
            .zip([&connection.own, listeners_own])
            .enumerate()
        {
            let settings = decide(&sources, event);
            let has = established(&settings, own);
            let then = after_later_calls(&settings, has, &connection.later);
            assert_eq!(
                [sockets[end], sockets[end + 2]],
                [has, then],
                "seed {seed}: {event:?}\n{connection:?}\nthe listener's: {listeners_own:?}\n{settings}\n{}\n--\n{}",
                texts[0],
                texts[1]
            );
            let rules = sources.each_ref().map(|source| source.rule(event));
            let first = sources[0].rules.iter().position(|rule| rules[0] == Some(rule));
            if let Some(first) = first {
                counted[first] += 1;
            }
            without_rule += u64::from(rules == [None, None]);
        }
    }

    let status = test_cgroup.status();
    let counters = status["rules"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rule| &rule["connections"]);
    let counters: Vec<u64> = counters.map(|count| count.as_u64().expect("a number")).collect();
    assert_eq!(
        counters[..counted.len()],
        counted,
        "seed {seed}: how often each rule was used"
    );
    assert_eq!(
        status["default_connections"], without_rule,
        "seed {seed}: how often none was"
    );
    assert_eq!(status["refused"], 0, "seed {seed}: {status}");
}

#[test]
fn kernel_options_are_those_that_the_policy_decides() {
    let test_cgroup = test_cgroup!();
    let seeds = env::var("KEEPALIVE_TEST_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    let (first, last) = seeds.split_once('-').expect("two numbers");
    let [first, last] = [first, last].map(|number| number.parse::<u64>().expect("a number"));
    let prepare = prepare();
    let mut py_peer = test_cgroup.py_peer_in(
        test_cgroup.directory(),
        &["unshare", "--net", "sh", "-c", &prepare, "sh"],
    );
    py_peer.execute(MEET);
    for seed in first..=last {
        check(&test_cgroup, &mut py_peer, seed);
    }
}
