//! Measures what the cgroup engine costs for connections, calls and commands, without and with policies. The
//! contestants take turns in one process, so all have the same noise. The measured code is C (`cgroup.c`). The bench
//! runs in its own network and mount namespaces and its own cgroup.
#![forbid(unsafe_code)]

mod cgroup_by_hand;
mod cgroup_fixture;
mod cgroup_process;
mod harness;
#[allow(dead_code, reason = "other benches use more of it")]
mod statistics;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use cgroup_fixture::{Fixture, succeed};
use cgroup_process::Process;
use keepalive_bpf::assembler::Instruction;
use keepalive_bpf::kernel_types::KernelTypes;
use keepalive_bpf::tracing::CHANGES;
use keepalive_sys::bpf::call::{Hook, link_to_cgroup, link_to_tracepoint, load_program};
use keepalive_sys::cgroup;
use rustix::process::geteuid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use statistics::{Series, Spread};
use target::{Target, Targets};

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo bench --bench cgroup [-- [--quick] [--check]]
  --quick  a few rounds: whether it works, not what it costs
  --check  exit status 1 when a target is missed
";

/// How long to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    slice_ms: u32,
    commands: usize,
}

const FULL: Effort = Effort {
    rounds: 100,
    slice_ms: 20,
    commands: 100,
};
const QUICK: Effort = Effort {
    rounds: 3,
    slice_ms: 3,
    commands: 3,
};

/// The maximum lifetime of a process, in rounds. The pages and addresses of a process can make it a percent faster or
/// slower as long as it lives.
const ROUNDS_PER_PROCESS: usize = 10;

/// Here the kernel keeps no state of ended connections; otherwise the ports would soon be used up.
const PREPARE: &str = "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets
mount -t bpf bpf /sys/fs/bpf";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut is_bench, mut is_quick, mut checks, mut is_inside) = (false, false, false, false);
    for argument in &arguments {
        match argument.as_str() {
            // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
            "--bench" => is_bench = true,
            "--quick" => is_quick = true,
            "--check" => checks = true,
            // This program executes itself with this argument.
            "--inside" => is_inside = true,
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let result = if is_inside {
        run(if is_bench && !is_quick { FULL } else { QUICK })
    } else if let Some(why) = missing() {
        println!("no figures of the cgroup engine: {why}");
        return ExitCode::SUCCESS;
    } else {
        harness::go_inside(&["--mount"], PREPARE, &arguments)
    };
    harness::status(result, checks)
}

/// Returns why this machine cannot run the bench, if it cannot.
fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("it requires root".to_owned());
    }
    if let Some(missing) = harness::missing_tool(&["unshare", "ip", "mount", "cc"]) {
        return Some(missing);
    }
    let status = Command::new(env!("CARGO_BIN_EXE_keepalive"))
        .args(["cgroup", "status", "--json"])
        .output();
    let report: serde_json::Value = serde_json::from_slice(&status.ok()?.stdout).ok()?;
    report["obstacle"].as_str().map(str::to_owned)
}

/// Pins this process and its children to one processor, because a migration costs more than the measured differences.
fn pin() -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).unwrap_or(0);
    let mut only = CpuSet::new();
    only.set(last);
    sched_setaffinity(None, &only)?;
    Ok(last)
}

/// The condition under which a contestant runs.
enum Policy {
    /// No eBPF program.
    NoProgram,
    /// An empty eBPF program: the kernel's cost of calling any program.
    Empty,
    /// An eBPF program that makes five calls of `bpf_setsockopt()`, and does nothing else.
    ByHand,
    /// The policy of these flags.
    Flags(&'static [&'static str]),
    /// No eBPF program in the cgroup, while `keepalive trace` runs.
    Traced,
    /// No eBPF program in the cgroup, and an empty one at the tracepoint of `keepalive trace`: the kernel's cost of calling
    /// any program at each change of a connection's state.
    EmptyTracer,
}
use Policy::{ByHand, Empty, EmptyTracer, Flags, NoProgram, Traced};

