//! The result as text and JSON.

use super::conclusion::{Conclusion, settings};
use super::login::Login;
use super::roughly;
use super::search::Outcome;
use crate::json::pretty;
use crate::output::{WIDTH, wrap};
use keepalive_engine::idle_timeout::is_usable;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

impl Outcome {
    /// Returns the word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Lived => "lived",
            Self::Silence => "silence",
            Self::Reset => "reset",
            Self::ResetUnasked => "reset-unasked",
            Self::Closed => "closed",
        }
    }
}

/// The result as a JSON object.
#[derive(Serialize)]
struct Object<'a> {
    target: &'a str,
    address: String,
    lived_s: Option<f64>,
    died_s: Option<f64>,
    how: Option<&'static str>,
    by: Option<&'static str>,
    probed_died_s: Option<f64>,
    helps: Option<bool>,
    idle_s: Option<u32>,
    interval_s: Option<u32>,
    count: Option<u32>,
    presets: &'a [&'static str],
    verified: Option<bool>,
    irregular: u64,
    interrupted: bool,
}

pub(super) fn json(conclusion: &Conclusion, target: &str, address: SocketAddr, interrupted: bool) -> String {
    let by = conclusion.how.map(|how| by(how, conclusion.verified));
    object(conclusion, target, address, by, conclusion.helps(), interrupted)
}

/// Returns the JSON object of a measurement, with what ended the connection and whether keepalive helps.
pub(super) fn object(
    conclusion: &Conclusion,
    target: &str,
    address: SocketAddr,
    by: Option<&'static str>,
    helps: Option<bool>,
    interrupted: bool,
) -> String {
    let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let timings = conclusion.timings;
    let object = Object {
        target,
        address: address.to_string(),
        lived_s: conclusion.lived.map(round),
        died_s: conclusion.died.map(round),
        how: conclusion.how.map(Outcome::name),
        by,
        probed_died_s: conclusion.probed_died.map(round),
        helps,
        idle_s: timings.map(|(idle, _, _)| idle),
        interval_s: timings.map(|(_, interval, _)| interval),
        count: timings.map(|(_, _, count)| count),
        presets: &conclusion.presets,
        verified: conclusion.verified,
        irregular: conclusion.irregular,
        interrupted,
    };
    pretty(&object)
}

/// Returns which device ended the connection, as far as this end can tell.
const fn by(how: Outcome, verified: Option<bool>) -> &'static str {
    match (how, verified) {
        // The server still answers on the control connection, and only idle connections were lost.
        (Outcome::Silence, None | Some(true)) => "path",
        (Outcome::Closed, _) => "server",
        _ => "unknown",
    }
}

pub(super) fn text(conclusion: &Conclusion, target: &str, address: SocketAddr, max: f64) -> String {
    let mut text = String::new();
    let mut say = |line: &str| text.push_str(&wrap(line, WIDTH, 2));
    say(&found(conclusion, max));
    if let Some(age) = conclusion.probed_died {
        for line in &own_timer(conclusion, address.port(), age) {
            say(line);
        }
    } else if let Some(how) = conclusion.how {
        say(who(how, conclusion));
    }
    if conclusion.died.is_none() && conclusion.lived.is_some_and(|lived| lived >= max) {
        say(&longer(target, max));
    }
    if conclusion.irregular > 0 {
        let connections = if conclusion.irregular == 1 {
            "connection"
        } else {
            "connections"
        };
        say(&format!(
            "{} {connections} did not answer, or ended, though others outlived them: packets get lost, here or on the path, or the \
             server ended them for another reason.",
            conclusion.irregular
        ));
    }
    match (conclusion.verified, conclusion.timings) {
        // This was printed already.
        (Some(false), _) if conclusion.probed_died.is_some() => {}
        (Some(true), _) => say("Checked: a connection with the settings below outlived the timeout."),
        (Some(false), _) => say(
            "Checked: a connection with keepalive, idle for a third of that, was lost all the same; \
             keepalive does not help here.",
        ),
        (None, _) => {}
    }
    text + &remedy(conclusion, address)
}

