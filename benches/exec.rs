//! Measures what it costs to start a program.

use crate::Effort;
use crate::calls::{Variables, rules};
use crate::contestant::{Contestant, race};
use crate::library::{Bench, Error, Role, TIMINGS};
use crate::report::{self, Figure, Ratio, Report, Target, Unit};
use crate::statistics::Series;

const PROGRAM: &str = "/bin/true";

/// Measures `true` in three environments.
pub(crate) fn run(bench: &Bench, effort: Effort, report: &mut Report) -> Result<(), Error> {
    let names: Vec<String> = (0..2000).map(|n| format!("VARIABLE_{n:04}")).collect();
    let value = "x".repeat(86);
    let large: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();

    report::section(
        "exec, without a policy variable",
        "processor time of posix_spawn and wait of /bin/true; + is over no library",
    );
    compare(bench, effort, report, &[], Target::AtMost)?;
    report::section("exec, with KEEPIDLE, KEEPINTVL and KEEPCNT set", "the same");
    compare(bench, effort, report, &TIMINGS, Target::AtMost)?;
    with_config(bench, effort, report)?;
    let effort = Effort {
        slices: effort.slices.div_ceil(4),
        ..effort
    };
    report::section("exec, with an environment of 200 KB", "the same");
    compare(bench, effort, report, &large, |_| Target::None)
}

/// Measures `true` with the library and different policies.
fn with_config(bench: &Bench, effort: Effort, report: &mut Report) -> Result<(), Error> {
    let five = bench.write("five.conf", &rules(5).join("\n"))?;
    let hundred = bench.write("hundred.conf", &rules(100).join("\n"))?;
    let five_in_environment = rules(5).join(";");
    // The limits are in microseconds more than without a file.
    let policies: [(&str, Variables<'_>, Option<f64>); 5] = [
        ("no file", &[("KEEPALIVE_CONFIG", "/nonexistent")], None),
        ("off", &[("KEEPALIVE", "off")], None),
        ("file, 5 rules", &[("KEEPALIVE_CONFIG", &five)], Some(4.0)),
        ("file, 100 rules", &[("KEEPALIVE_CONFIG", &hundred)], Some(8.0)),
        ("variable, 5 rules", &[("KEEPALIVE_RULES", &five_in_environment)], None),
    ];
    report::section(
        "exec, with a configuration",
        "the same, with the library; + is over no library; the ratio is of what is added to no file",
    );
    let no_library = &bench.libraries()[0];
    let library = bench
        .of(Role::Measured, bench.libraries())
        .ok_or("the library is missing")?;
    let mut contestants = vec![bench.exec(no_library, &[], effort.slice_ms, PROGRAM)];
    contestants.extend(
        policies
            .iter()
            .map(|(_, policy, _)| bench.exec(library, policy, effort.slice_ms, PROGRAM)),
    );
    let times: Vec<Series> = race(&contestants, effort)?.into_iter().flatten().collect();
    report.row("no library", Figure::of(&times[0], Unit::Microseconds), &[]);
    for ((name, _, limit), with_policy) in policies.iter().zip(&times[1..]) {
        let added = with_policy.minus(&times[0]);
        let ratio = limit.map(|limit| {
            let to_no_file = with_policy.minus(&times[1]);
            let limits = Series(vec![limit * 1000.0; effort.rounds]);
            Ratio::new(to_no_file.over(&limits), format!("{limit} µs"), Target::AtMost(1.0))
        });
        report.row(name, Figure::more(&added, Unit::Microseconds), ratio.as_slice());
    }
    Ok(())
}

fn compare(
    bench: &Bench,
    effort: Effort,
    report: &mut Report,
    environment: &[(&str, &str)],
    target: fn(f64) -> Target,
) -> Result<(), Error> {
    let libraries = bench.libraries();
    let contestants: Vec<Contestant> = libraries
        .iter()
        .map(|library| bench.exec(library, environment, effort.slice_ms, PROGRAM))
        .collect();
    let times: Vec<Series> = race(&contestants, effort)?.into_iter().flatten().collect();
    let added: Vec<Series> = times.iter().map(|series| series.minus(&times[0])).collect();
    for ((library, times), added_by_this) in libraries.iter().zip(&times).zip(&added) {
        let to = |role, name, target| {
            let other = bench.of(role, &added)?;
            Some(Ratio::new(added_by_this.median_over(other), name, target))
        };
        let to_empty = || to(Role::Empty, "empty", Target::None);
        let to_leanest = |target| to(Role::Leanest, "leanest", target);
        let to_old = |target| to(Role::Old, "libkeepalive0", target);
        let ratios = match library.role {
            Role::NoLibrary | Role::Control | Role::Leanest => [None, None, None],
            Role::Empty => [to_leanest(Target::None), None, None],
            Role::Old => [to_leanest(Target::None), to_empty(), None],
            Role::Measured => [to_leanest(target(1.2)), to_empty(), to_old(target(0.4))],
            Role::Peer => [to_leanest(Target::None), to_empty(), to_old(Target::None)],
        };
        let ratios: Vec<Ratio> = ratios.into_iter().flatten().collect();
        let figure = match library.role {
            Role::NoLibrary => Figure::of(times, Unit::Microseconds),
            _ => Figure::more(added_by_this, Unit::Microseconds),
        };
        report.row(&library.name, figure, &ratios);
    }
    Ok(())
}
