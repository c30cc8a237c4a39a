//! What the library costs in memory, and whether it is loaded and works at all.

use std::fs;

use crate::contestant::Process;
use crate::library::{Bench, Error, Library, Role, TIMINGS};
use crate::report::{self, Figure, Ratio, Report, Target, Unit};
use crate::statistics::Series;

/// Where things lie in their pages varies a little: so many processes have their median taken.
const PROCESSES: usize = 9;

/// What `calls one-socket` prints when all is set: `SO_KEEPALIVE`, then `TIMINGS`.
const ALL_SET: &str = "1 60 15 5";

/// What a library does to a socket. Fails when the loader does not load it, and when it is ours and does not do its work:
/// then its figures would mean nothing.
pub(crate) fn check(bench: &Bench, library: &Library) -> Result<&'static str, Error> {
    let (process, options) = one_socket(bench, library)?;
    if let Some(path) = &library.path {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.id()))?;
        if !maps.contains(&*path.to_string_lossy()) {
            return Err(format!("the loader does not load {}", library.name).into());
        }
    }
    match (options.as_str(), library.role) {
        (ALL_SET, _) => Ok("sets what it is told"),
        (_, Role::Ours) => Err(format!("{TIMINGS:?} with our library gives a socket with {options}").into()),
        _ => Ok("DOES NOT SET what it is told"),
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
    let limit = Series(vec![8.0; PROCESSES]);

    report::section(
        "memory of a process",
        "pages of its own after one socket, but for the stack; + is over bare",
    );
    for ((library, kilobytes), added) in libraries.iter().zip(&kilobytes).zip(&added) {
        let mut ratios = Vec::new();
        if library.role == Role::Ours {
            ratios.push(Ratio::new(added.over(&limit), "8 KiB", Target::AtMost(1.0)));
            ratios.extend(old.map(|old| Ratio::new(added.over(old), "libkeepalive0", Target::AtMost(1.0))));
        }
        let figure = match library.role {
            Role::Bare => Figure::of(kilobytes, Unit::KiB),
            _ => Figure::more(added, Unit::KiB),
        };
        report.row(&library.name, figure, &ratios);
    }
    Ok(())
}

/// A process that has made a socket under a policy and waits, and what the socket's keepalive options are.
fn one_socket(bench: &Bench, library: &Library) -> Result<(Process, String), Error> {
    let mut process = bench.calls(library, &TIMINGS, "one-socket", 0, 0).start()?;
    let options = process.line()?;
    Ok((process, options))
}

/// Kilobytes of anonymous pages. The private dirty ones would be the same, but for pages of a file that was just written:
/// they count as dirty until the disk has them. The stack begins at a random place in its page, and may so need one page
/// more or less: it is not counted.
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
