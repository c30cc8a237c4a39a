//! `keepalive probe`: measures how long a path remembers an idle connection.

mod conclusion;
mod existing;
mod idle;
mod login;
mod path;
mod progress;
mod search;
mod show;

use crate::error::{Error, FAILED, REFUSED, describe};
use crate::help::{Json, Notes, SUCCESS, USAGE};
use crate::output::{WIDTH, print, wrap, write_stderr};
use clap::Args;
use conclusion::{Conclusion, proof};
use keepalive_engine::timeline::spell;
use keepalive_policy::duration;
use keepalive_sys::names;
use login::Login;
use path::{Ended, Path};
use progress::Progress;
use search::Search;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

/// Measure how long a path remembers an idle connection
///
/// Opens connections to a TCP server, leaves them idle for different times, and sends one keepalive probe on each to learn
/// whether the path and the server still know it. Sends no data. Prints settings that help, and checks that they do. With
/// --pid, measures on a connection that a program has open, for servers that end a connection which does not log in.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive probe [OPTIONS] <HOST:PORT | --pid PID[:FD]>")]
pub(crate) struct Probe {
    /// A server that accepts idle connections: 'redis.example.com:6379', '[2001:db8::1]:9092'
    #[arg(value_name = "HOST:PORT", required_unless_present = "pid")]
    target: Option<String>,

    /// Measure on a connection of this process: '4242', '4242:7'
    ///
    /// Watches the connection. With CAP_NET_ADMIN it also sends a keepalive probe each time that the connection has been idle
    /// for longer than before. Changes no option of the connection. FD is required if the process has several connections.
    #[arg(
        long,
        value_name = "PID[:FD]",
        value_parser = existing::Place::parse,
        conflicts_with_all = ["target", "precision", "parallel", "no_verify"],
    )]
    pid: Option<existing::Place>,

    /// Longest idle time to try: 10 seconds to 9 hours
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = longest)]
    max: Duration,

    /// Precision of the result: 1% to 50% of the timeout
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    precision: f64,

    /// Connections at a time: 2 to 64
    ///
    /// Default: 12; 8 at the ports of services that expect a login, of which some limit connections without one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=64))]
    parallel: Option<u32>,

    /// Do not check at the end that keepalive helps
    #[arg(long)]
    no_verify: bool,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) const NOTES: Notes = Notes {
    command: "probe",
    paragraphs: &[
        "With the defaults it takes 20 minutes if nothing is forgotten. A timeout of 350 s takes about 12 minutes to find, \
         and 7 to check the settings. Ctrl-C ends the measurement and prints what is known. The kernel chooses source \
         address and ports. One more connection is kept alive by a probe each second. An idle connection counts as lost \
         when five or six probes of that one are answered and none of its own. If that one is reset too, the path is not \
         the cause.",
    ],
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            ("target", "string", "HOST:PORT, or PID:FD"),
            ("address", "string", "address and port of the server, or of the peer"),
            (
                "lived_s",
                "number",
                "the longest idle time that a connection survived, seconds",
            ),
            (
                "died_s",
                "number",
                "the shortest idle time that a connection did not survive, seconds",
            ),
            ("how", "string", "silence, reset, reset-unasked or closed"),
            ("by", "string", "path, server or unknown"),
            (
                "probed_died_s",
                "number",
                "the age at which a connection with a probe each second was ended too, seconds",
            ),
            ("helps", "boolean", "whether keepalive helps"),
            ("idle_s", "number", "settings that help: idle time, seconds"),
            ("interval_s", "number", "seconds"),
            ("count", "number", ""),
            ("presets", "array", "presets that help"),
            ("verified", "boolean", "whether the settings were checked to help"),
            (
                "irregular",
                "number",
                "connections that did not answer though others outlived them",
            ),
            ("interrupted", "boolean", ""),
        ],
        null: "Null means none, or unknown.",
    }),
    statuses: &[
        SUCCESS,
        (
            "1",
            "The server or the process cannot be reached, or the server fails, or the measurement is interrupted, or the \
             connection is closed while it is in use.",
        ),
        USAGE,
    ],
    examples: &[
        (
            "How long is a connection to this server remembered?",
            &["keepalive probe redis.example.com:6379"],
        ),
        (
            "With less precision, and only up to five minutes:",
            &["keepalive probe --max 5m --precision 20% redis.example.com:6379"],
        ),
        (
            "A database ends connections that do not log in; measure on one that is logged in:",
            &["keepalive probe --pid 4242:7"],
        ),
    ],
    ..Notes::DEFAULT
};

/// The additional seconds of a round: connecting, and the probes without an answer.
const SETTLING: f64 = 8.0;

/// Measures and prints the result.
///
/// # Errors
/// The server cannot be reached, or fails during the measurement, or the user interrupts it.
pub(crate) fn run(probe: &Probe) -> Result<(), Error> {
    match (&probe.pid, &probe.target) {
        (Some(place), _) => existing::run(*place, probe.max.as_secs_f64(), probe.json),
        (None, Some(target)) => measure(probe, target),
        (None, None) => Err(Error::new(REFUSED, "neither HOST:PORT nor --pid is given")),
    }
}

