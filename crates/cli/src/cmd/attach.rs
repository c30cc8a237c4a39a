//! `keepalive attach`: the policy for processes that run already.

mod report;

use crate::cli::PolicyFlags;
use crate::engine::attach::{apply, is_unfinished, plan};
use crate::error::{Error, REFUSED};
use crate::output::{WIDTH, print, wrap};
use crate::policy::{Part, Policy};
use crate::sockets::json::{array, line};
use crate::sockets::{Holder, Kernel, Obstacle, Process, Selection, no_process};
use clap::{ArgGroup, Args};
use keepalive_linux::sockopt;
use keepalive_policy::{Settings, Source};
use report::{Report, sockets, summary};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// Set keepalive on the connections of processes that run already
///
/// Every TCP socket of the processes gets what the policy says, the open connections and the listening sockets, whose later
/// connections inherit it. The processes are neither stopped nor traced, and need not be started again. It takes the right
/// to trace them: the same user, or root.
#[derive(Debug, Args)]
#[command(
    after_help = NOTES,
    group = ArgGroup::new("who").required(true),
    override_usage = "keepalive attach [OPTIONS] <PID... | --program NAME | --all>",
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Attach {
    /// Processes
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), group = "who")]
    pids: Vec<u32>,

    /// The processes of this name
    #[arg(long, value_name = "NAME", group = "who")]
    program: Option<OsString>,

    /// All processes that this user may trace
    #[arg(long, group = "who")]
    all: bool,

    /// Say what would be set, and set nothing
    #[arg(long)]
    dry_run: bool,

    /// Go on with new sockets, and new processes of that name, until the processes have ended
    #[arg(long)]
    watch: bool,

    /// Print a JSON array; with --watch, an object in a line for each socket
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

const NOTES: &str = "\
Options come before the environment (KEEPIDLE, ...), that before
/etc/keepalive.conf. Without any policy option, rule or file: --idle 60
--interval 15 --count 5.

What a program has set itself is told by its value: what is not as the kernel
makes it is the program's, or an earlier attach's, and stays unless --mode says
otherwise. A connection counts as accepted where somebody listens on its local
address and port, else as opened from here.

Exit status: 0; 1 when something that was asked for could not be done; 2 when
the command line or the policy cannot be used.";

/// The shortest time between two looks of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);
/// Between them looking takes one part in so many of the time.
const REST: u32 = 50;
/// The longest, where looking takes long.
const LONGEST: Duration = Duration::from_secs(10);
/// How long `--watch` waits for a process of the name to come back: longer than a restart takes.
const ABSENCE: Duration = Duration::from_secs(10);

/// Sets the policy.
///
/// # Errors
/// What cannot be used of the command line, the environment or the file; what could not be done.
pub(crate) fn run(attach: &Attach) -> Result<(), Error> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = Policy::read(&attach.policy, &environment, Settings::EVERYWHERE, REFUSED)?;
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
    };
    let mut first = work.round();
    if let (Selection::Program(name), 0) = (&work.selection, first.processes) {
        return Err(no_process(name));
    }
    first.obstacles.splice(0..0, missing);
    first.show(attach)?;
    first.tell(attach);
    let result = first.result();
    if attach.watch && first.reached > 0 {
        // What was in the way need not wait for the end.
        if let Err(error) = &result {
            error.report();
        }
        work.watch()?;
        return result.map_err(Error::told);
    }
    result
}

/// What is to be done.
struct Work<'a> {
    attach: &'a Attach,
    selection: Selection,
    sources: &'a [Source<'a>],
    /// The sockets that need not be looked at again, by inode.
    done: HashSet<u64>,
    /// Those that were told of, and are looked at again.
    told: HashSet<u64>,
}

/// What was found and done at one time.
#[derive(Default)]
struct Round {
    reports: Vec<Report>,
    /// How many processes there were.
    processes: usize,
    /// How many could be looked into.
    reached: usize,
    /// What is in the way of processes that were asked for.
    obstacles: Vec<(u32, Obstacle)>,
    /// How many sockets are out of reach, where all were asked for.
    beyond: usize,
    /// What is in the way of them.
    beyond_why: Option<Obstacle>,
    /// What the kernel shows nothing of, if so.
    blindness: Option<String>,
}

