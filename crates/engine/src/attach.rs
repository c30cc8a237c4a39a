//! The attach engine: settings for sockets that programs have opened already, through duplicates of their descriptors.

use crate::kernel_defaults::KernelDefaults;
pub use crate::plan::{Failure, Step};
use crate::plan::{Origin, wire};
use crate::sockets::{Namespace, Socket};
use keepalive_policy::option::Handshake;
use keepalive_policy::{Event, Keepalive, LIVE_ORDER, Mode, Moment, Settings, SocketOption, Source, decide};
use keepalive_sys::sock_diag::{State, TimerKind};
use keepalive_sys::sockopt::Protocol;
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};

/// What is to be done with one socket, and what not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the connection is to the rules.
    #[serde(with = "wire::MomentWire")]
    pub moment: Moment,
    /// What the policy says. It stays with the worker.
    #[serde(skip)]
    pub settings: Settings,
    /// In the order in which a running timer takes them up.
    pub steps: Vec<Step>,
    /// Options that stay as they are.
    pub left: Vec<Left>,
}

/// An option that the policy says something of, and why it stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// Why it stays.
    pub reason: Reason,
}

/// Why a socket or an option stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The policy says to leave this connection alone.
    Off,
    /// Somebody has set `theirs`, and in this mode it stays.
    Own {
        /// The number that it has.
        theirs: u32,
        /// The mode of the policy.
        #[serde(with = "wire::ModeWire")]
        mode: Mode,
    },
    /// It would limit how long the socket may take to connect.
    Connecting,
    /// It has an effect on the handshake only, and that is over.
    Late,
    /// The kernel has no such option for this protocol.
    Missing(Protocol),
}

/// The event of `socket` for the rules. A connection was accepted if somebody listens where it arrives; else it was opened
/// from here: the kernel does not keep which end began.
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

/// What `sources` say for `socket`, of whose options `current` gives the numbers.
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
    plan
}

/// The time that the kernel makes of `seconds` for `TCP_DEFER_ACCEPT`: it counts in tries, each after twice the time of the
/// one before (`net/ipv4/tcp.c`, `secs_to_retrans`).
fn whole_tries(seconds: u32) -> u32 {
    const LONGEST: u32 = 120;
    let (mut period, mut wait) = (1, 1);
    while period < seconds {
        wait = (2 * wait).min(LONGEST);
        period += wait;
    }
    period
}

/// Sets what is planned, and returns what could not be set.
pub fn apply(plan: &Plan, duplicate: &OwnedFd) -> Vec<Failure> {
    let results = plan.steps.iter().map(|step| step.apply(duplicate));
    results.filter_map(Result::err).collect()
}

/// A socket, and what is said for it.
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

    /// Whether the timer that runs ends later than the idle time allows. It does so where the idle time was lowered
    /// without the timer: SO_KEEPALIVE alone leaves one that runs already.
    fn is_overdue(&self, idle: u32) -> bool {
        /// The kernel rounds, and time passes while we look.
        const TOLERANCE_MS: u64 = 1000;
        let timer = self.socket.timer.timer();
        timer.is_some_and(|timer| {
            timer.kind == TimerKind::Keepalive && timer.expires_ms > 1000 * u64::from(idle) + TOLERANCE_MS
        })
    }
}

/// Whether `socket` is neither connected nor listens, so that more is to be done when it is.
pub fn is_unfinished(socket: &Socket) -> bool {
    socket.state != Some(State::Listen) && socket.peer.is_none()
        || matches!(socket.state, Some(State::SynSent | State::SynReceived))
}

impl Plan {
    /// Decides about `option`, of which the policy says `ours`.
    fn add(&mut self, view: &View<'_>, option: SocketOption, ours: u32) {
        let Some(current) = view.current(option) else {
            let reason = Reason::Missing(view.socket.protocol);
            return self.left.push(Left { option, reason });
        };
        // Without the namespace, the numbers that the kernel is built with.
        let kernel_default = match view.namespace {
            Some(namespace) => namespace.defaults.of(option),
            None => KernelDefaults::BUILT_IN.of(option),
        };
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

    /// The user timeout comes last, since an automatic one is made of the others.
    fn limit_unacknowledged(&mut self, view: &View<'_>) {
        let effective = |option| {
            let step = self.steps.iter().find(|step| step.option == option);
            step.map(|step| step.to).or_else(|| view.current(option)).unwrap_or(0)
        };
        let [idle, interval, count] = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count].map(effective);
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
