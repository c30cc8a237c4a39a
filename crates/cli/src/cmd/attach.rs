//! `keepalive attach`: applies the policy to running processes.

mod report;
mod worker;

use crate::error::{Error, FAILED, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::help::{Json, Notes, POLICY_USAGE, PRECEDENCE, SUCCESS};
use crate::json::{array, line};
use crate::output::{WIDTH, print, wrap, write_stderr};
use crate::policy::{self, Part};
use crate::remarks::{no_process, remark_on_hidden, remark_on_unlisted};
use clap::{ArgGroup, Args};
use keepalive_engine::sockets::{Kernel, Obstacle, Process, Selection, Send, WorkerPool, hidden};
use keepalive_policy::{Settings, Source};
use report::{Report, sockets, summary};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use worker::Found;

/// Set keepalive on the connections of running processes
///
/// Applies the policy to every TCP socket of the processes: open connections, and listening sockets, whose later connections
/// inherit it. The processes are neither stopped nor traced, and need no restart. Requires the right to trace them: the same
/// user, or root.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("who").required(true),
    override_usage = "keepalive attach [OPTIONS] <PID... | --program NAME | --all>",
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Attach {
    /// Process ids
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), group = "who")]
    pids: Vec<u32>,

    /// The processes with this name
    #[arg(long, value_name = "NAME", group = "who")]
    program: Option<OsString>,

    /// All processes that the user may trace
    #[arg(long, group = "who")]
    all: bool,

    /// Print what would be set, and set nothing
    #[arg(long)]
    dry_run: bool,

    /// Continue with new sockets until the processes have ended
    ///
    /// With --program also continue with new processes of that name. Looks once a second at most. With rules, a socket is set once
    /// it is connected or listens.
    #[arg(long)]
    watch: bool,

    /// Print a JSON array; with --watch, one object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

pub(crate) const NOTES: Notes = Notes {
    command: "attach",
    precedence: PRECEDENCE,
    paragraphs: &[
        "What a program has set itself is inferred from the value: a value that differs from the kernel's default is \
         the program's, or that of an earlier attach, and stays unless --mode changes it. A connection counts as \
         accepted if a socket listens on its local address and port, and as opened by the process otherwise.",
        "A process that waits, for example for a file server that hangs, delays no other: after about a second it is \
         reported, and --watch tries it again.",
    ],
    json: Some(Json {
        heading: "The JSON objects have the fields of 'keepalive list', with the values after the change, and",
        fields: &[
            ("direction", "string", "connect or accept"),
            ("dry_run", "boolean", ""),
            (
                "before",
                "object",
                "keepalive, idle_s, interval_s, count, user_timeout_ms and timer before the change",
            ),
            ("changes[].option", "string", ""),
            ("changes[].from", "number", ""),
            ("changes[].to", "number", ""),
            ("left[].option", "string", "an option that was not changed"),
            ("left[].reason", "string", ""),
            ("note", "string", "what is unwise about the result"),
            ("failed[].option", "string", "an option that could not be set"),
            ("failed[].reason", "string", ""),
        ],
        null: "Null is unknown, or does not apply.",
    }),
    statuses: &[SUCCESS, ("1", "A request could not be completed."), POLICY_USAGE],
    examples: &[
        (
            "Print what would be set, then set it:",
            &[
                "keepalive attach --dry-run --program postgres",
                "keepalive attach --program postgres",
            ],
        ),
        (
            "One process and the sockets that it opens later, until it ends:",
            &["keepalive attach --idle 30 --watch 4242"],
        ),
        (
            "All processes of this user, with a rules file:",
            &["keepalive attach --all --config /etc/keepalive.conf"],
        ),
    ],
};

/// The shortest pause between two rounds of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);
/// The ratio of time to the duration of a round: a round may use at most one part in this number.
const REST: u32 = 50;
/// The longest pause, used if a round takes long.
const LONGEST: Duration = Duration::from_secs(10);
/// How long `--watch` waits for a process with the name to return: longer than a restart takes.
const ABSENCE: Duration = Duration::from_secs(10);

