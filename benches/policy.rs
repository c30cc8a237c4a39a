//! Measures the policy alone: a decision among 100 rules, and parsing them. Prints a system call for scale. The policy
//! is compiled as for the library.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Instant;

use keepalive_policy::parse::{Item, parse};
use keepalive_policy::{Event, Moment, Rule, Settings, Source, decide};

const USAGE: &str = "\
usage: cargo bench --bench policy [-- [--quick] [--check]]
  --quick  a few rounds: shows that the bench works, no useful figures
  --check  exit status 1 when a decision takes too long
";

/// The number of rules.
const RULES: u16 = 100;
/// The maximum duration of a decision.
const LIMIT_NS: f64 = 1000.0;

/// The number of batches whose median is one figure.
const BATCHES: usize = 1001;
/// The number of calls in a batch: enough to make the clock's own cost and single interrupts negligible.
const CALLS: u32 = 100;

fn main() -> ExitCode {
    // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
    let (mut is_bench, mut is_quick, mut is_check) = (false, false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--quick" => is_quick = true,
            "--check" => is_check = true,
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let batches = if is_bench && !is_quick { BATCHES } else { 3 };
    let missed = run(batches);
    if is_check && missed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Measures and prints everything. Returns the number of decisions that took too long.
fn run(batches: usize) -> usize {
    println!("Medians of {batches} batches of {CALLS}.\n");
    let getpid = time(batches, || {
        black_box(std::process::id());
    });
    row("getpid (a system call)", getpid, "");

    let mut missed = 0;
    for (kind, rule, matches) in kinds() {
        let text: String = (0..RULES).map(rule).collect();
        let rules = read(&text);
        println!("\n{RULES} rules, such as: {}", text.lines().next().unwrap_or_default());
        let sources = [
            Source::default(),
            Source {
                default: Settings::EVERYWHERE,
                rules: &rules,
            },
        ];
        for (which, number) in [
            ("the first matches", 0),
            ("the last matches", RULES - 1),
            ("none matches", RULES),
        ] {
            let event = matches(number);
            let expected = (number < RULES).then(|| usize::from(number));
            let found = rules.iter().position(|rule| rule.matches(&event));
            assert_eq!(found, expected, "{kind}: {which}");
            let decision = time(batches, || {
                black_box(decide(black_box(&sources), black_box(&event)));
            });
            let is_met = decision <= LIMIT_NS;
            missed += usize::from(!is_met);
            row(
                &format!("decide, {which}"),
                decision,
                if is_met { "≤ 1000 ns ok" } else { "≤ 1000 ns MISS" },
            );
        }
        let reading = time(batches.div_ceil(10), || {
            black_box(parse(black_box(text.as_bytes())).count());
        });
        row("parse all", reading, "");
    }
    println!("\ntargets: {missed} missed");
    missed
}

/// The name of a kind of rules, the rule with a number, and the event that only this rule matches.
type Kind = (&'static str, fn(u16) -> String, fn(u16) -> Event<'static>);

fn kinds() -> [Kind; 4] {
    [
        (
            "ports",
            |n| format!("connect *:{} idle=30s\n", 8000 + n),
            |n| connect(Ipv4Addr::LOCALHOST, 8000 + n),
        ),
        (
            "networks",
            |n| format!("connect 10.0.{n}.0/24 idle=30s interval=10s\n"),
            |n| connect(Ipv4Addr::from_bits(0x0a00_0001 | u32::from(n) << 8), 443),
        ),
        (
            "IPv6 networks",
            |n| format!("connect [2001:db8:{n:x}::/48]:443 idle=30s interval=10s\n"),
            |n| connect(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1), 443),
        ),
        (
            "programs",
            |n| format!("program java connect 192.0.2.{n}:443 idle=30s count=5 user-timeout=auto\n"),
            |n| connect(Ipv4Addr::from_bits(0xc000_0200 | u32::from(n)), 443),
        ),
    ]
}

fn connect(peer: impl Into<IpAddr>, port: u16) -> Event<'static> {
    Event {
        moment: Moment::Connect,
        peer: Some(peer.into()),
        port: Some(port),
        program: b"java",
    }
}

fn read(text: &str) -> Vec<Rule<'_>> {
    let rule = |read| match read {
        Ok(Item::Rule(rule)) => rule,
        other => panic!("not a rule: {other:?}"),
    };
    parse(text.as_bytes()).map(rule).collect()
}

/// Returns the nanoseconds of one call.
fn time(batches: usize, mut call: impl FnMut()) -> f64 {
    let mut batch = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    batch();
    let mut times: Vec<f64> = (0..batches).map(|_| batch()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn row(name: &str, nanoseconds: f64, remark: &str) {
    println!("  {name:<28}{nanoseconds:>9.0} ns  {remark}");
}
