//! Measures how the cost grows with the number of sockets, processes, threads and rules, and the memory of what is large.
//! Contestants take turns; figures are first quartiles. The bench runs in its own network, process and mount namespaces.
#![forbid(unsafe_code)]

mod fixture;
mod harness;
mod load;
mod plot;
#[allow(dead_code, reason = "other benches use more of it")]
mod target;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use std::{env, fs};

use fixture::Fixture;
use keepalive_engine::cgroup::{Options, Programs, Shared};
use keepalive_engine::policy::{Policy, Text};
use keepalive_policy::Settings;
use load::Load;
use plot::Curve;
use rustix::process::geteuid;
use target::{Target, Targets};

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo bench --bench curves [-- [--quick] [--check] [--plots DIRECTORY]]
  --quick            small numbers, few rounds: shows that the bench works, no useful figures
  --check            exit status 1 when a target is missed
  --plots DIRECTORY  write the curves as SVG files, too
";

/// How much to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// The greatest number of anything.
    most: usize,
    slice_ms: usize,
}

const FULL: Effort = Effort {
    rounds: 9,
    most: 100_000,
    slice_ms: 200,
};
const QUICK: Effort = Effort {
    rounds: 2,
    most: 100,
    slice_ms: 10,
};

fn main() -> ExitCode {
    let all: Vec<String> = env::args().skip(1).collect();
    let mut arguments: VecDeque<&str> = all.iter().map(String::as_str).collect();
    // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
    let (mut is_bench, mut is_quick, mut checks, mut is_inside, mut plots) = (false, false, false, false, None);
    while let Some(argument) = arguments.pop_front() {
        match (argument, arguments.front()) {
            ("--bench", _) => is_bench = true,
            ("--quick", _) => is_quick = true,
            ("--check", _) => checks = true,
            // This program executes itself with this argument.
            ("--inside", _) => is_inside = true,
            ("--plots", Some(directory)) => {
                plots = Some(PathBuf::from(directory));
                arguments.pop_front();
            }
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let result = if is_inside {
        run(if is_bench && !is_quick { FULL } else { QUICK }, plots.as_deref())
    } else if let Some(why) = missing() {
        println!("no curves: {why}");
        return ExitCode::SUCCESS;
    } else {
        harness::go_inside(&[], "", &all)
    };
    harness::status(result, checks)
}

/// Returns why this machine cannot run the bench, if it cannot.
fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("it requires root".to_owned());
    }
    harness::missing_tool(&["ss", "ip", "unshare", "cc"])
}

type Measure = fn(&Fixture, Effort) -> Result<Curve, Error>;

/// Measures and prints everything. Returns the number of missed targets.
fn run(effort: Effort, plots: Option<&Path>) -> Result<usize, Error> {
    let fixture = Fixture::prepare("load.c", &["-pthread"])?;
    let mut targets = Targets::default();
    println!(
        "In turn; first quartiles of {} rounds. Growth 1 is linear: ten times as many cost ten times as much.",
        effort.rounds
    );
    let curves: [Measure; 6] = [
        sockets,
        processes,
        rules_at_start,
        rules_at_connect,
        threads,
        supervised_processes,
    ];
    for measure in curves {
        let curve = measure(&fixture, effort)?;
        curve.print(&mut targets);
        if let Some(directory) = plots {
            fs::create_dir_all(directory)?;
            curve.write(directory)?;
        }
    }
    memory(&fixture, effort, &mut targets)?;
    Ok(targets.finish())
}

fn counts(effort: Effort, counts: &[usize]) -> Vec<usize> {
    counts.iter().copied().filter(|count| *count <= effort.most).collect()
}

/// The commands that show or set sockets.
const LISTS: [(&str, &[&str]); 3] = [
    ("ss -tnopi", &["ss", "-tnopi"]),
    ("keepalive list", &["KEEPALIVE", "list"]),
    ("keepalive attach", &["KEEPALIVE", "attach", "--all"]),
];

fn sockets(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    /// A process may hold no more on some machines.
    const MOST: usize = 10_000;
    let counts = counts(effort, &[100, 1000, 10_000, 100_000]);
    let mut series = LISTS.map(|(name, _)| (name, Vec::new()));
    for count in &counts {
        let start = |_| Load::start(fixture, &[], &["hold", &(*count).min(MOST).to_string()]);
        let mut holders = (0..count.div_ceil(MOST)).map(start).collect::<Result<Vec<_>, _>>()?;
        add_lists(fixture, effort, &mut series, &mut holders)?;
    }
    Ok(Curve {
        name: "sockets",
        title: "All sockets of a machine, by their number",
        counted: "sockets",
        unit: "ms",
        counts,
        series: series.to_vec(),
    })
}

