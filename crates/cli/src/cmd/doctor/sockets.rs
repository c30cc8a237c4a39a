//! Compares the connections of a process and its descendants with their policy.

use super::finding::{Findings, Level};
use crate::json::Entry;
use keepalive_engine::attach::Warning;
use keepalive_engine::container::id_of_process;
use keepalive_engine::sockets::{Socket, WorkerPool};
use keepalive_engine::verify::{
    Compared, Comparison, Examined, Given, Missing, Outcome, PolicyOrigin, Reach, Verdict, compare,
};
use keepalive_policy::SocketOption;
use serde::Serialize;
use std::io;

/// The shortest timeout of common middleboxes for an idle connection, in seconds: connections with a later
/// probe may be dropped (`keepalive presets`).
const FORGOTTEN: u32 = 240;

/// What the JSON object has of a process.
#[derive(Default, Serialize)]
pub(super) struct Report {
    summary: Option<String>,
    processes: Vec<ProcessEntry>,
    sockets: Vec<SocketEntry>,
}

#[derive(Serialize)]
struct ProcessEntry {
    pid: u32,
    program: String,
    engines: Vec<&'static str>,
    policy: String,
    policy_from: Option<&'static str>,
}

#[derive(Serialize)]
struct SocketEntry {
    #[serde(flatten)]
    socket: Entry,
    verdict: Outcome,
    reason: Option<String>,
    advice: Option<String>,
}

/// Examines the sockets of the processes `roots` and their descendants.
///
/// # Errors
/// No worker can be started.
pub(super) fn examine(findings: &mut Findings, roots: &[u32], given: Given<'_>) -> io::Result<Report> {
    let comparison = compare(&mut WorkerPool::default(), roots, given)?;
    for (other, obstacle) in &comparison.obstacles {
        if roots.contains(other) {
            findings.add(
                Level::Wrong,
                "connections",
                &*obstacle.reason,
                Some(obstacle.hint.clone()),
            );
        } else {
            let text = format!("those of process {other} are not known: {}", obstacle.reason);
            findings.note("connections", text, &obstacle.hint);
        }
    }
    if let Some(root) = comparison.processes.first() {
        show_reach(findings, &root.reach);
    }
    let pids: Vec<String> = roots.iter().map(u32::to_string).collect();
    let pids = pids.join(" ");
    let is_in_use = |examined: &Examined| {
        examined.reach.is_reached()
            || examined.reach.is_library_expected
            || examined.reach.policy == PolicyOrigin::Options
    };
    let is_root_unknown = comparison.obstacles.iter().any(|(other, _)| roots.contains(other));
    if is_root_unknown && comparison.sockets.is_empty() {
        // What is not known is not counted.
    } else if comparison.processes.iter().any(is_in_use) {
        show_comparison(findings, &comparison);
    } else if comparison.obstacles.is_empty() {
        show_unreached(findings, &comparison, &pids);
    }
    show_late(findings, &comparison, &pids);
    Ok(Report::new(&comparison))
}

/// Shows which engines reach the process, and its policy.
fn show_reach(findings: &mut Findings, reach: &Reach) {
    if reach.is_supervised {
        findings.fine("supervisor", "one of keepalive serves the process");
    }
    match (reach.policy, reach.policy.describe()) {
        // Nothing is compared with it.
        (PolicyOrigin::Default, _) => {}
        (_, Some(origin)) => {
            let settings = match reach.settings.as_str() {
                "" => "keepalive=on, the times are the kernel's",
                settings => settings,
            };
            findings.fine("process policy", format!("{settings}, from {origin}"));
        }
        (_, None) => findings.note(
            "process policy",
            "is not known: its environment does not show it; only whether keepalive is on is compared",
            "name the policy with the options of keepalive run",
        ),
    }
}

fn show_comparison(findings: &mut Findings, comparison: &Comparison) {
    let differs = |socket: &Compared| socket.verdict.outcome() == Outcome::Differs;
    let level = if comparison.is_missing() {
        Level::Wrong
    } else if comparison.sockets.iter().any(differs) {
        Level::Note
    } else {
        Level::Fine
    };
    let remedy = comparison
        .remedy()
        .map(|options| format!("keepalive run {options} -- COMMAND"));
    findings.add(level, "connections", comparison.summary(), remedy);
}

