//! Measures what the library costs in memory, and whether it is loaded and works.

use std::fs;

use crate::contestant::Process;
use crate::library::{Bench, Error, Library, Role, TIMINGS};
use crate::report::{self, Figure, Ratio, Report, Target, Unit};
use crate::statistics::Series;

/// The number of processes for a median: figures vary a little with the position of data in its pages.
const PROCESSES: usize = 9;

/// What `calls one-socket` prints if all options are set: `SO_KEEPALIVE`, then `TIMINGS`.
const ALL_SET: &str = "1 60 15 5";

/// Returns what a library does to a socket. Fails if the loader does not load it, or if the measured library does not
/// set the options: its figures would then be meaningless.
pub(crate) fn check(bench: &Bench, library: &Library) -> Result<&'static str, Error> {
    let (process, options) = one_socket(bench, library)?;
    if let Some(path) = &library.path {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.id()))?;
        if !maps.contains(&*path.to_string_lossy()) {
            return Err(format!("the loader does not load {}", library.name).into());
        }
    }
    match (options.as_str(), library.role) {
        (ALL_SET, _) => Ok("sets the options"),
        (_, Role::Measured) => Err(format!("{TIMINGS:?} with the library gives a socket with {options}").into()),
        _ => Ok("DOES NOT SET the options"),
    }
}

/// Counts the pages of processes that have made one socket.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Error> {
    let libraries = bench.libraries();
    let mut kilobytes = vec![Series::default(); libraries.len()];
    for _ in 0..PROCESSES {
        for (library, series) in libraries.iter().zip(&mut kilobytes) {
            let (process, _) = one_socket(bench, library)?;
            series.0.push(anonymous(process.id())?);
        }
    }
    let added: Vec<Series> = kilobytes.iter().map(|series| series.minus(&kilobytes[0])).collect();
    let old = bench.of(Role::Old, &added);
    let leanest = bench
        .of(Role::Leanest, &added)
        .ok_or("the leanest library is missing")?;
    let limit = Series(vec![4.0; PROCESSES]);

    report::section(
        "memory of a process",
        "private pages after one socket, without the stack; + is over no library",
    );
    for ((library, kilobytes), added) in libraries.iter().zip(&kilobytes).zip(&added) {
        let mut ratios = Vec::new();
        if library.role == Role::Measured {
            // What the loader needs for every library is not the library's own.
            let own = added.minus(leanest);
            ratios.push(Ratio::new(own.over(&limit), "4 KiB of its own", Target::AtMost(1.0)));
            ratios.extend(old.map(|old| Ratio::new(added.over(old), "libkeepalive0", Target::AtMost(1.0))));
        }
        let figure = match library.role {
            Role::NoLibrary => Figure::of(kilobytes, Unit::KiB),
            _ => Figure::more(added, Unit::KiB),
        };
        report.row(&library.name, figure, &ratios);
    }
    Ok(())
}

/// Starts a process that creates a socket under a policy and waits. Returns it and the socket's keepalive options.
fn one_socket(bench: &Bench, library: &Library) -> Result<(Process, String), Error> {
    let mut process = bench.calls(library, &TIMINGS, "one-socket", 0, 0).start()?;
    let options = process.line()?;
    Ok((process, options))
}

/// Returns the kilobytes of anonymous pages. Private dirty pages would also include pages of a recently written file,
/// which are dirty until they are written to the disk. The stack is excluded: its start within a page is random, so it
/// may need one page more or less.
fn anonymous(process: u32) -> Result<f64, Error> {
    let mut sum = 0.0;
    let mut is_stack = false;
    for line in fs::read_to_string(format!("/proc/{process}/smaps"))?.lines() {
        match line.split_once(':') {
            Some(("Anonymous", rest)) if !is_stack => {
                sum += rest.trim().trim_end_matches(" kB").parse::<f64>()?;
            }
            // Each mapping begins with its addresses and ends with its name: `7ffe… rw-p … [stack]`.
            _ if line.contains('-') => is_stack = line.ends_with("[stack]"),
            _ => {}
        }
    }
    Ok(sum)
}
