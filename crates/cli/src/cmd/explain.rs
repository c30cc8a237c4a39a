//! `keepalive explain`: shows a connection's settings, their sources, the timeline, and warnings.

mod advice;
mod decision;
mod json;
mod text;

use crate::error::{Error, REFUSED};
use crate::flags::PolicyFlags;
use crate::help::{Json, Notes, POLICY_USAGE, SUCCESS};
use crate::output::print;
use crate::policy::{self, Policy};
use advice::{Middleboxes, warnings};
use clap::Args;
use decision::Decision;
use keepalive_engine::sysctl::Sysctls;
use keepalive_policy::{Direction, Event, Keepalive, Moment, Settings, address};
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Show what a policy does: settings, their sources, the timeline, and warnings
///
/// Without --for, shows what a new socket gets before its peer is known. Times that no policy sets are
/// those of 'keepalive run'.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A connection to ADDRESS:PORT, or from ADDRESS accepted on the local PORT
    ///
    /// Examples: '10.1.2.3:5432', '[::1]:443', ':8000'
    #[arg(long = "for", num_args = 2, value_names = ["connect|accept", "ADDRESS:PORT"])]
    place: Vec<OsString>,

    /// Name of the program: the last part of the path by which it is started
    #[arg(long, value_name = "NAME")]
    program: Option<PathBuf>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

pub(crate) const NOTES: Notes = Notes {
    command: "explain",
    precedence: "Options override the environment (KEEPIDLE, ...), which overrides /etc/keepalive.conf.",
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            ("for.direction", "string", "connect or accept"),
            ("for.address", "string", ""),
            ("for.port", "number", ""),
            ("program", "string", ""),
            ("rule.text", "string", "the rule that matches"),
            ("rule.source", "string", "file, variable or flag"),
            ("rule.line", "number", ""),
            (
                "settings.NAME.value",
                "any",
                "NAME is keepalive, idle_s, interval_s, count, user_timeout_ms, mode, syn_count, defer_accept_s, \
                 max_segment or window_clamp",
            ),
            (
                "settings.NAME.source",
                "string",
                "a flag, a variable, file:line, 'fallback' (no option, rule or file sets times), a sysctl, or 'built-in' (the default of \
                 keepalive)",
            ),
            ("first_probe_s", "number", "the idle time"),
            ("lost_probes", "number", "unanswered probes that end the connection"),
            ("dead_after_s", "number", "the time until a dead peer is detected"),
            ("data_in_flight_s", "number", "how long unacknowledged data may stay"),
            ("connecting_s", "number", "how long connecting may take"),
            ("outlives", "array", "presets whose timeout the connection survives"),
            ("at_risk", "array", "presets where one or two lost probes lose it"),
            ("forgotten_by", "array", "presets that forget it"),
            ("no_remedy", "array", "presets that keepalive cannot help"),
            ("warnings", "array", "also about ignored variables"),
        ],
        null: "Null means: does not apply.",
    }),
    statuses: &[SUCCESS, POLICY_USAGE],
    examples: &[
        (
            "What does a connection to a database get, from which source, and what does it survive?",
            &["keepalive explain --for connect 10.0.0.5:5432"],
        ),
        (
            "What do the connections get that a server accepts on port 8000?",
            &["keepalive explain --for accept :8000 --program nginx"],
        ),
        ("Is a preset enough?", &["keepalive explain --preset aws-nlb"]),
    ],
    ..Notes::DEFAULT
};

/// The data of an explanation.
struct Explanation<'a> {
    place: Option<&'a Place>,
    program: Option<&'a [u8]>,
    decision: Decision,
    sysctls: Sysctls,
    middleboxes: Middleboxes,
    warnings: Vec<String>,
    /// The ignored variables.
    notes: &'a [String],
    /// Whether rules could match if the peer or the program were known.
    has_rules_for_peers: bool,
    has_rules_for_programs: bool,
    is_fallback: bool,
}

/// A connection as the command line names it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    direction: Direction,
    /// The peer's address.
    address: Option<IpAddr>,
    /// The port: the peer's for connect, the local one for accept.
    port: Option<u16>,
}

/// Prints the explanation.
///
/// # Errors
/// A mistake in the command line, the environment or the configuration file.
pub(crate) fn run(explain: &Explain) -> Result<(), Error> {
    let place = match explain.place.as_slice() {
        [direction, place] => Some(Place::read(&direction.to_string_lossy(), &place.to_string_lossy())?),
        _ => None,
    };
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = policy::read(&explain.policy, &environment, Settings::EVERYWHERE, REFUSED)?;
    let program = explain.program.as_deref().map(name_of);
    let explanation = Explanation::new(&policy, place.as_ref(), program);
    print(&if explain.json {
        json::show(&explanation)
    } else {
        text::show(&explanation)
    })
}

