//! `keepalive trace`: shows connections that end, and why.

mod line;
mod summary;

use crate::error::{Error, FAILED, describe};
use crate::help::{Json, Notes, SUCCESS, USAGE};
use crate::interrupts;
use crate::json;
use crate::output::{WIDTH, print_ignoring_epipe, wrap, write_stderr};
use clap::Args;
use keepalive_engine::sockets::Selection;
use keepalive_engine::trace::Trace as Tracer;
use keepalive_engine::trace::ending::Ending;
use keepalive_engine::trace::summary::Summary;
use keepalive_policy::duration;
use keepalive_sys::signal::SignalFd;
use line::{Entry, HEADINGS, row};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd as _;
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// Show TCP connections that end after being idle, and what ended them
///
/// Follows every connection of the machine, in all network namespaces and containers, while it runs. Prints a line when a
/// connection ends that was idle before, and at the end a summary. Requires root (CAP_BPF and CAP_PERFMON), Linux 5.8 and BTF.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// Only connections of these processes; ends when they have ended
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pids: Vec<u32>,

    /// Only connections of programs with this name
    #[arg(long, value_name = "NAME", conflicts_with = "pids")]
    program: Option<OsString>,

    /// Only connections with this port, at either end
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Only connections that were idle for this long before: '5', '90s', '5m'
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    min_idle: Duration,

    /// All connections, also those that were not idle
    #[arg(long, conflicts_with = "min_idle")]
    all: bool,

    /// End after this time; default: at Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
    limit: Option<Duration>,

    /// Print the summary also at this interval
    ///
    /// With --json each summary, also the last one, is an object with the field 'summary'; without --summary, text on standard
    /// error.
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    summary: Option<Duration>,

    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
}

pub(crate) const NOTES: Notes = Notes {
    command: "trace",
    paragraphs: &[
        "One line a connection. UTC is the time of its end. PEER is the other end, after > if this end connected, and < if it \
         accepted the connection. IDLE is the time without data and acknowledgements in either direction before what ended the \
         connection; if the peer closed it, the time without data. KEEPALIVE is idle/interval/count, in seconds and probes, or off. \
         Unknown values are shown as '?'.",
        "ENDED is the cause. At 'dead peer' keepalive probes got no answer. At 'reset on probe' and 'reset on send' a RST was the \
         answer to a keepalive probe, or to the first data after the idle time; the path or the peer had forgotten the connection. \
         At 'timeout on send' these data were never acknowledged: the kernel gave up, or the program did after at least two \
         retransmissions. At 'reset' nothing provoked the RST. At 'closed by peer' the \
         peer's FIN came, as after its own idle timeout. At 'closed' the program closed the connection, or ended. Anything else is \
         the socket's error.",
        "A connection ends when it leaves the state ESTABLISHED. The process is the one that closed the socket or called \
         connect(2), as the kernel tells, or that holds the socket according to /proc, which is read every two seconds or \
         less often on a large machine. Ends that could not be recorded are counted.",
        "The summary has, for each peer and port, how many connections ended by which cause, after which idle times, what that \
         means, and settings that help, or why keepalive does not. Peers of a network with the same fate are one. It knows only \
         what ended while it ran: the timeout of a path may be shorter than the shortest idle time after which a \
         connection was lost.",
    ],
    json: Some(Json {
        heading: "Each JSON object has",
        fields: &[
            ("time", "string", "RFC 3339, UTC"),
            ("pid", "number", "process id"),
            ("program", "string", "name of the program"),
            ("cgroup", "string", "path of the cgroup in which the socket was created"),
            (
                "container",
                "string",
                "id of the container, if the cgroup's path contains one",
            ),
            ("local", "string", "address and port"),
            ("peer", "string", "address and port"),
            ("direction", "string", "connect or accept"),
            (
                "cause",
                "string",
                "dead-peer, reset-on-probe, reset-on-send, timeout-on-send, reset, closed-by-peer, closed or other",
            ),
            ("idle_s", "number", "seconds"),
            ("lived_s", "number", "seconds; null if the start was not seen"),
            ("keepalive", "boolean", ""),
            ("idle_setting_s", "number", "seconds"),
            ("interval_setting_s", "number", "seconds"),
            ("count_setting", "number", ""),
            ("unanswered_probes", "number", ""),
            ("retransmits", "number", "retransmissions without an answer"),
            ("errno", "string", "the socket's error, as ETIMEDOUT"),
            (
                "summary[]",
                "array",
                "with --summary, in an object of its own: peers and ports, with",
            ),
            ("summary[].peer", "string", "address or network, and port of the server"),
            ("summary[].direction", "string", "connect or accept"),
            ("summary[].ended", "number", "connections that ended"),
            (
                "summary[].causes[]",
                "object",
                "cause, count, shortest_idle_s, longest_idle_s",
            ),
            (
                "summary[].shortest_lost_s",
                "number",
                "shortest idle time of a lost connection, seconds",
            ),
            (
                "summary[].longest_survived_s",
                "number",
                "longest idle time after which the path still knew one, seconds",
            ),
            (
                "summary[].meanings",
                "array",
                "forgotten, lost-between-probes, no-timeout, ended-by-timer, ended-by-peer, dead-peer",
            ),
            ("summary[].text", "string", "the same in sentences"),
            ("summary[].helps", "boolean", "whether keepalive helps"),
            ("summary[].idle_s", "number", "settings that help: idle time, seconds"),
            ("summary[].interval_s", "number", "seconds"),
            ("summary[].count", "number", ""),
            ("summary[].presets", "array", "presets with such a timeout"),
            ("summary[].command", "string", "the settings as a command"),
            ("summary[].config", "string", "as a line of /etc/keepalive.conf"),
            ("summary[].unit", "string", "for a systemd service"),
            ("ended", "number", "in the same object: connections that ended"),
            (
                "others",
                "number",
                "those that are not in the summary, as there are too many peers",
            ),
        ],
        null: "Null is unknown, or none.",
    }),
    statuses: &[
        SUCCESS,
        (
            "1",
            "The kernel or the missing rights do not allow it, or a named process does not exist.",
        ),
        USAGE,
    ],
    examples: &[
        (
            "Which connections of this machine die of idleness?",
            &["keepalive trace"],
        ),
        (
            "Those to a database, for ten minutes, as JSON:",
            &["keepalive trace --port 5432 --for 10m --json"],
        ),
    ],
    ..Notes::DEFAULT
};

