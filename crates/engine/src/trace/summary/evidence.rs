//! What the endings of the connections to some peers show.

use super::idle_times::{IdleTimes, Range};
use crate::idle_timeout::shortest_known;
use crate::timeline::{Fate, Times};
use crate::trace::ending::{Cause, Direction, Ending, Settings};
use std::net::IpAddr;

/// The endings of connections, without the connections.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The peer, as long as there is only one.
    pub(super) peer: Option<IpAddr>,
    /// Whether the start of one connection was seen, and so who began it.
    pub(super) is_direction_seen: bool,
    /// The idle times by cause, in the order of [`Cause::ALL`].
    pub(super) causes: [Option<Range>; Cause::ALL.len()],
    /// The idle times at the first packet without the usual answer, by cause.
    pub(super) reset_on_send: IdleTimes,
    pub(super) reset_on_probe: IdleTimes,
    pub(super) timeout_on_send: IdleTimes,
    /// The times from the last answer to the third probe of connections that were lost between two probes.
    pub(super) third_probes: IdleTimes,
    /// Their idle times.
    pub(super) between_probes: Option<Range>,
    /// The idle times of connections that ended without a packet from this end, by FIN or RST.
    pub(super) closed: IdleTimes,
    pub(super) reset: IdleTimes,
    /// How many of them ended although the peer had answered probes for longer than a probe's time.
    pub(super) closed_despite_probes: u64,
    pub(super) reset_despite_probes: u64,
    /// The idle times that the path survived: the peer's FIN came through.
    pub(super) survived: IdleTimes,
    /// The seconds before the first probe to dead peers.
    pub(super) first_probe: Option<Range>,
    /// Whether keepalive was on for a connection that was lost.
    pub(super) has_own_settings: bool,
    pub(super) units: Units,
}

/// The systemd services that lost connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Units {
    #[default]
    None,
    One(String),
    /// Several, or also processes outside of services.
    Several,
}

/// Shorter idle times are none: keepalive cannot probe sooner.
const SHORTEST: f64 = 1.0;

impl Evidence {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self {
            peer: Some(peer),
            is_direction_seen: false,
            causes: [None; Cause::ALL.len()],
            reset_on_send: IdleTimes::default(),
            reset_on_probe: IdleTimes::default(),
            timeout_on_send: IdleTimes::default(),
            third_probes: IdleTimes::default(),
            between_probes: None,
            closed: IdleTimes::default(),
            reset: IdleTimes::default(),
            closed_despite_probes: 0,
            reset_despite_probes: 0,
            survived: IdleTimes::default(),
            first_probe: None,
            has_own_settings: false,
            units: Units::default(),
        }
    }

    pub(super) fn add(&mut self, ending: &Ending) {
        self.is_direction_seen |= ending.direction.is_some();
        let idle = ending.idle.as_secs_f64();
        let range = &mut self.causes[ending.cause as usize];
        *range = join(*range, Some(Range::of(idle)));
        if idle < SHORTEST {
            return;
        }
        let first_probe = ending.settings.is_on.then(|| f64::from(ending.settings.idle));
        match ending.cause {
            Cause::ResetOnSend | Cause::ResetOnProbe | Cause::TimeoutOnSend => self.add_loss(ending, first_probe),
            Cause::DeadPeer => {
                self.first_probe = join(self.first_probe, first_probe.map(Range::of));
                self.add_owner(ending);
            }
            Cause::Reset => {
                self.reset.add(idle);
                let is_probed = first_probe.is_some()
                    && ending
                        .lived
                        .is_some_and(|lived| first_probe < Some(lived.as_secs_f64()));
                self.reset_despite_probes += u64::from(is_probed);
                self.add_owner(ending);
            }
            Cause::ClosedByPeer => {
                self.closed.add(idle);
                self.closed_despite_probes += u64::from(first_probe.is_some_and(|first| first < idle));
                // Probes and their answers are packets for the path, though no data.
                self.survived.add(first_probe.map_or(idle, |first| first.min(idle)));
            }
            Cause::Closed | Cause::Other => {}
        }
    }

    fn add_loss(&mut self, ending: &Ending, first_probe: Option<f64>) {
        let idle = ending.idle.as_secs_f64();
        let was_probed = |first: f64| ending.lived.is_none_or(|lived| lived.as_secs_f64() >= first);
        let lost_at = match first_probe {
            // The first probe already got no answer.
            Some(first) if first <= idle && ending.cause != Cause::ResetOnProbe => first,
            Some(first) if first > idle && was_probed(first) && is_early(&ending.settings) => {
                self.third_probes.add(third_probe(&ending.settings));
                self.between_probes = join(self.between_probes, Some(Range::of(idle)));
                self.add_owner(ending);
                return;
            }
            _ => idle,
        };
        match ending.cause {
            Cause::ResetOnProbe => self.reset_on_probe.add(lost_at),
            Cause::TimeoutOnSend => self.timeout_on_send.add(lost_at),
            _ => self.reset_on_send.add(lost_at),
        }
        self.has_own_settings |= first_probe.is_some();
        self.add_owner(ending);
    }

    fn add_owner(&mut self, ending: &Ending) {
        self.units.add(match unit(ending) {
            Some(name) => Units::One(name.to_owned()),
            None => Units::Several,
        });
    }

    /// Adds the evidence of other connections.
    pub(super) fn merge(&mut self, other: &Self) {
        self.peer = self.peer.filter(|peer| other.peer == Some(*peer));
        self.is_direction_seen |= other.is_direction_seen;
        for (range, more) in self.causes.iter_mut().zip(other.causes) {
            *range = join(*range, more);
        }
        self.reset_on_send.append(&other.reset_on_send);
        self.reset_on_probe.append(&other.reset_on_probe);
        self.timeout_on_send.append(&other.timeout_on_send);
        self.third_probes.append(&other.third_probes);
        self.between_probes = join(self.between_probes, other.between_probes);
        self.closed.append(&other.closed);
        self.reset.append(&other.reset);
        self.closed_despite_probes += other.closed_despite_probes;
        self.reset_despite_probes += other.reset_despite_probes;
        self.survived.append(&other.survived);
        self.first_probe = join(self.first_probe, other.first_probe);
        self.has_own_settings |= other.has_own_settings;
        self.units.add(other.units.clone());
    }

    /// Returns the idle times of all connections that were lost when a packet was sent.
    pub(super) fn lost(&self) -> IdleTimes {
        let mut all = self.reset_on_send.clone();
        all.append(&self.reset_on_probe);
        all.append(&self.timeout_on_send);
        all
    }
}

