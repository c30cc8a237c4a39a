//! Measures what the library costs: for calls that it hooks, and for other calls.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use crate::Effort;
use crate::contestant::{Contestant, race};
use crate::library::{Bench, Error, Library, Role, TIMINGS};
use crate::report::{self, Figure, Ratio, Report, Target, Unit};
use crate::statistics::Series;

/// The ways of `calls.c`: as the program calls, directly in libc, and directly in libc with the options that the
/// library would set.
const PROGRAM: usize = 0;
const LIBC: usize = 1;
const ITSELF: usize = 2;

const ITSELF_IS: &str = "itself: the process sets the same options without the library; in turn";

/// The target for calls whose cost must not change.
const SAME: Target = Target::AtMost(1.01);

/// More connections than a client can open before the listener's thread runs.
const BACKLOG: i32 = 4096;

/// Measures the calls.
pub(crate) fn run(bench: &Bench, effort: Effort, report: &mut Report) -> Result<(), Error> {
    let hooked = |policy, case| race_case(bench, effort, &[Role::Control], policy, case, 0);
    let not_hooked = |case| race_case(bench, effort, &[Role::Old], &TIMINGS, case, 0);
    // A batch of connections takes a tenth of a slice, so that a slice has few batches.
    let effort_of_connect = Effort {
        slices: effort.slices * 3,
        ..effort
    };
    let port = accept_and_close()?;
    let connect = |policy| race_case(bench, effort_of_connect, &[Role::Control], policy, "connect", port);

    report::section("TCP socket+close, with KEEPIDLE, KEEPINTVL and KEEPCNT set", ITSELF_IS);
    socket_times(report, &hooked(&TIMINGS, "tcp")?);
    report::section("TCP socket+close, without a policy variable", ITSELF_IS);
    socket_times(report, &hooked(&[], "tcp")?);

    report::section(
        "TCP socket+connect+close, with KEEPIDLE, KEEPINTVL and KEEPCNT set",
        ITSELF_IS,
    );
    connect_times(report, &connect(&TIMINGS)?, "itself's rate");
    report::section("TCP socket+connect+close, without a policy variable", ITSELF_IS);
    connect_times(report, &connect(&[])?, "libc's rate");

    report::section(
        "Other calls, with the policy",
        "times without a library; the first ratio, which has no library, shows noise",
    );
    own_ratios(report, "TCP accept+close", Target::None, &hooked(&TIMINGS, "accept")?);
    own_ratios(report, "UDP socket+close", SAME, &hooked(&TIMINGS, "udp")?);
    own_ratios(report, "UNIX socket+close", SAME, &hooked(&TIMINGS, "unix")?);
    for case in ["getpid", "read", "write", "poll"] {
        ratios_to_no_library(report, case, SAME, &not_hooked(case)?);
    }
    with_rules(bench, effort, effort_of_connect, port, report)
}

/// The names and values of environment variables.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// Measures what rules and modes cost.
fn with_rules(bench: &Bench, effort: Effort, connect: Effort, port: u16, report: &mut Report) -> Result<(), Error> {
    let library = bench
        .of(Role::Measured, bench.libraries())
        .ok_or("the library is missing")?;
    let none_matches = rules(100).join(";");
    let mut last_matches = rules(99);
    last_matches.push("connect 127.0.0.0/8 idle=30s interval=10s count=3".to_owned());
    last_matches.push("accept 127.0.0.0/8 idle=30s interval=10s count=3".to_owned());
    let last_matches = last_matches.join(";");
    let policies: [(&str, Variables<'_>, Target); 6] = [
        ("no rules", &[], Target::None),
        ("no rules, again", &[], Target::None),
        (
            "none of 100",
            &[("KEEPALIVE_RULES", &none_matches)],
            Target::AtMost(1.0),
        ),
        (
            "last of 100",
            &[("KEEPALIVE_RULES", &last_matches)],
            Target::AtMost(1.0),
        ),
        ("mode=cap", &[("KEEPALIVE_MODE", "cap")], Target::None),
        ("user-timeout=auto", &[("KEEPALIVE_USER_TIMEOUT", "auto")], Target::None),
    ];
    for (title, case, effort) in [
        ("TCP socket+connect+close, with rules", "connect", connect),
        ("TCP accept+close, with rules", "accept", effort),
    ] {
        report::section(
            title,
            "with the timings; what the library adds to libc; + is over no rules",
        );
        let contestants: Vec<Contestant> = policies
            .iter()
            .map(|(_, policy, _)| bench.calls(library, &[&TIMINGS, *policy].concat(), case, effort.slice_ms, port))
            .collect();
        // Each process is compared with itself, because processes differ in speed.
        let costs: Vec<Series> = race(&contestants, effort)?
            .iter()
            .map(|times| times[PROGRAM].minus(&times[LIBC]))
            .collect();
        let limit = Series(vec![1000.0; effort.rounds]);
        for (n, ((name, _, target), cost)) in policies.iter().zip(&costs).enumerate() {
            if n == 0 {
                report.row(name, Figure::of(cost, Unit::Nanoseconds), &[]);
                continue;
            }
            let added = cost.minus(&costs[0]);
            let ratio = Ratio::new(added.over(&limit), "1 µs", *target);
            report.row(name, Figure::more(&added, Unit::Nanoseconds), &[ratio]);
        }
    }
    Ok(())
}

/// Returns this number of rules, each for a network without the loopback addresses.
pub(crate) fn rules(count: u8) -> Vec<String> {
    (0..count)
        .map(|n| format!("connect 10.0.{n}.0/24 idle=30s interval=10s count=3"))
        .collect()
}

/// A library, and the measured times of its process for each way.
struct Entry<'a> {
    library: &'a Library,
    times: Vec<Series>,
}