/// Returns the last part of the path, as the library does.
fn name_of(program: &Path) -> &[u8] {
    program.file_name().unwrap_or(program.as_os_str()).as_bytes()
}

impl<'a> Explanation<'a> {
    fn new(policy: &'a Policy, place: Option<&'a Place>, program: Option<&'a [u8]>) -> Self {
        let event = Event {
            moment: place.map_or(Moment::Create, Place::moment),
            peer: place.and_then(|place| place.address),
            port: place.and_then(|place| place.port),
            program: program.unwrap_or_default(),
        };
        let sysctls = Sysctls::read();
        let decision = Decision::new(policy, &event, &sysctls);
        let middleboxes = Middleboxes::new(&decision);
        let warnings = warnings(&decision, &middleboxes, program);
        let is_on = decision.keepalive.value != Keepalive::Off;
        let parts = policy.parts();
        let rules = || parts.iter().flat_map(|part| &part.rules);
        Self {
            place,
            program,
            decision,
            sysctls,
            middleboxes,
            warnings,
            notes: &policy.notes,
            has_rules_for_peers: place.is_none() && rules().any(|rule| rule.direction.is_some()),
            has_rules_for_programs: program.is_none() && rules().any(|rule| rule.program.is_some()),
            is_fallback: policy.fallback.is_some() && is_on,
        }
    }

    /// Returns whether this socket may connect.
    fn may_connect(&self) -> bool {
        self.place.is_none_or(|place| place.direction == Direction::Connect)
    }
}

impl Place {
    /// Parses the two words after `--for`.
    fn read(direction: &str, place: &str) -> Result<Self, Error> {
        let direction = match direction {
            "connect" => Direction::Connect,
            "accept" => Direction::Accept,
            _ => {
                return Err(Error::new(REFUSED, format!("--for '{direction}': unknown direction"))
                    .hint("expected connect or accept"));
            }
        };
        let refuse = |what: &str, hint: &str| {
            Err(Error::new(REFUSED, format!("--for {direction} '{place}': {what}")).hint(hint))
        };
        let (address, port) = split(place);
        let address = match address {
            "" | "*" => None,
            text => match address::parse(text.as_bytes()) {
                Some(address) => Some(address.to_canonical()),
                None if text.contains('/') => {
                    return refuse("not one address", "expected an address of the network");
                }
                None => {
                    return refuse(
                        "not an address",
                        "expected 10.1.2.3:5432, [::1]:443 or :8000; names are not looked up",
                    );
                }
            },
        };
        let port = match port.map(|port| read_port(port).ok_or(())) {
            None => None,
            Some(Ok(port)) => Some(port),
            Some(Err(())) => return refuse("not a port", "expected 1 to 65535, as in 10.1.2.3:5432 or [::1]:443"),
        };
        Ok(Self {
            direction,
            address,
            port,
        })
    }

    fn moment(&self) -> Moment {
        match self.direction {
            Direction::Connect => Moment::Connect,
            Direction::Accept => Moment::Accept,
        }
    }
}

/// Returns the address, without brackets, and the port after it.
fn split(place: &str) -> (&str, Option<&str>) {
    if let Some((address, after)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match after.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if after.is_empty() => (address, None),
            // An invalid address is shown unchanged.
            None => (place, None),
        };
    }
    match place.split_once(':') {
        // A bare IPv6 address has more than one colon, and no port.
        Some((address, port)) if !port.contains(':') => (address, Some(port)),
        _ => (place, None),
    }
}

fn read_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_in_every_form() {
        for (text, address, port) in [
            ("10.1.2.3:5432", Some("10.1.2.3"), Some(5432)),
            ("10.1.2.3", Some("10.1.2.3"), None),
            ("[::1]:443", Some("::1"), Some(443)),
            ("[::1]", Some("::1"), None),
            ("2001:db8::1", Some("2001:db8::1"), None),
            ("[::ffff:10.1.2.3]:1", Some("10.1.2.3"), Some(1)),
            (":8000", None, Some(8000)),
            ("*:65535", None, Some(65_535)),
            ("*", None, None),
        ] {
            let expected = Place {
                direction: Direction::Accept,
                address: address.map(|address| address.parse().expect("an address")),
                port,
            };
            assert_eq!(Place::read("accept", text).expect(text), expected);
        }
    }

    #[test]
    fn other_places_are_refused() {
        for text in [
            "10.1.2",
            "a:1",
            "10.0.0.0/8:1",
            "[::1",
            "[::1]1",
            "::1:x",
            "10.1.2.3:0",
            "[::1]:+5",
            ":",
            ":65536",
        ] {
            assert!(Place::read("connect", text).is_err(), "{text}");
        }
        assert!(Place::read("listen", ":1").is_err());
    }
}
