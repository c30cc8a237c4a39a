//! The report on one socket, as text and JSON.

use crate::error::{Error, FAILED};
use crate::json::Entry;
use crate::output::{WIDTH, sanitize, wrap};
use keepalive_engine::attach::{Failure, Left, Plan, Reason, Step};
use keepalive_engine::container::{id_of_process, short_id};
use keepalive_engine::sockets::{Process, Socket, TimerState};
use keepalive_engine::timeline::brief;
use keepalive_policy::{Moment, SocketOption, Unit};
use keepalive_sys::sock_diag::TimerKind;
use keepalive_sys::sockopt::{Numbers, Protocol};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The report on one socket.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    program: String,
    container: Option<String>,
    before: Socket,
    after: Socket,
    plan: Plan,
    failed: Vec<Failure>,
}

/// The report as a JSON object.
#[derive(Serialize)]
pub(super) struct Object {
    #[serde(flatten)]
    after: Entry,
    direction: Option<&'static str>,
    dry_run: bool,
    before: Before,
    changes: Vec<Change>,
    left: Vec<Remark>,
    note: Option<String>,
    failed: Vec<Remark>,
}

#[derive(Serialize)]
struct Before {
    keepalive: Option<bool>,
    idle_s: Option<u32>,
    interval_s: Option<u32>,
    count: Option<u32>,
    user_timeout_ms: Option<u32>,
    timer: Option<crate::json::TimerEntry>,
}

#[derive(Serialize)]
struct Change {
    option: &'static str,
    from: u32,
    to: u32,
}

#[derive(Serialize)]
struct Remark {
    option: &'static str,
    reason: String,
}

impl Report {
    /// Creates the report on `socket` as it was before, with its present values.
    pub(super) fn new(
        process: &Process,
        socket: Socket,
        plan: Plan,
        failed: Vec<Failure>,
        after: Option<Numbers>,
    ) -> Self {
        let mut changed = socket.clone();
        changed.numbers = after.or(socket.numbers);
        Self {
            program: process.name().to_string_lossy().into_owned(),
            container: id_of_process(process.pid),
            after: changed,
            before: socket,
            plan,
            failed,
        }
    }

    /// Returns whether any option was, or would be, set.
    pub(super) fn is_changed(&self) -> bool {
        !self.plan.steps.is_empty()
    }

    /// Returns the socket as it was before.
    pub(super) fn socket(&self) -> &Socket {
        &self.before
    }

    /// Stores the timer that runs now.
    pub(super) fn note_timer(&mut self, timer: TimerState) {
        self.after.timer = timer;
    }

    /// Returns the error for the options that could not be set, if any.
    pub(super) fn error(&self) -> Option<Error> {
        let failed = self.failed.iter();
        let words: Vec<String> = failed
            .map(|failure| format!("{}: {}", failure.option.row().name, failure.error))
            .collect();
        (!words.is_empty()).then(|| {
            let what = format!("cannot set all on {}: setsockopt: {}", self.place(), words.join(", "));
            Error::new(FAILED, what).hint(if words.len() < self.plan.steps.len() {
                "the other options are set"
            } else {
                "nothing was set on it"
            })
        })
    }

    /// Returns the holder: `psql (4242) fd 3`, or `psql (4242) fd 3 in container 0123456789ab`.
    fn place(&self) -> String {
        let program = sanitize(&self.program);
        let place = match self.before.holder {
            Some(holder) if holder.tid != holder.pid => {
                format!("{program} ({}, thread {}) fd {}", holder.pid, holder.tid, holder.fd)
            }
            Some(holder) => format!("{program} ({}) fd {}", holder.pid, holder.fd),
            None => program,
        };
        match &self.container {
            Some(id) => format!("{place} in container {}", short_id(id)),
            None => place,
        }
    }

    pub(super) fn entry(&self, dry_run: bool) -> Object {
        Object {
            after: Entry::new(&self.after, Some(self.program.clone()), self.container.clone()),
            direction: match self.plan.moment {
                Moment::Connect => Some("connect"),
                Moment::Accept | Moment::Listen => Some("accept"),
                Moment::Create => None,
            },
            dry_run,
            before: Before {
                keepalive: self.before.keepalive(),
                idle_s: self.before.number(SocketOption::Idle),
                interval_s: self.before.number(SocketOption::Interval),
                count: self.before.number(SocketOption::Count),
                user_timeout_ms: self.before.number(SocketOption::UserTimeout),
                timer: self.before.timer.timer().map(Into::into),
            },
            changes: self.plan.steps.iter().map(Change::from).collect(),
            left: self
                .plan
                .left
                .iter()
                .map(|left| remark(left.option, &reason(left)))
                .collect(),
            note: self.note(),
            failed: self
                .failed
                .iter()
                .map(|failure| remark(failure.option, &failure.error))
                .collect(),
        }
    }