/// What keeps a condition.
enum Kept {
    Nothing,
    /// The link of an eBPF program, which ends when it is closed.
    Link(#[allow(dead_code, reason = "kept open")] OwnedFd),
    /// A command, which is ended.
    Command(Child),
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Self::Command(child) = self {
            // An error means that it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The flags of five options, and more.
macro_rules! five {
    ($($more:literal),*) => {
        ["--idle", "60", "--interval", "15", "--count", "5", "--user-timeout", "135" $(, $more)*]
    };
}
const FIVE: [&str; 8] = five!();
const FIVE_ENFORCED: [&str; 10] = five!("--mode", "enforce");
const FIVE_COUNTED: [&str; 9] = five!("--count-endings");
const NO_MATCH: [&str; 4] = ["--rule", "default off", "--rule", "connect 192.0.2.0/24 idle=30"];

impl Policy {
    /// Applies the condition until the returned value is dropped, or until the next condition is applied.
    fn begin(&self, fixture: &Fixture) -> Result<Kept, Error> {
        match self {
            NoProgram => fixture.disable().map(|()| Kept::Nothing),
            Empty => attach(fixture, &ALLOW),
            ByHand => attach(fixture, &cgroup_by_hand::program()),
            Flags(flags) => fixture.enable(flags).map(|()| Kept::Nothing),
            Traced => {
                fixture.disable()?;
                fixture.trace().map(Kept::Command)
            }
            EmptyTracer => {
                fixture.disable()?;
                let tracepoint = KernelTypes::read()?.tracepoint(CHANGES).ok_or("no tracepoint")?;
                let program = load_program(Hook::Tracepoint(tracepoint), "empty", &ALLOW);
                let program = program.map_err(|refusal| refusal.error)?;
                Ok(Kept::Link(link_to_tracepoint(program)?))
            }
        }
    }
}

/// Attaches a program to the cgroup instead of a policy.
fn attach(fixture: &Fixture, instructions: &[Instruction]) -> Result<Kept, Error> {
    fixture.disable()?;
    let program = load_program(Hook::SockOps, "bench", instructions).map_err(|refusal| refusal.error)?;
    let cgroup = cgroup::open_directory(&fixture.cgroup)?;
    Ok(Kept::Link(link_to_cgroup(program, cgroup, Hook::SockOps)?))
}

/// `r0 = 1; exit`
const ALLOW: [Instruction; 2] = [instruction(0xb7, 1), instruction(0x95, 0)];

const fn instruction(code: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: 0,
        offset: 0,
        immediate,
    }
}

/// A contestant.
struct Contestant {
    name: &'static str,
    /// The case of `cgroup.c`.
    case: &'static str,
    policy: Policy,
    /// The minimum rate relative to the first contestant.
    target: Option<f64>,
}

const fn contestant(name: &'static str, case: &'static str, policy: Policy, target: Option<f64>) -> Contestant {
    Contestant {
        name,
        case,
        policy,
        target,
    }
}

/// Lets the contestants take turns. Returns the nanoseconds of each.
fn race(fixture: &Fixture, contestants: &[Contestant], effort: Effort) -> Result<Vec<Series>, Error> {
    let mut times = vec![Series::default(); contestants.len()];
    let mut processes: BTreeMap<&str, Process> = BTreeMap::new();
    for round in 0..effort.rounds {
        if round % ROUNDS_PER_PROCESS == 0 {
            processes.clear();
        }
        for step in 0..contestants.len() {
            // The order alternates in direction and begins with another contestant each time, so no contestant always
            // follows the same one.
            let step = if round % 2 == 0 {
                step
            } else {
                contestants.len() - 1 - step
            };
            let which = (step + round / 2) % contestants.len();
            let contestant = &contestants[which];
            if !processes.contains_key(contestant.case) {
                processes.insert(contestant.case, Process::start(fixture, contestant.case, effort)?);
            }
            let process = processes.get_mut(contestant.case).ok_or("no process")?;
            let _kept = contestant.policy.begin(fixture)?;
            // The command has run on this processor since the last slice.
            process.slice()?;
            times[which].0.push(process.slice()?);
        }
    }
    Ok(times)
}

/// Prints the contestants as rates relative to the first.
fn rates(
    fixture: &Fixture,
    title: &str,
    contestants: &[Contestant],
    effort: Effort,
    targets: &mut Targets,
) -> Result<(), Error> {
    let times = race(fixture, contestants, effort)?;
    println!("\n{title}");
    for (contestant, series) in contestants.iter().zip(&times) {
        let Spread { low, median, high } = times[0].over(series);
        let added = series.minus(&times[0]).median();
        let rate = format!("{median:.3} [{low:.3} {high:.3}]");
        println!(
            "  {:<24}{:>7.0} ns {added:>+6.0} ns  {rate}{}",
            contestant.name,
            series.median(),
            targets.verdict(contestant.target.map_or(Target::None, Target::AtLeast), median, 3)
        );
    }
    Ok(())
}

/// The most milliseconds that `run --engine cgroup` may add.
const START: f64 = 5.0;

/// Prints the duration of commands.
fn commands(fixture: &Fixture, effort: Effort, targets: &mut Targets) -> Result<(), Error> {
    let on = ["cgroup", "enable", &fixture.name];
    let off = ["cgroup", "disable", &fixture.name];
    let contestants: [(&str, Policy, &[&str]); 7] = [
        ("true", NoProgram, &[]),
        (
            "run --engine preload true",
            NoProgram,
            &["run", "--engine", "preload", "true"],
        ),
        (
            "run --engine cgroup true",
            NoProgram,
            &["run", "--engine", "cgroup", "true"],
        ),
        ("cgroup enable, the first", NoProgram, &on),
        ("cgroup enable, another", Flags(&FIVE), &on),
        ("cgroup disable", Flags(&FIVE), &off),
        ("cgroup status", Flags(&FIVE), &["cgroup", "status"]),
    ];
    let mut times = vec![Series::default(); contestants.len()];
    for round in 0..effort.commands {
        for step in 0..contestants.len() {
            let which = (step + round) % contestants.len();
            let (_, before, words) = &contestants[which];
            before.begin(fixture)?;
            let mut command = if words.is_empty() {
                Command::new("true")
            } else {
                fixture.keepalive(words)
            };
            let start = Instant::now();
            succeed(&mut command)?;
            times[which].0.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("\ncommands, to their ends");
    for ((name, ..), series) in contestants.iter().zip(&times) {
        let Spread { low, median, high } = Spread::of(series.0.iter().copied());
        println!("  {name:<26}{median:>7.2} ms [{low:.2} {high:.2}]");
    }
    let added = times[2].minus(&times[0]).median();
    println!(
        "  run --engine cgroup adds {added:.2} ms{}",
        targets.verdict(Target::AtMost(START), added, 2)
    );
    fixture.disable()
}

/// Measures and prints everything. Returns the number of missed targets.
fn run(effort: Effort) -> Result<usize, Error> {
    let processor = pin()?;
    let fixture = Fixture::prepare()?;
    println!(
        "In turn, on processor {processor}. Medians of {} rounds; rates relative to the first\n\
         line, of the same round, with quartiles.",
        effort.rounds
    );
    let mut targets = Targets::default();
    rates(
        &fixture,
        "a connection: socket, connect, accept, both ends closed",
        &[
            contestant("no policy", "closed", NoProgram, None),
            contestant("an empty eBPF program", "closed", Empty, None),
            contestant("no rule matches", "closed", Flags(&NO_MATCH), Some(0.98)),
            contestant("5 options", "closed", Flags(&FIVE), Some(0.952)),
            contestant("5 options, enforce", "closed", Flags(&FIVE_ENFORCED), None),
            contestant("500 rules, none matches", "closed", Flags(&["--config", "NONE"]), None),
            contestant("500 rules, the last does", "closed", Flags(&["--config", "LAST"]), None),
            contestant("5 set by the program", "itself", NoProgram, None),
        ],
        effort,
        &mut targets,
    )?;
    rates(
        &fixture,
        "the same, relative to the simplest eBPF program",
        &[
            contestant("5 options by hand", "closed", ByHand, None),
            contestant("5 options", "closed", Flags(&FIVE), Some(0.99)),
        ],
        effort,
        &mut targets,
    )?;
    rates(
        &fixture,
        "the same, reset: the shortest life that a connection can have",
        &[
            contestant("no policy", "reset", NoProgram, None),
            contestant("an empty eBPF program", "reset", Empty, None),
            contestant("no rule matches", "reset", Flags(&NO_MATCH), None),
            contestant("5 options", "reset", Flags(&FIVE), None),
        ],
        effort,
        &mut targets,
    )?;
    for (title, case) in [
        ("--count-endings, both ends closed", "closed"),
        ("--count-endings, reset", "reset"),
    ] {
        rates(
            &fixture,
            title,
            &[
                contestant("5 options", case, Flags(&FIVE), None),
                contestant("5 options, counted", case, Flags(&FIVE_COUNTED), None),
            ],
            effort,
            &mut targets,
        )?;
    }
    rates(
        &fixture,
        "the same with an ordinary close, while keepalive trace runs",
        &[
            contestant("no trace", "closed", NoProgram, None),
            contestant("an empty eBPF program", "closed", EmptyTracer, None),
            contestant("keepalive trace", "closed", Traced, Some(0.99)),
        ],
        effort,
        &mut targets,
    )?;
    rates(
        &fixture,
        "setsockopt(TCP_NODELAY), which no policy sets",
        &[
            contestant("no policy", "setsockopt", NoProgram, None),
            contestant("5 options", "setsockopt", Flags(&FIVE), None),
            contestant("5 options, enforce", "setsockopt", Flags(&FIVE_ENFORCED), None),
        ],
        effort,
        &mut targets,
    )?;
    commands(&fixture, effort, &mut targets)?;
    Ok(targets.finish())
}