fn processes(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    let counts = counts(effort, &[100, 1000, 10_000]);
    let mut series = LISTS.map(|(name, _)| (name, Vec::new()));
    for count in &counts {
        let holder = Load::start(fixture, &[], &["processes", &count.to_string()])?;
        add_lists(fixture, effort, &mut series, &mut [holder])?;
    }
    Ok(Curve {
        name: "processes",
        title: "The sockets of a machine, by the number of processes, each with one",
        counted: "processes",
        unit: "ms",
        counts,
        series: series.to_vec(),
    })
}

/// Adds the milliseconds that each of the [`LISTS`] takes.
fn add_lists(
    fixture: &Fixture,
    effort: Effort,
    series: &mut [(&str, Vec<f64>)],
    holders: &mut [Load],
) -> Result<(), Error> {
    let mut times = [const { Vec::new() }; LISTS.len()];
    for round in 0..effort.rounds {
        for step in 0..LISTS.len() {
            let which = (step + round) % LISTS.len();
            // attach finds the options as a program leaves them.
            for holder in &mut *holders {
                holder.again()?;
            }
            times[which].push(milliseconds(&mut fixture.command(&[], LISTS[which].1))?);
        }
    }
    for ((_, figures), times) in series.iter_mut().zip(times) {
        figures.push(first_quartile(times));
    }
    Ok(())
}

/// Returns how long a command runs.
fn milliseconds(command: &mut Command) -> Result<f64, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed().as_secs_f64() * 1e3;
    if status.success() {
        Ok(time)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Returns the text of rules that match no connection of the bench.
fn rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let [.., high, low] = number.to_be_bytes();
        let _ = writeln!(text, "connect 10.1.{high}.{low}:{} idle=30s interval=10s", number + 1);
    }
    text
}

const RULES: [usize; 5] = [0, 1, 10, 100, 1000];

fn rules_at_start(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    /// One start of a program takes less time than the noise.
    const STARTS: usize = 20;
    let counts = counts(effort, &RULES);
    let mut series = [
        ("a start, bare", Vec::new()),
        ("keepalive's library", Vec::new()),
        ("keepalive check", Vec::new()),
        ("keepalive's eBPF", Vec::new()),
    ];
    let library = fixture.library.to_str().ok_or("the path is not UTF-8")?;
    for count in &counts {
        let config = fixture.write("rules.conf", &rules(*count))?;
        let preloaded = [("LD_PRELOAD", library), ("KEEPALIVE_CONFIG", config.as_str())];
        let policy = policy(rules(*count));
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..effort.rounds {
            for _ in 0..STARTS {
                times[0].push(milliseconds(&mut fixture.command(&[], &["true"]))?);
                times[1].push(milliseconds(&mut fixture.command(&preloaded, &["true"]))?);
            }
            times[2].push(milliseconds(
                &mut fixture.command(&[], &["KEEPALIVE", "check", &config]),
            )?);
            let start = Instant::now();
            Programs::load(&policy, Path::new("/"), Options::default(), Shared::default())
                .map_err(|obstacle| obstacle.error("load"))?;
            times[3].push(start.elapsed().as_secs_f64() * 1e3);
        }
        for ((_, figures), times) in series.iter_mut().zip(times) {
            figures.push(first_quartile(times));
        }
    }
    Ok(Curve {
        name: "rules-start",
        title: "What is done once: a program starts, a file is checked, eBPF is loaded",
        counted: "rules",
        unit: "ms",
        counts,
        series: series.to_vec(),
    })
}

fn policy(rules: String) -> Policy {
    Policy {
        owner: None,
        settings: Settings::EVERYWHERE,
        explicit: Vec::new(),
        fallback: None,
        rules: Vec::new(),
        config: Some(Text {
            name: String::from("rules.conf"),
            text: rules.into_bytes(),
            first_line: 1,
        }),
        config_path: None,
        notes: Vec::new(),
        is_config_pipe: false,
    }
}

/// The engines, as words before a command.
const ENGINES: [(&str, &[&str]); 4] = [
    ("bare", &[]),
    ("keepalive, preload", &["KEEPALIVE", "run", "--engine", "preload"]),
    ("keepalive, seccomp", &["KEEPALIVE", "run", "--engine", "seccomp"]),
    ("keepalive, cgroup", &["KEEPALIVE", "run", "--engine", "cgroup"]),
];
const SUPERVISED: [(&str, &[&str]); 2] = [ENGINES[0], ENGINES[2]];

