//! Compares one socket with its policy, and finds the reason of a difference.

use super::{Parent, PolicyOrigin, Reach};
use crate::attach::{Plan, Reason, Step, TIMES, Warning, plan};
use crate::kernel_defaults::KernelDefaults;
use crate::sockets::{Namespace, Socket};
use crate::timeline::spell;
use keepalive_policy::option::KEEPALIVE;
use keepalive_policy::{Mode, SocketOption, Source, Unit};
use keepalive_sys::sock_diag::State;
use serde::{Deserialize, Serialize};

/// How a socket compares with its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The socket has what the policy wants.
    Set,
    /// The policy does not concern the socket, for this reason.
    Excluded(String),
    /// Keepalive works, with values of the program, which the policy's mode keeps.
    Differs(Own),
    /// The socket lacks what the policy wants.
    Missing(Missing),
    /// The values are unknown, for this reason.
    Unknown(String),
}

/// A verdict without its details. JSON has its name in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// [`Verdict::Set`].
    Set,
    /// [`Verdict::Excluded`].
    Excluded,
    /// [`Verdict::Differs`].
    Differs,
    /// [`Verdict::Missing`].
    Missing,
    /// [`Verdict::Unknown`].
    Unknown,
}

/// A value of the program that differs from the policy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The option.
    #[serde(with = "crate::plan::wire::option")]
    option: SocketOption,
    theirs: u32,
    /// The value of the policy; absent if the policy has none.
    ours: Option<u32>,
    /// Whether the value is the kernel's default.
    is_kernel_default: bool,
}

/// Why a socket lacks what the policy wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// No engine reaches the process.
    Unreached {
        /// Whether the library should have been in the process.
        is_library_expected: bool,
    },
    /// The library is in the process, and has not set the socket.
    UnseenByLibrary {
        /// Whether the process is under a seccomp filter, after which the library makes no system call.
        is_filtered: bool,
        /// The idle time of the kernel, in seconds, if the program has switched keepalive on.
        idle: Option<u32>,
    },
    /// A supervisor serves the process, and has not set the socket.
    UnseenBySupervisor,
    /// The cgroup of the process has a policy, and its programs have not set the socket.
    NotEstablishedUnderPolicy {
        /// Whether the socket was created in another cgroup.
        is_from_elsewhere: bool,
    },
    /// The socket was inherited from this process, which keepalive does not reach.
    Inherited(u32),
    /// The program has done this.
    Undone(Warning),
    /// Keepalive is off, and the values do not show why.
    Off,
    /// One option differs, and the values do not show why.
    Value {
        /// The option.
        #[serde(with = "crate::plan::wire::option")]
        option: SocketOption,
        /// The value of the socket.
        has: u32,
        /// The value of the policy.
        wants: u32,
    },
}

/// A socket with what decides about it.
pub(super) struct View<'a> {
    pub(super) socket: &'a Socket,
    pub(super) sources: &'a [Source<'a>],
    pub(super) program: &'a [u8],
    pub(super) namespace: Option<&'a Namespace>,
    pub(super) reach: &'a Reach,
    pub(super) parent: &'a Parent,
}

