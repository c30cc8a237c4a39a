//! Compares one socket with its policy, and finds the reason of a difference.

use super::verdict::{Missing, Own, Verdict};
use super::{Parent, PolicyOrigin, Reach};
use crate::attach::{Plan, Reason, Step, TIMES, Warning, plan};
use crate::kernel_defaults::KernelDefaults;
use crate::sockets::{Namespace, Socket};
use keepalive_policy::option::KEEPALIVE;
use keepalive_policy::{Mode, SocketOption, Source};
use keepalive_sys::sock_diag::State;

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
        if is_presumed && is_loopback && matches!(verdict, Verdict::Missing(Missing::Unreached { .. } | Missing::Off)) {
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

/// Returns those of `all` that concern keepalive, in the order in which users think of the options.
fn in_order<T>(all: &[T], option: impl Fn(&T) -> SocketOption + Copy) -> impl Iterator<Item = &T> {
    KEEPALIVE
        .into_iter()
        .flat_map(move |wanted| all.iter().filter(move |item| option(item) == wanted))
}