/// Applies the policy.
///
/// # Errors
/// A mistake in the command line, the environment or the file; an action that failed.
pub(crate) fn run(attach: &Attach) -> Result<(), Error> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = policy::read(&attach.policy, &environment, Settings::EVERYWHERE, REFUSED)?;
    policy::report_notes(&policy);
    let parts = policy.parts();
    let (selection, missing) = match &attach.program {
        Some(name) => (Selection::Program(name.clone()), Vec::new()),
        None if attach.all => (Selection::All, Vec::new()),
        None => Selection::named(&attach.pids),
    };
    let mut work = Work {
        attach,
        selection,
        sources: &parts.each_ref().map(Part::source),
        done: HashSet::new(),
        told: HashSet::new(),
        pool: WorkerPool::default(),
        silent: HashSet::new(),
    };
    let mut first = work.round()?;
    if let (Selection::Program(name), 0) = (&work.selection, first.processes) {
        return Err(no_process(name));
    }
    first.obstacles.splice(0..0, missing);
    first.show(attach)?;
    first.tell(attach);
    let result = first.result();
    if attach.watch && (first.reached > 0 || !work.silent.is_empty()) {
        // Obstacles are reported now, not at the end.
        if let Err(error) = &result {
            error.report();
        }
        work.watch()?;
        return result.map_err(Error::reported);
    }
    result
}

/// The task of the command.
struct Work<'a> {
    attach: &'a Attach,
    selection: Selection,
    sources: &'a [Source<'a>],
    /// The sockets that need no further check, by inode.
    done: HashSet<u64>,
    /// The sockets that were reported and are checked again.
    told: HashSet<u64>,
    pool: WorkerPool,
    /// The processes that did not answer in the previous round.
    silent: HashSet<u32>,
}

/// The results of one round.
#[derive(Default)]
struct Round {
    reports: Vec<Report>,
    /// The number of processes.
    processes: usize,
    /// The number of processes that could be accessed.
    reached: usize,
    /// The obstacles of named processes.
    obstacles: Vec<(u32, Obstacle)>,
    /// The number of unreachable sockets, if all processes were selected.
    beyond: usize,
    /// The reason why they are unreachable.
    beyond_why: Option<Obstacle>,
    /// What the kernel does not show, if anything.
    unlisted: Option<String>,
}

impl Work<'_> {
    /// Applies the policy repeatedly, to new sockets.
    fn watch(&mut self) -> Result<(), Error> {
        let patience = match self.selection {
            Selection::Named(_) => Duration::ZERO,
            Selection::Program(_) => ABSENCE,
            Selection::All => Duration::MAX,
        };
        let mut seen = Instant::now();
        let mut pause = PERIOD;
        loop {
            self.selection.rest(pause);
            let start = Instant::now();
            let round = self.round()?;
            pause = if self.silent.is_empty() {
                (start.elapsed() * REST).clamp(PERIOD, LONGEST)
            } else {
                // The process waits without cost.
                PERIOD
            };
            round.show(self.attach)?;
            let silent = Obstacle::unanswered();
            for (pid, obstacle) in round.obstacles.iter().filter(|(_, obstacle)| *obstacle == silent) {
                Error::from(obstacle.error("attach to", *pid)).report();
            }
            if round.processes > 0 {
                seen = start;
            } else if seen.elapsed() >= patience {
                return Ok(());
            }
        }
    }

    /// Applies the policy to every socket that is not done yet.
    fn round(&mut self) -> Result<Round, Error> {
        let mut kernel = Kernel::of_own_namespace();
        let mut round = Round {
            unlisted: remark_on_unlisted(&kernel),
            ..Round::default()
        };
        let mut held_now = HashSet::new();
        let mut seen = HashSet::new();
        let mut pool = std::mem::take(&mut self.pool);
        let mut done = std::mem::take(&mut self.done);
        let mut told = std::mem::take(&mut self.told);
        let known = done.clone();
        let mut answer = |process: &Process, send: &mut Send<'_, Found>| match process.sockets() {
            Ok(mut held) => {
                send(Found::Held(held.iter().map(|(_, inode)| *inode).collect()));
                // A socket with several descriptors is handled once, by the first one that still refers to it.
                held.retain(|(_, inode)| !seen.contains(inode) && !known.contains(inode));
                while !held.is_empty() {
                    let mut new = HashSet::new();
                    let (first, rest) = held.iter().partition::<Vec<_>, _>(|(_, inode)| new.insert(*inode));
                    if self.reach(&mut kernel, process, &first, &mut seen, send) {
                        break;
                    }
                    held = rest;
                    held.retain(|(_, inode)| !seen.contains(inode));
                }
            }
            Err(obstacle) if self.attach.all => send(Found::Beyond(obstacle.among_many(process))),
            Err(obstacle) => send(Found::Obstacle(obstacle)),
        };
        let mut take = |pid, found| match found {
            Found::Held(inodes) => {
                round.reached += 1;
                held_now.extend(inodes);
            }
            Found::Reports(reports) => {
                for report in reports {
                    let inode = report.socket().inode;
                    let is_new = if report.is_unfinished() {
                        told.insert(inode)
                    } else {
                        done.insert(inode)
                    };
                    if is_new || report.is_changed() {
                        round.reports.push(report);
                    }
                }
            }
            // A process that has ended meanwhile has no sockets.
            Found::Beyond(obstacle) | Found::Obstacle(obstacle) if obstacle.is_gone => {}
            Found::Beyond(obstacle) => round.beyond_why = Some(obstacle),
            Found::Obstacle(obstacle) => round.obstacles.push((pid, obstacle)),
        };
        let asked = self.selection.ask(&mut pool, &mut answer, &mut take);
        self.pool = pool;
        let asked = asked
            .map_err(|error| Error::new(FAILED, format!("cannot examine processes: fork: {}", describe(&error))))?;
        round.processes = asked.processes;
        let unanswered: Vec<u32> = asked.unanswered.iter().map(|process| process.pid).collect();
        // A process that does not answer in this round may hold sockets that were done before.
        if unanswered.is_empty() {
            done.retain(|inode| held_now.contains(inode));
            told.retain(|inode| held_now.contains(inode));
        }
        (self.done, self.told) = (done, told);
        round.note_unanswered(&unanswered, &mut self.silent);
        round.reports.sort_by_key(|report| report.socket().holder);
        round.beyond = if self.attach.all {
            kernel.unknown(&held_now).len()
        } else {
            0
        };
        round.check_again();
        Ok(round)
    }
}