impl View<'_> {
    /// Returns `None` for a socket that is not compared: one that is neither connected nor listening, or that the
    /// engine of its process sets later.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let is_listener = match self.socket.state? {
            State::Established | State::CloseWait => false,
            State::Listen => true,
            _ => return None,
        };
        let is_presumed = self.is_presumed();
        let has_only_cgroup = self.reach.library.is_none() && !self.reach.is_supervised && self.reach.cgroup.is_some();
        // The eBPF programs set connections; nobody expects that a listener of an unknown program is set.
        if is_listener && (has_only_cgroup || is_presumed) {
            return None;
        }
        let is_loopback = self
            .socket
            .peer
            .is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let verdict = self.compare();
        if is_presumed && is_loopback && matches!(verdict, Verdict::Missing(Missing::Unreached { .. })) {
            return Some(Verdict::Excluded(String::from(
                "the peer is on this machine, and no engine is in use",
            )));
        }
        Some(verdict)
    }

    /// Returns whether nobody has asked for a policy on this socket: no engine is in use, and the user names none.
    fn is_presumed(&self) -> bool {
        !self.reach.is_reached() && !self.reach.is_library_expected && self.reach.policy != PolicyOrigin::Options
    }

    fn compare(&self) -> Verdict {
        let current = |option| self.socket.number(option);
        let plan = plan(self.sources, self.socket, &current, self.program, self.namespace);
        if plan.left.iter().any(|left| left.reason == Reason::Off) {
            return Verdict::Excluded(String::from("the policy contains off for it"));
        }
        let Some(times) = self.socket.times().filter(|_| self.socket.numbers.is_some()) else {
            return self.compare_by_timer();
        };
        let steps: Vec<Step> = in_order(&plan.steps, |step| step.option)
            .filter(|step| step.is_change())
            .copied()
            .collect();
        let is_on = self.socket.keepalive() == Some(true);
        let wants_on = plan.settings.number(SocketOption::Keepalive) == Some(1);
        if wants_on && !is_on {
            return self.compare_switched_off(&plan);
        }
        if let Some(warning @ Warning::UserTimeout { .. }) = plan.warning.filter(|_| is_on) {
            return Verdict::Missing(Missing::Undone(warning));
        }
        if let Some(step) = steps.first() {
            let is_untouched = |step: &Step| Some(step.from) == self.kernel_default(step.option);
            let is_time_step = |option| steps.iter().any(|step| step.option == option && is_untouched(step));
            let are_all_untouched = TIMES
                .into_iter()
                .filter(|option| plan.settings.number(*option).is_some())
                .all(is_time_step);
            if is_on && self.is_presumed() {
                return Verdict::Differs(Own {
                    option: step.option,
                    theirs: step.from,
                    ours: Some(step.to),
                    is_kernel_default: true,
                });
            }
            return Verdict::Missing(if TIMES.contains(&step.option) && are_all_untouched {
                self.untouched(is_on.then_some(times.idle))
            } else {
                Missing::Value {
                    option: step.option,
                    has: step.from,
                    wants: step.to,
                }
            });
        }
        // Another mode is a decision about the program's values.
        let own = in_order(&plan.left, |left| left.option).find_map(|left| match left.reason {
            Reason::Own {
                theirs,
                mode: Mode::Fill,
            } => Some(Own {
                option: left.option,
                theirs,
                ours: plan.settings.number(left.option),
                is_kernel_default: false,
            }),
            _ => None,
        });
        own.map_or(Verdict::Set, Verdict::Differs)
    }

    /// Compares what the kernel shows to every user.
    fn compare_by_timer(&self) -> Verdict {
        match self.socket.keepalive() {
            Some(false) if self.reach.is_reached() || self.reach.is_known => Verdict::Missing(Missing::Off),
            Some(true) => Verdict::Unknown(String::from("it is on; its times are not known")),
            _ => Verdict::Unknown(String::from("its options are not known")),
        }
    }

    /// Explains why keepalive is off.
    fn compare_switched_off(&self, plan: &Plan) -> Verdict {
        let ours = |option| plan.settings.number(option);
        // Times that equal the kernel's do not show whether the socket was set.
        let can_tell = TIMES
            .into_iter()
            .any(|option| ours(option).is_some() && ours(option) != self.kernel_default(option));
        let is_untouched = |option| self.socket.number(option) == self.kernel_default(option);
        match (plan.warning, plan.settings.mode) {
            (Some(Warning::SwitchedOff), Some(Mode::Floor)) => Verdict::Differs(Own {
                option: SocketOption::Keepalive,
                theirs: 0,
                ours: Some(1),
                is_kernel_default: false,
            }),
            (Some(warning @ Warning::SwitchedOff), _) => Verdict::Missing(Missing::Undone(warning)),
            _ if (can_tell || !self.reach.is_reached()) && TIMES.into_iter().all(is_untouched) => {
                Verdict::Missing(self.untouched(None))
            }
            _ => Verdict::Missing(Missing::Off),
        }
    }

    /// Explains why the socket has the kernel's times. `idle` is the kernel's idle time if keepalive is on.
    fn untouched(&self, idle: Option<u32>) -> Missing {
        let reach = self.reach;
        let passed = || self.parent.passed(self.socket.inode);
        if let Some(pid) = reach.library.as_ref().and_then(|_| passed()) {
            Missing::Inherited(pid)
        } else if reach.is_supervised {
            Missing::UnseenBySupervisor
        } else if reach.library.is_some() {
            Missing::UnseenByLibrary {
                is_filtered: reach.is_filtered,
                idle,
            }
        } else if reach.cgroup.is_some() {
            let is_from_elsewhere = |id| !reach.cgroup_ids.is_empty() && !reach.cgroup_ids.contains(&id);
            Missing::NotEstablishedUnderPolicy {
                is_from_elsewhere: self.socket.cgroup.is_some_and(is_from_elsewhere),
            }
        } else if reach.is_known && !reach.is_filtered {
            Missing::Unreached {
                is_library_expected: reach.is_library_expected,
            }
        } else {
            Missing::Off
        }
    }

    fn kernel_default(&self, option: SocketOption) -> Option<u32> {
        match self.namespace {
            Some(namespace) => namespace.defaults.of(option),
            None => KernelDefaults::BUILT_IN.of(option),
        }
    }
}

impl Verdict {
    /// Returns the verdict without its details.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Set => Outcome::Set,
            Self::Excluded(_) => Outcome::Excluded,
            Self::Differs(_) => Outcome::Differs,
            Self::Missing(_) => Outcome::Missing,
            Self::Unknown(_) => Outcome::Unknown,
        }
    }

    /// Returns whether an engine that is still at work on the socket cannot change the verdict.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Missing(missing) => matches!(missing, Missing::Undone(_)),
            _ => true,
        }
    }

    /// Returns the reason as a clause in which "it" is the socket; `None` if the socket is set.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Set => None,
            Self::Excluded(reason) | Self::Unknown(reason) => Some(reason.clone()),
            Self::Differs(own) => Some(own.reason()),
            Self::Missing(missing) => Some(missing.reason()),
        }
    }

    /// Returns what the user can do for a socket of the process `pid`.
    pub fn advice(&self, pid: u32) -> Option<String> {
        match self {
            Self::Set | Self::Excluded(_) | Self::Unknown(_) => None,
            Self::Differs(own) => own.advice(pid),
            Self::Missing(missing) => Some(missing.advice(pid)),
        }
    }
}

