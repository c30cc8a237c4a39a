//! The attach engine: sets the options of open sockets in other processes, through duplicates of their descriptors.

use crate::kernel_defaults::KernelDefaults;
pub use crate::plan::{Failure, Step};
use crate::plan::{Origin, wire};
use crate::sockets::{Namespace, Socket};
use crate::timeline::{Times, lost_probes, spell};
use keepalive_policy::option::Handshake;
use keepalive_policy::{Event, Keepalive, LIVE_ORDER, Mode, Moment, Settings, SocketOption, Source, decide};
use keepalive_sys::sock_diag::{State, TimerKind};
use keepalive_sys::sockopt::Protocol;
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};

/// The changes to make on one socket, and the options to leave unchanged.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The event that rules match.
    #[serde(with = "wire::MomentWire")]
    pub moment: Moment,
    /// The policy's settings. They stay with the worker.
    #[serde(skip)]
    pub settings: Settings,
    /// The changes, in the order in which a running timer uses them.
    pub steps: Vec<Step>,
    /// Options that keep their values.
    pub left: Vec<Left>,
    /// What the program has done that makes the result unwise.
    pub warning: Option<Warning>,
}

/// What a program has done to its own socket that another mode would prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Warning {
    /// The socket has the policy's times, and keepalive is off: it was set, and was switched off afterwards.
    SwitchedOff,
    /// The program's own user timeout, in milliseconds, ends the connection after this many lost probes.
    UserTimeout {
        /// The user timeout.
        milliseconds: u32,
        /// The number of lost probes.
        probes: u32,
    },
}

impl Warning {
    /// Returns what happened, as a clause about "it", the socket.
    pub fn reason(self) -> String {
        match self {
            Self::SwitchedOff => String::from("the program switched it off"),
            Self::UserTimeout { milliseconds, probes } => format!(
                "its own user timeout of {} ends it after {}",
                spell(milliseconds.into()),
                lost_probes(probes)
            ),
        }
    }

    /// Returns the options that prevent it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SwitchedOff => "--mode cap",
            Self::UserTimeout { .. } => "--user-timeout auto --mode floor",
        }
    }
}

/// The options that show by which policy a socket was set.
pub(crate) const TIMES: [SocketOption; 3] = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count];

/// An option in the policy that keeps its value, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// Why the option keeps its value.
    pub reason: Reason,
}

/// Why a socket or an option is left unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The policy contains `off` for this connection.
    Off,
    /// A program has set `theirs`, which takes precedence in this mode.
    Own {
        /// The current value.
        theirs: u32,
        /// The mode of the policy.
        #[serde(with = "wire::ModeWire")]
        mode: Mode,
    },
    /// The option would limit how long the socket may take to connect.
    Connecting,
    /// The option affects only the handshake, which is complete.
    Late,
    /// The kernel lacks this option for this protocol.
    Missing(Protocol),
}

/// Returns the event of `socket` for the rules. A connection was accepted if its local address has a
/// listener; otherwise it was opened from here. The kernel does not store which end opened the connection.
fn event<'a>(socket: &Socket, program: &'a [u8], namespace: Option<&Namespace>) -> Event<'a> {
    let event = |moment, port: Option<std::net::SocketAddr>| Event {
        moment,
        peer: socket.peer.map(|peer| peer.ip()),
        port: port.map(|address| address.port()),
        program,
    };
    match (socket.state, socket.local) {
        (Some(State::Listen), local) => event(Moment::Listen, local),
        _ if socket.peer.is_none() => event(Moment::Create, None),
        (_, Some(local)) if namespace.is_some_and(|namespace| namespace.listens(local)) => {
            event(Moment::Accept, Some(local))
        }
        _ => event(Moment::Connect, socket.peer),
    }
}

/// Returns the plan of `sources` for `socket`; `current` returns the values of its options.
pub fn plan(
    sources: &[Source<'_>],
    socket: &Socket,
    current: &dyn Fn(SocketOption) -> Option<u32>,
    program: &[u8],
    namespace: Option<&Namespace>,
) -> Plan {
    let event = event(socket, program, namespace);
    let settings = decide(sources, &event);
    let mut plan = Plan {
        moment: event.moment,
        settings,
        steps: Vec::new(),
        left: Vec::new(),
        warning: None,
    };
    if settings.keepalive == Some(Keepalive::Off) {
        plan.left.push(Left {
            option: SocketOption::Keepalive,
            reason: Reason::Off,
        });
        return plan;
    }
    let view = View {
        settings,
        socket,
        current,
        namespace,
    };
    for option in LIVE_ORDER {
        let Some(ours) = settings.number(option) else { continue };
        let is_early = option.row().handshake == Handshake::Only;
        if is_early && event.moment != Moment::Listen && !is_unfinished(socket) {
            let reason = Reason::Late;
            plan.left.push(Left { option, reason });
        } else {
            plan.add(&view, option, ours);
        }
    }
    if event.moment == Moment::Listen
        && let Some(ours) = settings.number(SocketOption::DeferAccept)
    {
        plan.add(&view, SocketOption::DeferAccept, whole_tries(ours));
    }
    plan.limit_unacknowledged(&view);
    plan.warning = plan.warning(&view);
    plan
}

/// Returns the time to which the kernel rounds `seconds` for `TCP_DEFER_ACCEPT`. The kernel counts retries,
/// each after twice the previous time (`net/ipv4/tcp.c`, `secs_to_retrans`).
fn whole_tries(seconds: u32) -> u32 {
    const LONGEST: u32 = 120;
    let (mut period, mut wait) = (1, 1);
    while period < seconds {
        wait = (2 * wait).min(LONGEST);
        period += wait;
    }
    period
}

/// Applies the plan, and returns the options that could not be set.
pub fn apply(plan: &Plan, duplicate: &OwnedFd) -> Vec<Failure> {
    let results = plan.steps.iter().map(|step| step.apply(duplicate));
    results.filter_map(Result::err).collect()
}

/// A socket, and its settings.
struct View<'a> {
    settings: Settings,
    socket: &'a Socket,
    current: &'a dyn Fn(SocketOption) -> Option<u32>,
    namespace: Option<&'a Namespace>,
}