/// Measures on connections of its own to `target`.
fn measure(probe: &Probe, target: &str) -> Result<(), Error> {
    let addresses = resolve(target)?;
    let mut path = Path::open(&addresses).map_err(|error| {
        Error::new(FAILED, format!("cannot connect to '{target}': {}", describe(&error)))
            .hint("a TCP server must listen there, and let connections be idle")
    })?;
    let max = probe.max.as_secs_f64();
    let login = Login::at(path.address().port());
    let parallel = probe.parallel.unwrap_or(if login.is_some() { 8 } else { 12 });
    let mut search = Search::new(max, probe.precision, parallel);
    let mut progress = Progress::new(io::stderr().is_terminal());
    let _ = writeln!(
        io::stderr(),
        "keepalive: asking {} about idle times up to {}; this takes {} at most",
        path.address(),
        roughly(max),
        roughly(search.rounds() * (max + SETTLING) + if probe.no_verify { 0.0 } else { proof(max) + SETTLING }),
    );
    if let Some(login) = login {
        write_stderr(&wrap(&login.expected(path.address().port()), WIDTH, 2));
    }
    let mut ended = None;
    while let Some(times) = search.next() {
        let (round, end) = path.round(&times, &mut progress);
        search.record(&round);
        ended = end;
        if ended.is_some() {
            break;
        }
    }
    let mut conclusion = Conclusion::new(&search);
    conclusion.compare(path.probed());
    if ended.is_none()
        && !probe.no_verify
        && let Some(timings) = conclusion.to_verify()
    {
        match path.verify(timings, proof(conclusion.died.unwrap_or(0.0)), &mut progress) {
            Ok(is_kept) => conclusion.check(is_kept),
            Err(end) => ended = Some(end),
        }
    }
    progress.clear();
    let interrupted = ended == Some(Ended::Interrupted);
    print(&if probe.json {
        show::json(&conclusion, target, path.address(), interrupted)
    } else {
        show::text(&conclusion, target, path.address(), max)
    })?;
    match ended {
        None => Ok(()),
        Some(end) => Err(end.error(target)),
    }
}

impl Ended {
    fn error(self, target: &str) -> Error {
        match self {
            Self::Interrupted => Error::new(FAILED, "interrupted: this is what is known so far"),
            Self::Down => Error::new(
                FAILED,
                format!("'{target}' does not answer any more, not even on a connection that is kept alive"),
            )
            .hint("the server or the network failed meanwhile: what is known so far may be wrong; try again"),
            Self::Restless => Error::new(
                FAILED,
                format!("'{target}' lets no connection be idle: it sends something itself"),
            )
            .hint("the server, or a proxy before it, keeps its connections alive already"),
            Self::KeptAlive => Error::new(
                FAILED,
                format!("cannot leave a connection to '{target}' idle: a policy of keepalive keeps it alive"),
            )
            .hint(
                "run it where no policy in mode cap or enforce applies; keepalive cgroup status shows those of cgroups",
            ),
            Self::Unanswered => Error::new(
                FAILED,
                format!("'{target}' does not answer a new connection, though it answers on another"),
            )
            .hint("packets get lost, or it takes no more connections: try again, with a smaller --parallel"),
            Self::Refused => Error::new(FAILED, format!("'{target}' takes no more connections"))
                .hint("try --parallel with a smaller number"),
        }
    }
}

fn resolve(target: &str) -> Result<Vec<SocketAddr>, Error> {
    let has_port = target.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0) && port.bytes().all(|byte| byte.is_ascii_digit());
        is_port && !host.is_empty() && (!host.contains(':') || host.ends_with(']'))
    });
    if !has_port {
        return Err(Error::new(REFUSED, format!("'{target}': not a host and a port"))
            .hint("expected db.example.com:5432, 10.1.2.3:5432 or [2001:db8::1]:5432"));
    }
    names::look_up(target).map_err(|error| {
        let error = Error::new(FAILED, format!("cannot find '{target}': {}", describe(&error)));
        if names::IS_LIMITED {
            error.hint(
                "/etc/hosts and DNS were asked, no other source of nsswitch.conf(5): getent hosts NAME asks them all",
            )
        } else {
            error
        }
    })
}

fn longest(text: &str) -> Result<Duration, String> {
    let Ok(milliseconds) = duration::parse(text.as_bytes()) else {
        return Err(String::from("not a time\nhint: expected 90, 90s, 20m or 2h"));
    };
    if (10_000..=32_400_000).contains(&milliseconds) {
        Ok(Duration::from_millis(milliseconds))
    } else {
        Err(String::from("out of range\nhint: expected 10 seconds to 9 hours"))
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    match number {
        Some(percent) if (1.0..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(String::from("not a percentage from 1 to 50\nhint: expected 5%")),
    }
}

/// Returns seconds in words, with the precision of the measurement.
fn roughly(seconds: f64) -> String {
    let unit = if seconds < 100.0 { 100 } else { 1000 };
    spell((milliseconds(seconds) + unit / 2) / unit * unit)
}

/// Returns whole milliseconds, at least 0.
fn milliseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds.max(0.0)).as_millis()).unwrap_or(u64::MAX)
}