impl Own {
    /// Returns whether the program's value is lower than the policy's.
    fn is_shorter(&self) -> bool {
        self.ours.is_some_and(|ours| self.theirs < ours)
    }

    fn reason(&self) -> String {
        if self.option == SocketOption::Keepalive {
            return String::from("the program switched it off, which mode floor allows");
        }
        let name = match self.option {
            SocketOption::Idle => "idle time",
            option => option.row().name,
        };
        let theirs = number(self.option, self.theirs);
        let whose = if self.is_kernel_default {
            "the kernel's"
        } else {
            "the program's own"
        };
        match self.ours {
            None => format!("{whose} {name} is {theirs}"),
            Some(ours) => {
                let ours = number(self.option, ours);
                let compared = match (self.is_shorter(), self.option) {
                    (true, SocketOption::Count) => "lower",
                    (false, SocketOption::Count) => "higher",
                    (true, _) => "shorter",
                    (false, _) => "longer",
                };
                format!("{whose} {name} of {theirs} is {compared} than the policy's {ours}")
            }
        }
    }

    fn advice(&self, pid: u32) -> Option<String> {
        match self.option {
            _ if self.is_kernel_default => Some(format!("keepalive attach {pid} sets it now")),
            SocketOption::Keepalive | SocketOption::UserTimeout => None,
            _ if self.is_shorter() => Some(String::from("--mode floor")),
            _ => Some(String::from("--mode cap")),
        }
    }
}

impl Missing {
    fn reason(&self) -> String {
        match self {
            Self::Unreached {
                is_library_expected: true,
            } => String::from("the library is not in its process"),
            Self::Unreached { .. } => String::from("no engine reaches its process"),
            Self::UnseenByLibrary { is_filtered: true, .. } => String::from(
                "it was made by a call that the library does not see, or after the program had put itself under a seccomp \
                 filter",
            ),
            Self::UnseenByLibrary { idle: Some(idle), .. } => format!(
                "it has only SO_KEEPALIVE, with the kernel's idle time of {idle} s: it existed before the library, or was made \
                 by a call that the library does not see"
            ),
            Self::UnseenByLibrary { .. } => String::from("it was made by a call that the library does not see"),
            Self::UnseenBySupervisor => {
                String::from("it was made by a call that the supervisor does not see, such as one of io_uring")
            }
            Self::NotEstablishedUnderPolicy {
                is_from_elsewhere: true,
            } => String::from("it was made in another cgroup"),
            Self::NotEstablishedUnderPolicy { .. } => {
                String::from("it was connected before the policy of the cgroup was active")
            }
            Self::Inherited(pid) => format!("it was inherited from process {pid}, in which the library is not"),
            Self::Undone(warning) => warning.reason(),
            Self::Off => String::from("it is off; its values do not show why"),
            Self::Value { option, has, wants } => format!(
                "its {} is {}, that of the policy is {}",
                option.row().name,
                number(*option, *has),
                number(*option, *wants)
            ),
        }
    }

    fn advice(&self, pid: u32) -> String {
        match self {
            Self::Unreached {
                is_library_expected: true,
            } => String::from("use --engine seccomp"),
            Self::UnseenByLibrary { idle: None, .. } => String::from("use --engine seccomp"),
            Self::UnseenByLibrary { .. } => format!("keepalive attach {pid} sets it now; or use --engine seccomp"),
            Self::UnseenBySupervisor => format!("keepalive attach --watch {pid}, or --engine cgroup"),
            Self::Undone(warning) => warning.advice().to_owned(),
            Self::Off => format!("--mode cap; keepalive attach {pid} sets it now"),
            Self::Unreached { .. }
            | Self::NotEstablishedUnderPolicy { .. }
            | Self::Inherited(_)
            | Self::Value { .. } => {
                format!("keepalive attach {pid} sets it now")
            }
        }
    }
}

/// Returns those of `all` that concern keepalive, in the order in which users think of the options.
fn in_order<T>(all: &[T], option: impl Fn(&T) -> SocketOption + Copy) -> impl Iterator<Item = &T> {
    KEEPALIVE
        .into_iter()
        .flat_map(move |wanted| all.iter().filter(move |item| option(item) == wanted))
}

/// Returns a value with its unit.
fn number(option: SocketOption, number: u32) -> String {
    match option.row().unit {
        Unit::Seconds => format!("{number} s"),
        Unit::Milliseconds if number == 0 => String::from("none"),
        Unit::Milliseconds => spell(number.into()),
        Unit::Count => number.to_string(),
        Unit::Switch if number == 0 => String::from("off"),
        Unit::Switch => String::from("on"),
    }
}
