//! Measures what `libkeepalive.so` costs the programs that load it, compared with no library, an empty one,
//! libkeepalive 0.3 and others. All contestants take turns of a few milliseconds, so all have the same noise. The
//! measured code is C (`exec.c`, `calls.c`); this program compares the contestants and prints the table.
#![forbid(unsafe_code)]

mod calls;
mod contestant;
mod exec;
mod library;
mod memory;
mod report;
mod statistics;
mod target;

use std::io;
use std::process::ExitCode;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use library::{Bench, Error};
use report::Report;

const USAGE: &str = "\
usage: cargo bench --bench cost [-- [--quick] [--check]]
  --quick  a few rounds: shows that the bench works, no useful figures
  --check  exit status 1 when a target is missed
environment:
  KEEPALIVE_BENCH_LIBRARY  the library to measure instead of target/release/libkeepalive.so
  KEEPALIVE_BENCH_PEERS    more libraries to compare with, separated by colons
";

/// How long to measure.
#[derive(Clone, Copy)]
struct Effort {
    /// The number of figures for each contestant.
    rounds: usize,
    /// The number of slices whose median is one figure.
    slices: usize,
    slice_ms: u32,
}

/// One exec takes most of a millisecond and varies by a tenth; the differences to measure are a few microseconds.
const EXEC: Effort = Effort {
    rounds: 20,
    slices: 40,
    slice_ms: 3,
};
const CALLS: Effort = Effort {
    rounds: 40,
    slices: 1,
    slice_ms: 10,
};
const QUICK: Effort = Effort {
    rounds: 3,
    slices: 1,
    slice_ms: 3,
};

fn main() -> ExitCode {
    // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
    let (mut quick, mut check) = (true, false);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for argument in &arguments {
        match argument.as_str() {
            "--bench" => quick = arguments.iter().any(|a| a == "--quick"),
            "--quick" => {}
            "--check" => check = true,
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match run(quick) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) if !check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints everything. Returns the number of missed targets.
fn run(quick: bool) -> Result<usize, Error> {
    let cpu = pin()?;
    let bench = Bench::prepare()?;
    let mut report = Report::default();
    report::header(cpu);
    for library in bench.libraries() {
        report::library(library, memory::check(&bench, library)?);
    }
    exec::run(&bench, if quick { QUICK } else { EXEC }, &mut report)?;
    calls::run(&bench, if quick { QUICK } else { CALLS }, &mut report)?;
    memory::run(&bench, &mut report)?;
    Ok(report.finish())
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