/// Returns the presets and the settings that fit.
pub(super) fn remedy(conclusion: &Conclusion, address: SocketAddr) -> String {
    let mut text = String::new();
    if !conclusion.presets.is_empty() {
        let presets = conclusion.presets.join(", ");
        let what = if conclusion.how == Some(Outcome::Closed) && conclusion.timings.is_none() {
            "Proxies with such a timeout, against which keepalive cannot help"
        } else {
            "Presets with such a timeout"
        };
        text.push_str(&wrap(&format!("{what}: {presets}"), WIDTH, 2));
    }
    if let Some(timings @ (idle, interval, count)) = conclusion.timings {
        let peer = match address.ip().to_canonical() {
            IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
            IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
        };
        let line = format!("connect {peer}  {}", settings(timings));
        let _ = write!(
            text,
            "\n  keepalive run --idle {idle} --interval {interval} --count {count} -- COMMAND\n  {line}\n"
        );
        if let Some(preset) = conclusion.presets.iter().find(|name| is_usable(name)) {
            let _ = writeln!(text, "  keepalive run --preset {preset} -- COMMAND");
        }
    }
    text
}

/// Returns the bounds, in a sentence.
fn found(conclusion: &Conclusion, max: f64) -> String {
    let lived = conclusion.lived.map(roughly);
    match (conclusion.died, conclusion.how, lived) {
        (None, _, None) => String::from("Nothing is known yet."),
        (None, _, Some(lived)) if conclusion.lived.is_some_and(|lived| lived >= max) => {
            format!("No timeout up to {lived}: a connection that was idle for so long was still known.")
        }
        (None, _, Some(lived)) => format!("A connection that was idle for {lived} was still known."),
        (Some(died), Some(Outcome::Closed), _) => {
            format!(
                "A connection on which nothing is sent is closed by the server after {}: FIN.",
                roughly(died)
            )
        }
        (Some(died), Some(Outcome::ResetUnasked), _) => {
            format!(
                "A connection on which nothing is sent is reset after {}: RST.",
                roughly(died)
            )
        }
        (Some(died), how, lived) => {
            let how = if how == Some(Outcome::Reset) {
                "answered with a RST"
            } else {
                "silence"
            };
            let lived = lived.map_or_else(String::new, |lived| format!("known after {lived}, "));
            format!("An idle connection is {lived}forgotten after {}: {how}.", roughly(died))
        }
    }
}

/// Returns what follows if a connection with probes was ended at the same `age`, in sentences.
fn own_timer(conclusion: &Conclusion, port: u16, age: f64) -> Vec<String> {
    let ended = if conclusion.how == Some(Outcome::Closed) {
        "closed"
    } else {
        "reset"
    };
    let own = format!(
        "A connection with a keepalive probe each second was {ended} too, after {}: that timer counts neither probes nor answers. \
         It is the timeout of the server, or of a proxy which ends TCP on the way, for a connection that does not log in or \
         sends no request.",
        roughly(age)
    );
    let service = Login::at(port).map(|login| login.describe(port));
    let path = conclusion.lived.map_or_else(String::new, |lived| {
        format!(
            " The path still knew a connection that was idle for {}.",
            roughly(lived)
        )
    });
    let unknown = format!(
        "This says nothing about the path, nor about connections that are in use.{path} To measure on one: keepalive \
         probe --pid PID"
    );
    std::iter::once(own).chain(service).chain([unknown]).collect()
}

/// Returns which command tries longer idle times, in a sentence.
fn longer(target: &str, max: f64) -> String {
    /// Usual timeouts of middleboxes are shorter than the first; few firewalls have longer ones than the second.
    const STEPS: [(f64, &str); 3] = [(1200.0, "20m"), (7800.0, "130m"), (32_400.0, "9h")];
    STEPS.iter().find(|(step, _)| *step > max).map_or_else(
        || String::from("That is the longest time that can be tried."),
        |(_, step)| {
            format!(
                "Whether it is forgotten later is not known. To try longer times: keepalive probe --max {step} {target}"
            )
        },
    )
}

/// Returns which device ended the connection, in a sentence.
const fn who(how: Outcome, conclusion: &Conclusion) -> &'static str {
    match how {
        Outcome::Silence if matches!(conclusion.verified, Some(false)) => {
            "Something on the path, or the server, drops it; the server still answers on another connection."
        }
        Outcome::ResetUnasked => {
            "Something on the path, or the server, ends it; a connection with a keepalive probe each second was not reset."
        }
        Outcome::Silence => {
            "The path forgets it: the server still answers on a connection that is kept alive. A NAT, a firewall or a load \
             balancer drops what it does not know."
        }
        Outcome::Reset => {
            "Something on the path, or the server, forgets it; the server still answers on a connection that is kept alive."
        }
        Outcome::Closed if conclusion.timings.is_none() && conclusion.verified.is_none() => {
            "Whether a connection with keepalive probes is closed too is not known yet."
        }
        Outcome::Closed => {
            "A connection with a keepalive probe each second was not closed: whatever closes idle connections counts probes."
        }
        Outcome::Lived => "",
    }
}
