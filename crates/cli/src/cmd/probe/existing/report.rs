//! The result of watching one connection, as text and JSON.

use super::super::conclusion::Conclusion;
use super::super::search::Outcome;
use super::super::{roughly, show};
use super::ask::Restraint;
use super::gaps::End;
use crate::output::{WIDTH, wrap};
use std::net::SocketAddr;

/// What was found, and how.
pub(super) struct Report<'a> {
    pub(super) conclusion: &'a Conclusion,
    pub(super) peer: SocketAddr,
    pub(super) end: End,
    /// The longest idle time that was tried, in seconds.
    pub(super) longest: f64,
    /// Whether the peer accepted a new connection afterwards; `None` if that was not tried.
    pub(super) is_peer_there: Option<bool>,
    /// Whether a probe after that had no answer either.
    pub(super) is_confirmed: bool,
    pub(super) restraint: Option<Restraint>,
    /// The number of our probes without an answer.
    pub(super) unanswered: u32,
    /// PID:FD.
    pub(super) name: &'a str,
}

impl Report<'_> {
    pub(super) fn json(&self) -> String {
        let by = self.end.outcome().map(|outcome| match outcome {
            Outcome::Silence if self.is_confirmed => "path",
            Outcome::Closed => "server",
            _ => "unknown",
        });
        let is_interrupted = self.end == End::Interrupted;
        show::object(self.conclusion, self.name, self.peer, by, None, is_interrupted)
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.found()];
        lines.extend(self.cause());
        lines.extend(self.limit());
        if self.conclusion.timings.is_some() {
            lines.push(String::from(
                "Settings that are shorter than the idle time which it survived (not checked):",
            ));
        }
        let mut text: String = lines.iter().map(|line| wrap(line, WIDTH, 2)).collect();
        text.push_str(&show::remedy(self.conclusion, self.peer));
        text
    }

    fn found(&self) -> String {
        let lived = self.conclusion.lived.map(roughly);
        let died = self.conclusion.died.map(roughly);
        match (self.end.outcome(), died, lived) {
            (Some(Outcome::Closed), Some(died), _) => {
                format!("The peer closed the connection after it had been idle for {died}: FIN.")
            }
            (Some(Outcome::ResetUnasked), Some(died), _) => {
                format!("The connection was reset after it had been idle for {died}: RST.")
            }
            (Some(how), Some(died), lived) => {
                let known = lived.map_or_else(String::new, |lived| format!("known after {lived}, "));
                let how = if how == Outcome::Reset {
                    "answered with a RST"
                } else {
                    "silence"
                };
                format!("The idle connection was {known}forgotten after {died}: {how}.")
            }
            (_, _, Some(lived)) if self.end == End::Enough => {
                format!("No timeout up to {lived}: the connection was idle for so long, and was still known.")
            }
            (_, _, Some(lived)) => format!("The longest idle time was {lived}; the connection was still known."),
            (_, _, None) => String::from("Nothing is known yet."),
        }
    }

    /// Returns what has ended the connection, as far as it is known.
    fn cause(&self) -> Option<String> {
        let text = match (self.end.outcome()?, self.is_peer_there) {
            (Outcome::Closed, _) => String::from(
                "If that is the peer's timeout for idle connections, keepalive cannot help: probes carry no data. Raise that \
                 timeout, or let the program speak.",
            ),
            (Outcome::ResetUnasked, _) => {
                String::from("Something on the path, or the peer, ended it. Whether it counts probes is not known.")
            }
            (Outcome::Reset, _) => {
                String::from("Something on the path, or the peer, has forgotten it. It is lost for the program too.")
            }
            (_, there) => {
                let probes = match self.unanswered {
                    0 => String::from("The packets of the program"),
                    1 => String::from("One probe, which may have been lost,"),
                    several => format!("{several} probes"),
                };
                let there = match there {
                    Some(true) if self.is_confirmed => {
                        "The peer accepts a new connection: the path has forgotten the idle one. It is lost for the program too."
                    }
                    Some(true) => {
                        "The peer accepts a new connection: the path has probably forgotten the idle one, or was interrupted."
                    }
                    Some(false) => "The peer accepts no new connection either: it, or the network, may be down.",
                    None => "Whether the peer still runs is not known.",
                };
                format!("{probes} got no answer. {there}")
            }
        };
        Some(text)
    }

    /// Returns why no longer time was seen.
    fn limit(&self) -> Option<String> {
        if self.end.outcome().is_some() || self.conclusion.lived.is_none() && self.end != End::InUse {
            return None;
        }
        match (self.restraint, self.end) {
            (Some(Restraint::Idle(idle)), _) => Some(format!(
                "Keepalive is on, and sends a probe after {}: the connection is never idle for longer.",
                roughly(f64::from(idle))
            )),
            (_, End::Enough) => Some(format!(
                "Whether it is forgotten later is not known. To try longer times: keepalive probe --pid {} --max TIME",
                self.name
            )),
            (Some(restraint), _) => restraint
                .reason()
                .map(|reason| format!("It was only watched: {reason}.")),
            (None, End::InUse) => Some(format!(
                "The program uses it too often: it was never idle for {}.",
                roughly(self.longest)
            )),
            _ => None,
        }
    }
}