/// The longest wait: then the holders of sockets are read again.
const PERIOD: Duration = Duration::from_secs(1);

/// Prints the ends of connections until a signal arrives, or as long as the options say.
///
/// # Errors
/// What this process or the kernel lacks; a named process that does not exist.
pub(crate) fn run(trace: &Trace) -> Result<(), Error> {
    let signals = interrupts::catch()?;
    let (named, missing) = Selection::named(&trace.pids);
    let missing = missing
        .iter()
        .map(|(pid, obstacle)| obstacle.error("trace", *pid).into());
    if let Some(error) = Error::all(missing) {
        return Err(error);
    }
    let min_idle = if trace.all { Duration::ZERO } else { trace.min_idle };
    let mut session = Session {
        trace,
        tracer: Tracer::start(min_idle)?,
        summary: Summary::new(),
        is_open: true,
        unowned: 0,
        lost: 0,
    };
    write_stderr(&trace.first_line());
    session.follow(&signals, &named)?;
    session.finish()
}

impl Trace {
    fn first_line(&self) -> String {
        let which = if self.all || self.min_idle.is_zero() {
            String::from("that end")
        } else {
            format!(
                "that end after {} s or more without traffic",
                self.min_idle.as_secs_f64()
            )
        };
        let until = self
            .limit
            .map_or_else(String::new, |limit| format!(" for {} s", limit.as_secs_f64()));
        wrap(
            &format!("keepalive: tracing connections {which}{until}; Ctrl-C prints the summary"),
            WIDTH,
            2,
        )
    }

    fn wants(&self, ending: &Ending) -> bool {
        self.port
            .is_none_or(|port| ending.local.port() == port || ending.peer.port() == port)
    }

    fn has_owner_filter(&self) -> bool {
        !self.pids.is_empty() || self.program.is_some()
    }

    /// Returns whether the connection belongs to the selected processes; `None` if its owner is unknown.
    fn owns(&self, ending: &Ending) -> Option<bool> {
        /// The length of the name of a process that has ended (`proc_pid_comm(5)`).
        const SHORT: usize = 15;
        if !self.has_owner_filter() {
            return Some(true);
        }
        let owner = ending.owner.as_ref()?;
        let is_called = |name: &OsString| {
            let short = name.as_bytes().get(..SHORT);
            owner.program == *name || short.is_some_and(|short| owner.program.as_bytes() == short)
        };
        Some(self.pids.contains(&owner.pid) || self.program.as_ref().is_some_and(is_called))
    }
}

struct Session<'a> {
    trace: &'a Trace,
    tracer: Tracer,
    summary: Summary,
    /// Whether standard output still has a reader.
    is_open: bool,
    /// The ends whose owner is unknown, so that a filter omits them.
    unowned: u64,
    /// The lost ends that were reported.
    lost: u64,
}