impl Round {
    /// Adds the processes that did not answer in time; those that did not answer before, either, are not
    /// reported again.
    fn note_unanswered(&mut self, pids: &[u32], silent: &mut HashSet<u32>) {
        silent.retain(|pid| pids.contains(pid));
        let new = pids.iter().filter(|pid| silent.insert(**pid));
        self.obstacles.extend(new.map(|pid| (*pid, Obstacle::unanswered())));
    }

    /// Records the running timers.
    fn check_again(&mut self) {
        if self.reports.iter().any(Report::is_changed) {
            let kernel = Kernel::of_own_namespace();
            for report in &mut self.reports {
                if report.socket().is_in_own_namespace() {
                    report.note_timer(kernel.timer(report.socket().inode));
                }
            }
        }
    }

    fn show(&self, attach: &Attach) -> Result<(), Error> {
        let reports = self.reports.iter();
        print(&match (attach.json, attach.watch) {
            (true, false) => array(reports.map(|report| report.entry(attach.dry_run))),
            (true, true) => reports
                .map(|report| line(&report.entry(attach.dry_run)) + "\n")
                .collect(),
            (false, _) => reports.map(|report| report.text(attach.dry_run)).collect(),
        })
    }

    /// Prints the results of the round.
    fn tell(&self, attach: &Attach) {
        let mut text = self.unlisted.clone().unwrap_or_default();
        // An error is printed alone.
        if self.reached > 0 && (self.obstacles.is_empty() || !self.reports.is_empty()) {
            text += &summary(&self.reports, self.reached, attach.dry_run);
        }
        if self.beyond > 0 {
            let beyond = sockets(self.beyond);
            let _ = writeln!(text, "keepalive: {beyond} of other processes are out of reach");
            if let Some(obstacle) = &self.beyond_why {
                text.push_str(&wrap(&format!("hint: {}", obstacle.hint), WIDTH, 6));
            }
        }
        // If processes are selected by their numbers, a hidden process is an error.
        if hidden().is_some() && (self.beyond > 0 || attach.program.is_some()) {
            text += &remark_on_hidden();
        }
        write_stderr(&text);
    }

    fn result(&self) -> Result<(), Error> {
        let obstacles = self.obstacles.iter();
        let failed = self.reports.iter().filter_map(Report::error);
        let errors = obstacles
            .map(|(pid, obstacle)| obstacle.error("attach to", *pid).into())
            .chain(failed);
        Error::all(errors).map_or(Ok(()), Err)
    }
}