impl Entry<'_> {
    /// `target` if this is the library that targets are for.
    fn target(&self, target: Target) -> Target {
        if self.library.role == Role::Measured {
            target
        } else {
            Target::None
        }
    }

    fn ratio_to(&self, base: &Series, name: &str, target: Target) -> Ratio {
        let to = format!("{name} ({})", self.library.name);
        Ratio::new(self.times[PROGRAM].over(base), to, self.target(target))
    }

    fn time(&self, way: usize) -> Figure {
        Figure::of(&self.times[way], Unit::Nanoseconds)
    }
}

/// Races a case of `calls.c`. The first contestant has no library. The empty libraries are left out, because they
/// hook nothing.
fn race_case<'a>(
    bench: &'a Bench,
    effort: Effort,
    left_out: &[Role],
    policy: &[(&str, &str)],
    case: &str,
    port: u16,
) -> Result<Vec<Entry<'a>>, Error> {
    let is_left_out =
        |library: &&Library| matches!(library.role, Role::Empty | Role::Leanest) || left_out.contains(&library.role);
    let libraries: Vec<&Library> = bench
        .libraries()
        .iter()
        .filter(|library| !is_left_out(library))
        .collect();
    let contestants: Vec<Contestant> = libraries
        .iter()
        .map(|library| bench.calls(library, policy, case, effort.slice_ms, port))
        .collect();
    let times = race(&contestants, effort)?;
    Ok(libraries
        .into_iter()
        .zip(times)
        .map(|(library, times)| Entry { library, times })
        .collect())
}

/// Reports what a socket costs with each library, and what it costs when the same process sets the options itself.
fn socket_times(report: &mut Report, entries: &[Entry<'_>]) {
    report.row("itself", entries[0].time(ITSELF), &[]);
    for entry in entries {
        let ratio = entry.times[PROGRAM].over(&entry.times[ITSELF]);
        let ratio = Ratio::new(ratio, "itself", entry.target(Target::AtMost(1.01)));
        report.row(&entry.library.name, entry.time(PROGRAM), &[ratio]);
    }
}

/// Reports what a connection costs, as rates: with each library relative to no library, and relative to options that
/// the process sets itself, both in the same process. The target applies to the rate named `targeted`.
fn connect_times(report: &mut Report, entries: &[Entry<'_>], targeted: &str) {
    let target = |to| {
        if to == targeted {
            Target::AtLeast(0.97)
        } else {
            Target::None
        }
    };
    let itself = entries[0].times[LIBC].over(&entries[0].times[ITSELF]);
    report.row(
        "itself",
        entries[0].time(ITSELF),
        &[Ratio::new(itself, "libc's rate", Target::None)],
    );
    for entry in entries {
        let mut ratios = Vec::new();
        for (way, to) in [(LIBC, "libc's rate"), (ITSELF, "itself's rate")] {
            if way == LIBC || entry.library.role != Role::NoLibrary {
                ratios.push(Ratio::new(
                    entry.times[way].over(&entry.times[PROGRAM]),
                    to,
                    entry.target(target(to)),
                ));
            }
        }
        report.row(&entry.library.name, entry.time(PROGRAM), &ratios);
    }
}

/// Reports the cost of a hooked call with each library, relative to the call without it in the same process.
fn own_ratios(report: &mut Report, name: &str, target: Target, entries: &[Entry<'_>]) {
    let ratios = entries
        .iter()
        .map(|entry| entry.ratio_to(&entry.times[LIBC], "libc", target));
    report.row(name, entries[0].time(PROGRAM), &ratios.collect::<Vec<Ratio>>());
}

/// Reports the cost of a call that is not hooked with each library, relative to a process without the library.
fn ratios_to_no_library(report: &mut Report, name: &str, target: Target, entries: &[Entry<'_>]) {
    let ratios = entries[1..]
        .iter()
        .map(|entry| entry.ratio_to(&entries[0].times[PROGRAM], "no library", target));
    report.row(name, entries[0].time(PROGRAM), &ratios.collect::<Vec<Ratio>>());
}

/// Starts a thread that accepts connections, waits until the client closes, and closes. Returns its port. Accepted
/// sockets inherit a linger of 0, so they close with a reset, and no port stays in use.
fn accept_and_close() -> io::Result<u16> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_linger(&listener, Some(Duration::ZERO))?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, BACKLOG)?;
    let listener = TcpListener::from(listener);
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The client has closed, or an error has ended the connection.
            let _ = connection.read(&mut [0]);
        }
    });
    Ok(port)
}