impl Session<'_> {
    fn follow(&mut self, signals: &SignalFd, named: &Selection) -> Result<(), Error> {
        let begin = Instant::now();
        let mut summary_at = self.trace.summary.map(|period| begin + period);
        self.print_headings()?;
        while self.is_open {
            let deadlines = [self.trace.limit.map(|limit| begin + limit), summary_at];
            let now = Instant::now();
            let left = deadlines.iter().flatten().map(|at| at.saturating_duration_since(now));
            let is_signalled = self.wait(
                signals,
                left.chain(self.tracer.wait()).min().unwrap_or(PERIOD).min(PERIOD),
            )?;
            self.print_endings(false)?;
            self.tracer.refresh();
            self.report_losses();
            let is_past = |at: &Option<Instant>| at.is_some_and(|at| at <= Instant::now());
            if is_past(&summary_at) {
                self.print_summary()?;
                summary_at = self.trace.summary.map(|period| Instant::now() + period);
            }
            let has_ended = !self.trace.pids.is_empty() && named.visit(|_| ()) == 0;
            if is_signalled || is_past(&deadlines[0]) || has_ended {
                break;
            }
        }
        Ok(())
    }

    /// Waits for an end, for at most `longest`. Returns whether a signal has arrived.
    fn wait(&mut self, signals: &SignalFd, longest: Duration) -> Result<bool, Error> {
        let stdout = io::stdout();
        let mut fds = [
            PollFd::new(&self.tracer, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            // Only errors: nobody reads the pipe any more.
            PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut fds, Timespec::try_from(longest).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                let error = describe(&error.into());
                return Err(Error::new(FAILED, format!("cannot wait: poll: {error}")));
            }
        }
        let closed = PollFlags::ERR | PollFlags::HUP;
        if fds[2].revents().intersects(closed) {
            self.is_open = false;
        }
        Ok(signals.next().is_some())
    }

    fn print_headings(&mut self) -> Result<(), Error> {
        if self.trace.json { Ok(()) } else { self.print(HEADINGS) }
    }

    fn print_endings(&mut self, is_last: bool) -> Result<(), Error> {
        let mut text = String::new();
        for ending in self.tracer.endings(is_last) {
            if !self.trace.wants(&ending) {
                continue;
            }
            match self.trace.owns(&ending) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    self.unowned += 1;
                    continue;
                }
            }
            self.summary.add(&ending);
            if self.trace.json {
                text.push_str(&json::line(&Entry::new(&ending)));
                text.push('\n');
            } else {
                text.push_str(&row(&ending));
            }
        }
        if text.is_empty() { Ok(()) } else { self.print(&text) }
    }

    fn print(&mut self, text: &str) -> Result<(), Error> {
        self.is_open = self.is_open && print_ignoring_epipe(text)?;
        Ok(())
    }

    /// Prints what has ended so far, and what that means.
    fn print_summary(&mut self) -> Result<(), Error> {
        let report = self.summary.report();
        match (self.trace.json, self.trace.summary) {
            (false, _) => self.print(&format!("\n{}", summary::text(&report))),
            (true, Some(_)) => self.print(&summary::json(&report)),
            // A reader that did not request summaries expects the ends of connections alone.
            (true, None) => {
                write_stderr(&summary::text(&report));
                Ok(())
            }
        }
    }

    /// Reports at once that ends get lost; how many, at the end.
    fn report_losses(&mut self) {
        let is_first = self.lost == 0;
        self.lost = self.tracer.lost().unwrap_or(self.lost);
        if is_first && self.lost > 0 {
            write_stderr("keepalive: too many connections end at once: some are not recorded\n");
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.print_endings(true)?;
        self.print_summary()?;
        self.report_losses();
        if self.lost > 0 {
            write_stderr(&format!(
                "keepalive: at most {} ends of connections were not recorded\n",
                self.lost
            ));
        }
        if self.unowned > 0 {
            let line = format!(
                "keepalive: {} connections ended whose process is not known; they are not shown",
                self.unowned
            );
            write_stderr(&wrap(&line, WIDTH, 2));
        }
        Ok(())
    }
}

/// The kernel's 32-bit jiffies at 1000 Hz show times up to 24 days apart.
const LONGEST: u64 = 20 * 24 * 3600 * 1000;

fn time(text: &str) -> Result<Duration, String> {
    let Ok(milliseconds) = duration::parse(text.as_bytes()) else {
        return Err(String::from("not a time\nhint: expected 5, 90s, 20m or 2h"));
    };
    if milliseconds <= LONGEST {
        Ok(Duration::from_millis(milliseconds))
    } else {
        Err(String::from("out of range\nhint: expected at most 480h"))
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err(String::from("out of range\nhint: expected a time above 0")),
        time => Ok(time),
    }
}
