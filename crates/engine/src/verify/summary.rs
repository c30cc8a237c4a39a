//! The result of a comparison in a sentence.

use super::verdict::Remedy;
use super::{Compared, Comparison, Outcome, PolicyOrigin};
use crate::sockets::Holder;
use keepalive_policy::SocketOption;
use std::fmt::Write as _;

/// The number of reasons in a summary.
const MOST_REASONS: usize = 4;

impl Comparison {
    /// Returns whether a socket lacks what its policy wants.
    pub fn is_missing(&self) -> bool {
        self.sockets
            .iter()
            .any(|socket| socket.verdict.outcome() == Outcome::Missing)
    }

    /// Returns the options of `keepalive run` that keep the policy of the first process and prevent the differences; `None`
    /// if there are none, or if options cannot express that policy.
    pub fn remedy(&self) -> Option<String> {
        let mut remedy = Remedy::default();
        for options in self.sockets.iter().map(|socket| socket.verdict.options()) {
            remedy.seccomp |= options.seccomp;
            remedy.cap |= options.cap;
            remedy.floor |= options.floor;
            remedy.user_timeout |= options.user_timeout;
        }
        let reach = &self.processes.first()?.reach;
        if remedy == Remedy::default() || reach.has_rules || reach.policy == PolicyOrigin::Nowhere {
            return None;
        }
        let mode = match (remedy.cap, remedy.floor) {
            (true, true) => Some("enforce"),
            (true, false) => Some("cap"),
            (false, true) => Some("floor"),
            (false, false) => None,
        };
        let mut options = Vec::new();
        for (name, value) in reach.settings.split(' ').filter_map(|setting| setting.split_once('=')) {
            let option = SocketOption::from_name(name.as_bytes());
            if option.is_some_and(|option| option != SocketOption::Keepalive && option.row().flag.is_none()) {
                return None;
            }
            let is_replaced = name == "mode" && mode.is_some() || name == "user-timeout" && remedy.user_timeout;
            if name != "keepalive" && !is_replaced {
                options.push(format!("--{name} {value}"));
            }
        }
        options.extend(remedy.user_timeout.then(|| String::from("--user-timeout auto")));
        options.extend(mode.map(|mode| format!("--mode {mode}")));
        options.extend(remedy.seccomp.then(|| String::from("--engine seccomp")));
        Some(options.join(" "))
    }

    /// Returns a summary such as "3 of 4 connections are set; fd 9 was made by a call that the library does not see:
    /// use --engine seccomp".
    pub fn summary(&self) -> String {
        summary(&self.sockets.iter().collect::<Vec<_>>(), self.processes.len() > 1)
    }
}

/// Returns the summary of sockets. With `names_processes`, names the process of each descriptor.
pub fn summary(sockets: &[&Compared], names_processes: bool) -> String {
    let count = |is_listener: bool, outcomes: &[Outcome]| {
        let is_counted =
            |socket: &&&Compared| socket.is_listener() == is_listener && outcomes.contains(&socket.verdict.outcome());
        sockets.iter().filter(is_counted).count()
    };
    let part = |is_listener, name: &str| {
        let all = count(is_listener, &[Outcome::Set, Outcome::Differs, Outcome::Missing]);
        let set = count(is_listener, &[Outcome::Set]);
        match (set, all) {
            (_, 0) => None,
            (1, 1) => Some(format!("the {name} is set")),
            (0, 1) => Some(format!("the {name} is not set")),
            (set, all) if set == all => Some(format!("all {all} {name}s are set")),
            (set, all) => Some(format!("{set} of {all} {name}s are set")),
        }
    };
    let parts: Vec<String> = [part(false, "connection"), part(true, "listener")]
        .into_iter()
        .flatten()
        .collect();
    let mut text = match parts.as_slice() {
        [] => String::from("no connection that the policy concerns"),
        parts => parts.join(", "),
    };
    let unknown = count(false, &[Outcome::Unknown]) + count(true, &[Outcome::Unknown]);
    if unknown > 0 {
        let _ = write!(text, ", {unknown} not known");
    }
    for reason in reasons(sockets, names_processes) {
        let _ = write!(text, "; {reason}");
    }
    text
}

/// Returns the reasons of the differences, each once with its first descriptor, those of missing values first.
fn reasons(sockets: &[&Compared], names_processes: bool) -> Vec<String> {
    let mut groups: Vec<(&Compared, usize)> = Vec::new();
    for outcome in [Outcome::Missing, Outcome::Differs] {
        for socket in sockets {
            if socket.verdict.outcome() != outcome {
                continue;
            }
            match groups.iter_mut().find(|(first, _)| first.verdict == socket.verdict) {
                Some((_, others)) => *others += 1,
                None => groups.push((socket, 0)),
            }
        }
    }
    let left_out = groups.len().saturating_sub(MOST_REASONS);
    let shown = groups.iter().take(MOST_REASONS);
    let mut reasons: Vec<String> = shown
        .map(|(socket, others)| {
            let mut text = socket.describe(names_processes);
            match others {
                0 => {}
                1 => text.push_str(" (and one more)"),
                others => {
                    let _ = write!(text, " (and {others} more)");
                }
            }
            text
        })
        .collect();
    if left_out > 0 {
        reasons.push(format!("{left_out} other reasons"));
    }
    reasons
}

impl Compared {
    /// Returns the descriptor, the reason and the advice: "fd 9 was made by ...: use --engine seccomp".
    pub fn describe(&self, names_process: bool) -> String {
        let name = self.name(names_process);
        let reason = self.verdict.reason().unwrap_or_else(|| String::from("it is set"));
        let pid = self.socket.holder.map_or(0, |holder| holder.pid);
        let mut text = match reason.strip_prefix("it ") {
            Some(rest) => format!("{name} {rest}"),
            None => format!("{name}: {reason}"),
        };
        if let Some(advice) = self.verdict.advice(pid) {
            let separator = if reason.contains(": ") { " ->" } else { ":" };
            let _ = write!(text, "{separator} {advice}");
        }
        text
    }

    /// Returns the descriptor, as in `fd 9` or `fd 9 of java (4242)`.
    pub fn name(&self, names_process: bool) -> String {
        match self.socket.holder {
            Some(Holder { pid, fd, .. }) if names_process => format!("fd {fd} of {} ({pid})", self.program),
            Some(Holder { fd, .. }) => format!("fd {fd}"),
            None => String::from("a socket"),
        }
    }
}
