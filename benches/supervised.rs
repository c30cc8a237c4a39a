//! Measures what the supervisor of `keepalive run` costs, relative to strace(1) on the same machine. All contestants
//! take turns of a few milliseconds, so all have the same noise. The measured code is C (`supervised.c`).
#![forbid(unsafe_code)]

mod fixture;
#[allow(dead_code, reason = "other benches use more of it")]
mod harness;
mod target;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fixture::Fixture;
use target::{Target, Targets};

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo bench --bench supervised [-- [--quick] [--check]]
  --quick  a few rounds: shows that the bench works, no useful figures
  --check  exit status 1 when a target is missed
";

/// How long to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    slice_ms: u32,
    starts: usize,
}

const FULL: Effort = Effort {
    rounds: 60,
    slice_ms: 20,
    starts: 200,
};
const QUICK: Effort = Effort {
    rounds: 3,
    slice_ms: 5,
    starts: 5,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
    let (mut is_bench, mut is_quick, mut checks) = (false, false, false);
    for argument in &arguments {
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--quick" => is_quick = true,
            "--check" => checks = true,
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    harness::status(run(if is_bench && !is_quick { FULL } else { QUICK }), checks)
}

/// A way to run the program, and its measured times.
struct Contestant {
    name: &'static str,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Nanoseconds: a median and a mean for each slice.
    times: Vec<(f64, f64)>,
}

impl Contestant {
    fn start(fixture: &Fixture, name: &'static str, words: &[&str], effort: Effort) -> Result<Self, Error> {
        let mut command = fixture.command(&[], words);
        command.arg(fixture.path("program")).arg(effort.slice_ms.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self {
            name,
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().ok_or("no pipe from a contestant")?),
            child,
            times: Vec::new(),
        })
    }

    fn slice(&mut self, order: u8) -> Result<(f64, f64), Error> {
        self.orders
            .as_mut()
            .ok_or("no pipe to a contestant")?
            .write_all(&[order])?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let (median, mean) = line.trim().split_once(' ').ok_or("a contestant has ended early")?;
        Ok((median.parse()?, mean.parse()?))
    }

    fn medians(&self) -> Vec<f64> {
        self.times.iter().map(|(median, _)| *median).collect()
    }

    fn means(&self) -> Vec<f64> {
        self.times.iter().map(|(_, mean)| *mean).collect()
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}

const NONE: [&str; 0] = [];
const PRELOAD: [&str; 4] = ["KEEPALIVE", "run", "--engine", "preload"];
const SECCOMP: [&str; 4] = ["KEEPALIVE", "run", "--engine", "seccomp"];
const BOTH: [&str; 3] = ["KEEPALIVE", "run", "env"];
const STRACE: [&str; 6] = ["strace", "-f", "-e", "trace=connect", "-o", "/dev/null"];

/// Lets the contestants take turns.
fn race(contestants: &mut [Contestant], order: u8, rounds: usize) -> Result<(), Error> {
    for contestant in &mut *contestants {
        contestant.slice(order)?;
    }
    for round in 0..rounds {
        for step in 0..contestants.len() {
            // The order alternates in direction and begins with another contestant each time, so no contestant always
            // follows the same one.
            let step = if round % 2 == 0 {
                step
            } else {
                contestants.len() - 1 - step
            };
            let which = (step + round / 2) % contestants.len();
            let times = contestants[which].slice(order)?;
            contestants[which].times.push(times);
        }
    }
    Ok(())
}

/// Measures and prints everything. Returns the number of missed targets.
fn run(effort: Effort) -> Result<usize, Error> {
    let fixture = Fixture::prepare("supervised.c", &[])?;
    println!("In turn; medians with quartiles. Differences and ratios are of the same round.");
    let mut targets = Targets::default();
    connects(&fixture, effort, &mut targets)?;
    other_calls(&fixture, effort, &mut targets)?;
    starts(&fixture, effort, &mut targets)?;
    memory(&fixture, &mut targets)?;
    Ok(targets.finish())
}

fn connects(fixture: &Fixture, effort: Effort, targets: &mut Targets) -> Result<(), Error> {
    let has_strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    let contestant = |name, words: &[&str]| {
        let words = if words.is_empty() { &["env"] } else { words };
        Contestant::start(fixture, name, words, effort)
    };
    let mut contestants = vec![
        contestant("none", &NONE)?,
        contestant("preload", &PRELOAD)?,
        contestant("both", &BOTH)?,
        contestant("seccomp", &SECCOMP)?,
    ];
    if has_strace {
        contestants.push(contestant("strace", &STRACE)?);
    }
    race(&mut contestants, b'c', effort.rounds)?;
    println!("\na socket and its connect (p50 of each slice, then the mean; + is over no keepalive)");
    for (what, figures) in [
        ("p50", Contestant::medians as fn(&Contestant) -> Vec<f64>),
        ("mean", Contestant::means),
    ] {
        let all: Vec<Vec<f64>> = contestants.iter().map(figures).collect();
        for (contestant, times) in contestants.iter().zip(&all) {
            let added = minus(times, &all[0]);
            print!("  {:<8}{what:<5}{} µs", contestant.name, shown(times, 1e3));
            println!("  +{} µs", shown(&added, 1e3));
        }
        if let [none, preload, both, seccomp, strace] = &all[..] {
            let strace_adds = minus(strace, none);
            let alone = over(&minus(seccomp, none), &strace_adds);
            let with_library = over(&minus(both, preload), &strace_adds);
            for (compared, ratios, limit) in [
                ("seccomp alone, of what strace adds", alone, 0.23),
                ("both over preload, of what strace adds", with_library, 0.06),
            ] {
                let target = if what == "p50" {
                    Target::AtMost(limit)
                } else {
                    Target::None
                };
                compare(targets, compared, &ratios, target);
            }
        }
    }
    if !has_strace {
        println!("  no comparison: strace is not installed");
    }
    Ok(())
}

fn other_calls(fixture: &Fixture, effort: Effort, targets: &mut Targets) -> Result<(), Error> {
    let mut contestants = vec![
        Contestant::start(fixture, "none", &["env"], effort)?,
        Contestant::start(fixture, "none again", &["env"], effort)?,
        Contestant::start(fixture, "seccomp", &SECCOMP, effort)?,
    ];
    race(&mut contestants, b'g', effort.rounds)?;
    println!("\na system call that the supervisor does not catch (getppid)");
    let none = contestants[0].medians();
    for contestant in &contestants {
        let added = minus(&contestant.medians(), &none);
        println!(
            "  {:<11}{} ns  +{} ns",
            contestant.name,
            shown(&contestant.medians(), 1.0),
            shown(&added, 1.0)
        );
    }
    let added = minus(&contestants[2].medians(), &none);
    compare(
        targets,
        "nanoseconds that the filter adds",
        &added,
        Target::AtMost(25.0),
    );
    Ok(())
}

fn starts(fixture: &Fixture, effort: Effort, targets: &mut Targets) -> Result<(), Error> {
    let ways: [(&str, &[&str]); 3] = [
        ("none", &["true"]),
        ("preload", &["KEEPALIVE", "run", "--engine", "preload", "true"]),
        ("seccomp", &["KEEPALIVE", "run", "--engine", "seccomp", "true"]),
    ];
    let mut times = [const { Vec::new() }; 3];
    for round in 0..effort.starts {
        for step in 0..ways.len() {
            let which = (step + round) % ways.len();
            let mut command = fixture.command(&[], ways[which].1);
            let start = Instant::now();
            let status = command.stdin(Stdio::null()).status()?;
            times[which].push(start.elapsed().as_secs_f64() * 1e3);
            if !status.success() {
                return Err(format!("{command:?}: {status}").into());
            }
        }
    }
    println!("\nthe start of a command, to the end of true(1)");
    for ((name, _), times) in ways.iter().zip(&times) {
        println!("  {name:<8}{} ms", shown(times, 1.0));
    }
    let [_, preload, seccomp] = &times;
    let added = minus(seccomp, preload);
    compare(targets, "milliseconds more than preload", &added, Target::AtMost(0.6));
    Ok(())
}

fn memory(fixture: &Fixture, targets: &mut Targets) -> Result<(), Error> {
    let mut program = Contestant::start(fixture, "seccomp", &SECCOMP, QUICK)?;
    // The supervisors have handled calls before their memory is measured.
    program.slice(b'c')?;
    let mut found = Vec::new();
    // The serving supervisor is a new process.
    for _ in 0..100 {
        found = fixture.processes()?;
        if found.len() == 2 {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    println!("\nmemory of the supervisors, one serving and one standby");
    let mut sums = [0.0; 2];
    for process in &found {
        let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
        let kilobytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().next().unwrap_or("0").parse::<f64>()
        };
        let sizes = [kilobytes("Pss:")?, kilobytes("Rss:")?];
        println!("  PSS {:.0} KiB  RSS {:.0} KiB", sizes[0], sizes[1]);
        sums = [sums[0] + sizes[0], sums[1] + sizes[1]];
    }
    if found.len() != 2 {
        return Err(format!("two supervisors were expected: {found:?}").into());
    }
    println!("  together: PSS {:.0} KiB  RSS {:.0} KiB", sums[0], sums[1]);
    compare(targets, "MiB of both (PSS)", &[sums[0] / 1024.0], Target::AtMost(4.0));
    Ok(())
}

fn minus(times: &[f64], others: &[f64]) -> Vec<f64> {
    times.iter().zip(others).map(|(time, other)| time - other).collect()
}

fn over(times: &[f64], others: &[f64]) -> Vec<f64> {
    times.iter().zip(others).map(|(time, other)| time / other).collect()
}

/// Returns the median and the quartiles as text.
fn shown(figures: &[f64], unit: f64) -> String {
    let [low, median, high] = quartiles(figures).map(|figure| figure / unit);
    format!("{median:.2} [{low:.2} {high:.2}]")
}

/// Prints figures, and whether their median meets the target.
fn compare(targets: &mut Targets, what: &str, figures: &[f64], target: Target) {
    let [low, median, high] = quartiles(figures);
    let verdict = targets.verdict(target, median, 2);
    println!("  = {what}: {median:.3} [{low:.3} {high:.3}]{verdict}");
}

/// Returns the first quartile, the median and the third quartile.
fn quartiles(figures: &[f64]) -> [f64; 3] {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|n| sorted[(sorted.len() - 1) * n / 4])
}