/// Shows connections of a process that no engine reaches.
fn show_unreached(findings: &mut Findings, comparison: &Comparison, pids: &str) {
    let open = to_other_machines(comparison);
    let all = open.len();
    let without = open.iter().filter(|socket| socket.socket.keepalive() == Some(false));
    let (mut count, mut switched_off) = (0, 0);
    for socket in without {
        count += 1;
        switched_off += usize::from(socket.verdict == Verdict::Missing(Missing::Undone(Warning::SwitchedOff)));
    }
    if count > 0 {
        let reason = match switched_off {
            0 => "",
            _ if switched_off == count => ": the program switched it off",
            _ => ", some of which the program switched off",
        };
        let mode = if switched_off > 0 { "--mode cap " } else { "" };
        findings.wrong(
            "connections",
            format!("{count} of {all} to other machines have no keepalive{reason}"),
            &format!("keepalive attach {mode}{pids} gives it to them; keepalive list {pids} shows each"),
        );
    }
    let mut is_bad = count > 0;
    for socket in &comparison.sockets {
        let is_counted = socket.socket.keepalive() == Some(false) && !is_loopback(&socket.socket);
        if socket.verdict.outcome() == Outcome::Missing && !is_counted {
            is_bad = true;
            findings.add(Level::Wrong, "connections", socket.describe(false), None);
        }
    }
    if !is_bad && late(comparison) == 0 {
        findings.fine(
            "connections",
            match all {
                0 => String::from("none to other machines"),
                1 => String::from("one to another machine, with keepalive"),
                all => format!("{all} to other machines, all with keepalive"),
            },
        );
    }
}

/// Shows connections whose first probe comes late, whoever has set it.
fn show_late(findings: &mut Findings, comparison: &Comparison, pids: &str) {
    let (late, all) = (late(comparison), to_other_machines(comparison).len());
    if late > 0 {
        findings.note(
            "connections",
            format!("{late} of {all} to other machines are probed after more than {FORGOTTEN} s, when common middleboxes have forgotten them"),
            &format!("keepalive attach --mode cap {pids}; keepalive presets lists middleboxes"),
        );
    }
}

fn late(comparison: &Comparison) -> usize {
    let is_late = |socket: &Socket| {
        let idle = socket.number(SocketOption::Idle);
        socket.keepalive() == Some(true) && idle.is_some_and(|idle| idle > FORGOTTEN)
    };
    let open = to_other_machines(comparison);
    open.iter().filter(|compared| is_late(&compared.socket)).count()
}

fn is_loopback(socket: &Socket) -> bool {
    socket.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

fn to_other_machines(comparison: &Comparison) -> Vec<&Compared> {
    let open = comparison.sockets.iter().filter(|compared| !compared.is_listener());
    open.filter(|compared| !is_loopback(&compared.socket)).collect()
}

impl Report {
    /// Adds the report of other processes.
    pub(super) fn append(&mut self, other: Self) {
        self.summary = match (self.summary.take(), other.summary) {
            (Some(one), Some(two)) => Some(format!("{one}; {two}")),
            (one, two) => one.or(two),
        };
        self.processes.extend(other.processes);
        self.sockets.extend(other.sockets);
    }

    /// Changes the advice about all sockets.
    pub(super) fn change_advice(&mut self, change: impl Fn(&str) -> String) {
        let sockets = self.sockets.iter_mut();
        for advice in sockets.filter_map(|socket| socket.advice.as_mut()) {
            *advice = change(advice);
        }
    }

    fn new(comparison: &Comparison) -> Self {
        Self {
            summary: Some(comparison.summary()),
            processes: comparison.processes.iter().map(ProcessEntry::new).collect(),
            sockets: comparison.sockets.iter().map(SocketEntry::new).collect(),
        }
    }
}

impl ProcessEntry {
    fn new(examined: &Examined) -> Self {
        let reach = &examined.reach;
        let engines = [
            ("preload", reach.library.is_some()),
            ("seccomp", reach.is_supervised),
            ("cgroup", reach.cgroup.is_some()),
        ];
        Self {
            pid: examined.pid,
            program: examined.program.clone(),
            engines: engines
                .into_iter()
                .filter(|(_, reaches)| *reaches)
                .map(|(name, _)| name)
                .collect(),
            policy: reach.settings.clone(),
            policy_from: reach.policy.describe(),
        }
    }
}

impl SocketEntry {
    fn new(compared: &Compared) -> Self {
        let pid = compared.socket.holder.map_or(0, |holder| holder.pid);
        Self {
            socket: Entry::new(
                &compared.socket,
                Some(compared.program.clone()),
                compared.socket.holder.and_then(|holder| id_of_process(holder.pid)),
            ),
            verdict: compared.verdict.outcome(),
            reason: compared.verdict.reason(),
            advice: compared.verdict.advice(pid),
        }
    }
}