fn rules_at_connect(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    let counts = counts(effort, &RULES);
    let mut series = ENGINES.map(|(name, _)| (name, Vec::new()));
    for count in &counts {
        let config = fixture.write("rules.conf", &rules(*count))?;
        let environment = [("KEEPALIVE_CONFIG", config.as_str())];
        add_connects(fixture, effort, &ENGINES, &environment, [1, 1], &mut series)?;
    }
    Ok(Curve {
        name: "rules-connect",
        title: "A connection, both ends, by the number of rules, of which none matches",
        counted: "rules",
        unit: "µs",
        counts,
        series: series.to_vec(),
    })
}

fn threads(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    let counts = counts(effort, &[1, 10, 100, 1000]);
    let mut series = SUPERVISED.map(|(name, _)| (name, Vec::new()));
    for count in &counts {
        add_connects(fixture, effort, &SUPERVISED, &[], [1, *count], &mut series)?;
    }
    Ok(Curve {
        name: "threads",
        title: "A connection, both ends, while so many threads connect under one supervisor",
        counted: "threads",
        unit: "µs",
        counts,
        series: series.to_vec(),
    })
}

fn supervised_processes(fixture: &Fixture, effort: Effort) -> Result<Curve, Error> {
    let counts = counts(effort, &[1, 10, 100, 1000]);
    let mut series = SUPERVISED.map(|(name, _)| (name, Vec::new()));
    for count in &counts {
        add_connects(fixture, effort, &SUPERVISED, &[], [*count, 1], &mut series)?;
    }
    Ok(Curve {
        name: "supervised-processes",
        title: "A connection, both ends, while so many processes connect under one supervisor",
        counted: "processes",
        unit: "µs",
        counts,
        series: series.to_vec(),
    })
}

/// Adds the microseconds of a connection under each engine, in so many processes with so many threads.
fn add_connects(
    fixture: &Fixture,
    effort: Effort,
    engines: &[(&str, &[&str])],
    environment: &[(&str, &str)],
    [processes, threads]: [usize; 2],
    series: &mut [(&str, Vec<f64>)],
) -> Result<(), Error> {
    let words = [
        "connect",
        &processes.to_string(),
        &threads.to_string(),
        &effort.slice_ms.to_string(),
    ]
    .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for ((_, engine), (_, figures)) in engines.iter().zip(series) {
        let mut load = Load::start_under(fixture, environment, engine, &words)?;
        let mut times = Vec::new();
        for _ in 0..effort.rounds {
            times.push(load.again()?.trim().parse::<f64>()? / 1e3);
        }
        figures.push(first_quartile(times));
    }
    Ok(())
}

fn memory(fixture: &Fixture, effort: Effort, targets: &mut Targets) -> Result<(), Error> {
    println!("\nmemory");
    let count = effort.most.min(1000);
    let words = ["connect", &count.to_string(), "1", "1"];
    let mut load = Load::start_under(fixture, &[], ENGINES[2].1, &words)?;
    load.again()?;
    let kibibytes = fixture.commands_memory()?;
    println!(
        "  both supervisors of {count} processes (PSS)  {kibibytes:.0} KiB{}",
        targets.verdict(Target::AtMost(4096.0), kibibytes, 0)
    );
    drop(load);
    let each = effort.most.min(10_000);
    let start = |_| Load::start(fixture, &[], &["hold", &each.to_string()]);
    let _holders = (0..effort.most / each).map(start).collect::<Result<Vec<_>, _>>()?;
    for (name, words) in &LISTS[..2] {
        let peak = peak_memory(fixture, words)?;
        println!("  {name} of {} sockets, at its peak  {peak:.0} KiB", effort.most);
    }
    Ok(())
}

/// Returns the peak of a command's resident memory in KiB, when it begins to print. It must print more than a page.
fn peak_memory(fixture: &Fixture, words: &[&str]) -> Result<f64, Error> {
    let mut child = fixture
        .command(&[], words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().ok_or("no pipe from a command")?;
    // What ends has no memory to read: with a pipe of one page, the command waits for its reader.
    rustix::pipe::fcntl_setpipe_size(&output, 4096)?;
    output.read_exact(&mut [0]).map_err(|_| "the command printed nothing")?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    io::copy(&mut output, &mut io::sink())?;
    child.wait()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("the command ended early")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

fn first_quartile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times
        .get(times.len().saturating_sub(1) / 4)
        .copied()
        .unwrap_or(f64::NAN)
}