impl Work<'_> {
    /// Sets the policy again and again, on what is new.
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
            let round = self.round();
            pause = (start.elapsed() * REST).clamp(PERIOD, LONGEST);
            round.show(self.attach)?;
            if round.processes > 0 {
                seen = start;
            } else if seen.elapsed() >= patience {
                return Ok(());
            }
        }
    }

    /// Sets the policy on every socket that is not done yet.
    fn round(&mut self) -> Round {
        let mut kernel = Kernel::look();
        let mut round = Round {
            blindness: kernel.blindness(),
            ..Round::default()
        };
        let mut held_now = HashSet::new();
        let selection = std::mem::replace(&mut self.selection, Selection::All);
        round.processes = selection.visit(|process| match process.sockets() {
            Ok(mut held) => {
                round.reached += 1;
                // One that several descriptors refer to comes once.
                held.retain(|(_, inode)| held_now.insert(*inode) && !self.done.contains(inode));
                self.reach(&mut round, &mut kernel, process, &held);
            }
            // One that has ended meanwhile has no sockets.
            Err(obstacle) if obstacle.is_gone => {}
            Err(obstacle) if self.attach.all => round.beyond_why = Some(obstacle.among_many(process)),
            Err(obstacle) => round.obstacles.push((process.pid, obstacle)),
        });
        self.selection = selection;
        self.done.retain(|inode| held_now.contains(inode));
        self.told.retain(|inode| held_now.contains(inode));
        round.beyond = if self.attach.all {
            kernel.unknown(&held_now).len()
        } else {
            0
        };
        round.look_again();
        round
    }

    /// Sets the policy on these sockets of `process`.
    fn reach(&mut self, round: &mut Round, kernel: &mut Kernel, process: &Process, held: &[(Holder, u64)]) {
        let (sockets, obstacle) = kernel.sockets(process, held);
        if let Some(obstacle) = obstacle {
            round.obstacles.push((process.pid, obstacle));
        }
        let before = round.reports.len();
        for socket in sockets {
            let Some(holder) = socket.holder.filter(|_| socket.options.is_some()) else {
                continue;
            };
            // It may have been closed since, or the process may have ended: then there is nothing left to do.
            let Ok(duplicate) = process.duplicate(holder, socket.inode) else {
                continue;
            };
            let program = process.name().as_bytes();
            let current = |option| sockopt::get(&duplicate, option).ok();
            let plan = plan(self.sources, &socket, &current, program, kernel.namespace(&socket));
            let failed = if self.attach.dry_run {
                Vec::new()
            } else {
                apply(&plan, &duplicate)
            };
            let after = sockopt::options(&duplicate).ok();
            let is_new = if is_unfinished(&socket) {
                self.told.insert(socket.inode)
            } else {
                self.done.insert(socket.inode)
            };
            let report = Report::new(process, socket, plan, failed, after);
            if is_new || report.is_changed() {
                round.reports.push(report);
            }
        }
        let new = &mut round.reports[before..];
        if new
            .iter()
            .any(|report| report.is_changed() && !report.socket().is_at_home())
        {
            // Other namespaces are reached through the process, which is here now.
            let (after, _) = Kernel::look().sockets(process, held);
            for report in new {
                if let Some(socket) = after.iter().find(|socket| socket.inode == report.socket().inode) {
                    report.note_timer(socket.timer);
                }
            }
        }
    }
}

impl Round {
    /// Notes which timers run now.
    fn look_again(&mut self) {
        if self.reports.iter().any(Report::is_changed) {
            let kernel = Kernel::look();
            for report in &mut self.reports {
                if report.socket().is_at_home() {
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

    /// Says how far it came.
    fn tell(&self, attach: &Attach) {
        let mut text = self.blindness.clone().unwrap_or_default();
        if self.reached > 0 {
            text += &summary(&self.reports, self.reached, attach.dry_run);
        }
        if self.beyond > 0 {
            let beyond = sockets(self.beyond);
            let _ = writeln!(text, "keepalive: {beyond} of other processes are out of reach");
            if let Some(obstacle) = &self.beyond_why {
                text.push_str(&wrap(&format!("hint: {}", obstacle.hint), WIDTH, 6));
            }
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn result(&self) -> Result<(), Error> {
        let obstacles = self.obstacles.iter();
        let failed = self.reports.iter().filter_map(Report::error);
        let errors = obstacles
            .map(|(pid, obstacle)| obstacle.error("attach to", *pid))
            .chain(failed);
        Error::all(errors).map_or(Ok(()), Err)
    }
}
