//! `keepalive probe --pid`: measures on a connection that a program has open.
//!
//! The connection belongs to the program. This command holds a duplicate of it for moments only, since a duplicate would keep
//! the connection open when the program closes it; reads no data; and never reads `SO_ERROR`, which would take the error from
//! the program.

mod ask;
mod connection;
mod gaps;
mod report;

use super::conclusion::Conclusion;
use super::progress::Progress;
use super::roughly;
use super::search::Outcome;
use crate::error::{Error, FAILED};
use crate::output::{WIDTH, print, wrap, write_stderr};
use ask::{Asker, Restraint};
use connection::Connection;
use gaps::{End, Gaps};
use keepalive_sys::signal::{SignalFd, block_interrupts};
use keepalive_sys::sockopt;
use report::Report;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// A process, and its descriptor if one is named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pid: u32,
    fd: Option<i32>,
}

/// The time between two looks at the connection.
const LOOK: Duration = Duration::from_millis(100);
/// Each idle time is this much longer than the one before.
const GROWTH: f64 = 1.5;
/// The measurement ends after this many times the longest idle time: a program that uses its connection never lets it be idle
/// for so long.
const PATIENCE: f64 = 4.0;

impl Place {
    /// Parses `PID` or `PID:FD`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (pid, fd) = text.split_once(':').map_or((text, None), |(pid, fd)| (pid, Some(fd)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let pid = Some(pid).filter(|pid| is_number(pid)).and_then(|pid| pid.parse().ok());
        let fd = fd.map(|fd| Some(fd).filter(|fd| is_number(fd)).and_then(|fd| fd.parse().ok()));
        match (pid, fd) {
            (Some(pid @ 1..), None) => Ok(Self { pid, fd: None }),
            (Some(pid @ 1..), Some(Some(fd))) => Ok(Self { pid, fd: Some(fd) }),
            _ => Err(String::from(
                "not a process id, nor one with a descriptor\nhint: expected 4242, or 4242:7",
            )),
        }
    }
}

/// A connection that is looked at since a moment.
struct Watch<'a> {
    connection: &'a Connection,
    signals: Option<SignalFd>,
    start: Instant,
}

impl Watch<'_> {
    /// Returns the time since the start.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits for `pause`. Returns whether the user has interrupted the measurement.
    fn wait(&self, pause: Duration) -> bool {
        let signals = self.signals.iter();
        let mut fds: Vec<PollFd<'_>> = signals.map(|signals| PollFd::new(signals, PollFlags::IN)).collect();
        let _ = poll(&mut fds, Timespec::try_from(pause).ok().as_ref());
        self.signals.as_ref().is_some_and(|signals| signals.next().is_some())
    }

    /// Looks until the connection or the measurement ends.
    fn until_end(&self, gaps: &mut Gaps, asker: &mut Asker, longest: f64, progress: &mut Progress) -> End {
        let mut next = (longest / 16.0).clamp(1.0, 10.0).min(longest);
        loop {
            if self.wait(LOOK) {
                return End::Interrupted;
            }
            let now = self.now();
            let Ok(activity) = self.connection.look() else {
                return End::Left;
            };
            if let Some(end) = gaps.note(now, &activity) {
                return end;
            }
            let lived = gaps.lived();
            if lived >= longest - LOOK.as_secs_f64() {
                return End::Enough;
            }
            if now.as_secs_f64() > PATIENCE * longest {
                return End::InUse;
            }
            while next <= lived {
                next = (next * GROWTH).min(longest);
            }
            progress.watch(gaps.quiet(now), next, lived);
            if gaps.quiet(now) >= next && gaps.is_answered() && asker.may_ask(&activity) {
                if let Some(end) = asker.ask(self, gaps) {
                    return end;
                }
                if let Some(reason) = asker.restraint().and_then(Restraint::reason) {
                    progress.clear();
                    let line = format!("keepalive: it is only watched: {reason}");
                    write_stderr(&wrap(&line, WIDTH, 2));
                }
            }
        }
    }
}

/// Measures and prints the result.
///
/// # Errors
/// The connection cannot be reached, or ends for another reason than idleness, or the user interrupts it.
pub(super) fn run(place: Place, max: f64, is_json: bool) -> Result<(), Error> {
    let connection = Connection::find(place)?;
    block_interrupts();
    let first = connection.look().map_err(|error| connection.error(&error))?;
    let numbers = connection
        .borrow()
        .and_then(sockopt::numbers)
        .map_err(|error| connection.error(&error))?;
    let mut asker = Asker::new();
    let longest = asker.longest(&numbers, max);
    let line = format!(
        "keepalive: watching {connection} to {} for idle times up to {}; this takes {} at most",
        connection.peer,
        roughly(longest),
        roughly(PATIENCE * longest),
    );
    write_stderr(&wrap(&line, WIDTH, 2));
    let mut progress = Progress::new(io::stderr().is_terminal());
    let mut gaps = Gaps::new(&first);
    let watch = Watch {
        connection: &connection,
        signals: SignalFd::interrupts().ok(),
        start: Instant::now(),
    };
    let (end, is_peer_there) = loop {
        let end = watch.until_end(&mut gaps, &mut asker, longest, &mut progress);
        if end != End::Idle(Outcome::Silence) {
            break (end, None);
        }
        let is_there = connection.is_peer_there();
        // The network may have been down for a moment.
        if is_there != Some(true) || !asker.is_answered_at_last(&watch, &mut gaps) {
            break (end, is_there);
        }
    };
    progress.clear();
    let mut conclusion = Conclusion::of_one(gaps.lived_at_all(), gaps.died(), end.outcome());
    if end == End::Idle(Outcome::Silence) && is_peer_there != Some(true) {
        // No settings help if the peer is down.
        conclusion.disclaim();
    }
    let name = connection.to_string();
    let report = Report {
        conclusion: &conclusion,
        peer: connection.peer,
        end,
        longest,
        is_peer_there,
        is_confirmed: asker.is_confirmed(),
        restraint: asker.restraint(),
        unanswered: asker.unanswered(),
        name: &name,
    };
    print(&if is_json { report.json() } else { report.text() })?;
    let known = |what: String| Error::new(FAILED, format!("{what}: this is what is known so far"));
    match end {
        End::Interrupted => Err(known(String::from("interrupted"))),
        End::Finished => Err(known(format!(
            "the peer of {name} has closed the connection, which was in use"
        ))),
        End::Left => Err(known(format!("process {} has closed the connection", place.pid))
            .hint("the peer or the path may have ended it just before, which was not seen")),
        End::Enough | End::InUse | End::Idle(_) => Ok(()),
    }
}