impl View<'_> {
    fn current(&self, option: SocketOption) -> Option<u32> {
        (self.current)(option)
    }

    /// Returns the value that the option has if nobody has set it. Without the namespace, the kernel's built-in defaults
    /// are used.
    fn kernel_default(&self, option: SocketOption) -> Option<u32> {
        match self.namespace {
            Some(namespace) => namespace.defaults.of(option),
            None => KernelDefaults::BUILT_IN.of(option),
        }
    }

    /// Returns whether keepalive is off although all times are the policy's, and one of them is not the kernel's.
    fn was_switched_off(&self) -> bool {
        let mut set = TIMES
            .into_iter()
            .filter_map(|option| Some((option, self.settings.number(option)?)));
        let is_ours = |(option, ours): (SocketOption, u32)| self.current(option) == Some(ours);
        let differs = |(option, ours): (SocketOption, u32)| self.kernel_default(option) != Some(ours);
        self.settings.number(SocketOption::Keepalive) == Some(1)
            && self.current(SocketOption::Keepalive) == Some(0)
            && set.clone().all(is_ours)
            && set.any(differs)
    }

    /// Returns whether the running timer ends later than the idle time allows. This happens if the idle time
    /// was lowered without restarting the timer: SO_KEEPALIVE does not change a timer that runs already.
    fn is_overdue(&self, idle: u32) -> bool {
        /// The kernel rounds, and time passes while sockets are read.
        const TOLERANCE_MS: u64 = 1000;
        let timer = self.socket.timer.timer();
        timer.is_some_and(|timer| {
            timer.kind == TimerKind::Keepalive && timer.expires_ms > 1000 * u64::from(idle) + TOLERANCE_MS
        })
    }
}

/// Returns whether `socket` is neither connected nor listening, so that it must be checked again later.
pub fn is_unfinished(socket: &Socket) -> bool {
    socket.state != Some(State::Listen) && socket.peer.is_none()
        || matches!(socket.state, Some(State::SynSent | State::SynReceived))
}

/// Returns whether a rule may decide differently about `socket` once it has a peer, or listens.
pub fn is_undecided(sources: &[Source<'_>], socket: &Socket) -> bool {
    let is_fresh = socket.peer.is_none() && socket.state != Some(State::Listen);
    is_fresh && sources.iter().any(|source| !source.rules.is_empty())
}

impl Plan {
    /// Decides about `option`, for which the policy has the value `ours`.
    fn add(&mut self, view: &View<'_>, option: SocketOption, ours: u32) {
        let Some(current) = view.current(option) else {
            let reason = Reason::Missing(view.socket.protocol);
            return self.left.push(Left { option, reason });
        };
        let kernel_default = view.kernel_default(option);
        let mode = view.settings.mode.unwrap_or_default();
        let step = Step::new(mode, option, ours, current, Origin::UnlessDefault(kernel_default));
        if step.to != ours {
            let reason = Reason::Own { theirs: current, mode };
            self.left.push(Left { option, reason });
        }
        let is_overdue = option == SocketOption::Idle && view.is_overdue(step.to);
        if step.is_change() || is_overdue {
            self.steps.push(step);
        }
    }

    /// Returns the value that the option has after the changes.
    fn after(&self, view: &View<'_>, option: SocketOption) -> Option<u32> {
        let step = self.steps.iter().find(|step| step.option == option);
        step.map(|step| step.to).or_else(|| view.current(option))
    }

    /// Returns what makes the result unwise, if anything.
    fn warning(&self, view: &View<'_>) -> Option<Warning> {
        if view.was_switched_off() {
            return Some(Warning::SwitchedOff);
        }
        let times = Times {
            idle: self.after(view, SocketOption::Idle)?,
            interval: self.after(view, SocketOption::Interval)?,
            count: self.after(view, SocketOption::Count)?,
            user_timeout: self.after(view, SocketOption::UserTimeout)?,
        };
        let is_ours =
            self.settings.user_timeout_ms(times.idle, times.interval, times.count) == Some(times.user_timeout);
        let is_on = self.after(view, SocketOption::Keepalive) == Some(1);
        let is_connection = matches!(self.moment, Moment::Connect | Moment::Accept);
        (is_connection && is_on && !is_ours && times.is_too_short()).then(|| Warning::UserTimeout {
            milliseconds: times.user_timeout,
            probes: times.lost_probes(),
        })
    }

    /// Adds the user timeout, which comes last, since an automatic one is computed from the other options.
    fn limit_unacknowledged(&mut self, view: &View<'_>) {
        let effective = |option| self.after(view, option).unwrap_or(0);
        let [idle, interval, count] = TIMES.map(effective);
        let option = SocketOption::UserTimeout;
        match view.settings.user_timeout_ms(idle, interval, count) {
            Some(_) if is_unfinished(view.socket) => {
                let reason = Reason::Connecting;
                self.left.push(Left { option, reason });
            }
            Some(ours) => self.add(view, option, ours),
            None => {}
        }
    }
}