impl Units {
    fn add(&mut self, other: Self) {
        *self = match (std::mem::take(self), other) {
            (Self::None, units) | (units, Self::None) => units,
            (Self::One(one), Self::One(other)) if one == other => Self::One(one),
            _ => Self::Several,
        };
    }
}

/// Returns who began the connection. Where the start was not seen, the lower port is that of the server.
pub(super) fn direction(ending: &Ending) -> Direction {
    ending
        .direction
        .unwrap_or(if ending.peer.port() <= ending.local.port() {
            Direction::Connect
        } else {
            Direction::Accept
        })
}

fn join(one: Option<Range>, other: Option<Range>) -> Option<Range> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.join(other)),
        (one, other) => one.or(other),
    }
}

fn times(settings: &Settings) -> Times {
    Times {
        idle: settings.idle,
        interval: settings.interval,
        count: settings.count,
        user_timeout: settings.user_timeout,
    }
}

/// Returns whether the probes are early enough for every known middlebox.
fn is_early(settings: &Settings) -> bool {
    times(settings).fate(shortest_known()) == Fate::Kept
}

// Seconds of a socket are at most 2^17.
#[expect(clippy::cast_precision_loss)]
fn third_probe(settings: &Settings) -> f64 {
    times(settings).third_probe() as f64
}

/// Returns the systemd service that the cgroup belongs to; `None` if it is none of this machine's system services.
fn unit(ending: &Ending) -> Option<&str> {
    if ending.container.is_some() {
        return None;
    }
    let parts = ending.cgroup.as_deref()?.split('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.@-".contains(&byte);
    let mut units = parts.filter(|part| [".service", ".scope"].iter().any(|suffix| part.ends_with(suffix)));
    // Within a service of a user's manager there are more.
    let only = units.next().filter(|_| units.next().is_none())?;
    let is_service = only.ends_with(".service") && !only.starts_with("user@");
    (is_service && !only.starts_with('-') && only.bytes().all(is_plain)).then_some(only)
}

#[cfg(test)]
mod tests {
    use super::super::tests::ending;
    use super::unit;

    #[test]
    fn only_system_services_of_this_machine_are_units() {
        let named = |cgroup: &str, container: Option<&str>| {
            let mut ending = ending("10.0.0.5:5432");
            ending.cgroup = Some(cgroup.to_owned());
            ending.container = container.map(str::to_owned);
            unit(&ending).map(str::to_owned)
        };
        assert_eq!(
            named("/system.slice/nginx.service", None).as_deref(),
            Some("nginx.service")
        );
        assert_eq!(
            named("/system.slice/pg@16-main.service/sub", None).as_deref(),
            Some("pg@16-main.service")
        );
        for other in [
            "/user.slice/user-1.slice/user@1.service/app.slice/a.service",
            "/user.slice/user-1.slice/user@1.service/init",
            "/user.slice/user-1.slice/session-1.scope",
            "/system.slice/docker-01.scope/system.slice/nginx.service",
            "/system.slice/a b.service",
            "/system.slice/-x.service",
            "/",
        ] {
            assert_eq!(named(other, None), None, "{other}");
        }
        assert_eq!(named("/system.slice/nginx.service", Some("0123")), None);
    }
}