    /// Returns a line that names the socket, and the changes on the lines below.
    pub(super) fn text(&self, dry_run: bool) -> String {
        let socket = &self.before;
        let name =
            |address: Option<SocketAddr>| address.map_or_else(|| String::from("?"), |address| address.to_string());
        let (local, peer) = (name(socket.local), name(socket.peer));
        let connection = match self.plan.moment {
            Moment::Listen => format!("listens on {local}"),
            Moment::Accept => format!("{local} accepted from {peer}"),
            Moment::Connect => format!("{local} connected to {peer}"),
            Moment::Create => String::from("not connected"),
        };
        let mut text = wrap(&format!("{}: {connection}", self.place()), WIDTH, 4);
        let mut say = |line: &str| text.push_str(&wrap(&format!("  {line}"), WIDTH, 4));
        let steps: Vec<String> = self.plan.steps.iter().map(describe_step).collect();
        if !steps.is_empty() {
            say(&format!(
                "{}{}",
                if dry_run { "would set " } else { "" },
                steps.join(", ")
            ));
        }
        if let (false, Some((before, after))) = (dry_run, self.timers()) {
            say(&format!("next probe {before} -> {after}"));
        }
        for left in &self.plan.left {
            say(&format!("left: {}", describe_left(left)));
        }
        if let Some(note) = self.note() {
            say(&format!("note: {note}"));
        }
        for failure in &self.failed {
            say(&format!("failed: {}: {}", failure.option.row().name, failure.error));
        }
        if steps.is_empty() && self.plan.left.is_empty() {
            say("is so already");
        }
        text
    }

    /// Returns what the program has done that makes the result unwise, and the options that prevent it.
    fn note(&self) -> Option<String> {
        let warning = self.plan.warning?;
        Some(format!("{}: {}", warning.reason(), warning.advice()))
    }

    /// Returns the time until the next probe before and after, if it has changed.
    fn timers(&self) -> Option<(String, String)> {
        let spell = |clock: TimerState| match clock {
            TimerState::Running(timer) if timer.kind == TimerKind::Keepalive => {
                Some(format!("in {}", brief(timer.expires_ms)))
            }
            TimerState::Unknown => None,
            _ => Some(String::from("never")),
        };
        let (before, after) = (spell(self.before.timer)?, spell(self.after.timer)?);
        (self.is_changed() && before != after).then_some((before, after))
    }
}

fn remark(option: SocketOption, reason: &str) -> Remark {
    Remark {
        option: option.row().name,
        reason: reason.to_owned(),
    }
}

impl From<&Step> for Change {
    fn from(step: &Step) -> Self {
        Self {
            option: step.option.row().name,
            from: step.from,
            to: step.to,
        }
    }
}

/// Returns a change of an option in words.
fn describe_step(step: &Step) -> String {
    let name = step.option.row().name;
    if step.from == step.to {
        return format!("{name} {} again, for the timer", spell(step.option, step.to));
    }
    format!(
        "{name} {} -> {}",
        spell(step.option, step.from),
        spell(step.option, step.to)
    )
}

/// Returns why an option keeps its value.
fn reason(left: &Left) -> String {
    match left.reason {
        Reason::Off => String::from("the policy says off"),
        Reason::Own { mode, .. } => format!("set already, and mode {} keeps it", mode.name()),
        Reason::Connecting => String::from("it would limit connecting"),
        Reason::Late => String::from("it counts only before a connection is made"),
        Reason::Missing(Protocol::Mptcp) => String::from("this kernel has it for TCP, not for MPTCP"),
        Reason::Missing(Protocol::Tcp) => String::from("this kernel does not have it"),
    }
}

/// Returns the option, its value and [`reason`].
fn describe_left(left: &Left) -> String {
    let name = left.option.row().name;
    match left.reason {
        Reason::Off => reason(left),
        Reason::Own { theirs, .. } => format!("{name} {}, {}", spell(left.option, theirs), reason(left)),
        Reason::Connecting | Reason::Late | Reason::Missing(_) => format!("{name}, {}", reason(left)),
    }
}

/// Returns a value in the form for users.
fn spell(option: SocketOption, number: u32) -> String {
    match (option.row().unit, number) {
        (Unit::Switch, 0) => String::from("off"),
        (Unit::Switch, _) => String::from("on"),
        (Unit::Milliseconds, 0) => String::from("none"),
        (Unit::Milliseconds, _) => brief(number.into()),
        (Unit::Seconds, _) => format!("{number}s"),
        (Unit::Count, _) => number.to_string(),
    }
}

/// Returns a summary in one line.
pub(super) fn summary(reports: &[Report], processes: usize, dry_run: bool) -> String {
    let failed = reports.iter().filter(|report| !report.failed.is_empty()).count();
    let set = reports
        .iter()
        .filter(|report| report.failed.is_empty() && report.is_changed())
        .count();
    let left = reports
        .iter()
        .filter(|report| !report.is_changed() && !report.plan.left.is_empty())
        .count();
    let same = reports.len() - failed - set - left;
    let verb = if dry_run { "would be set" } else { "set" };
    let parts = [
        (set, verb),
        (same, "so already"),
        (left, "left as they are"),
        (failed, "failed"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let of = if processes == 1 {
        String::from("1 process")
    } else {
        format!("{processes} processes")
    };
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!(": {}", parts.join(", "))
    };
    format!("keepalive: {} of {of}{parts}\n", sockets(reports.len()))
}

/// Returns the number with its unit: `1 TCP socket`, `2 TCP sockets`.
pub(super) fn sockets(count: usize) -> String {
    format!("{count} TCP socket{}", if count == 1 { "" } else { "s" })
}
