//! `keepalive run --verify`: a process beside the command that reads the command's sockets from outside, and reports
//! what was set. The command neither waits for it nor can wait for it.

use crate::output::{WIDTH, never_wait, wrap, write_stderr};
use keepalive_engine::describe;
use keepalive_engine::policy::Policy;
use keepalive_engine::sockets::{Obstacle, WorkerPool, may_trace, yama_scope};
pub(super) use keepalive_engine::verify::Engines;
use keepalive_engine::verify::{Compared, Comparison, Given, compare, summary};
use keepalive_policy::duration;
use keepalive_sys::background::{detach, harden};
use keepalive_sys::fork::spawn_unwaitable;
use keepalive_sys::pidfd::PidFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::{self as calls, fcntl_dupfd_cloexec, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PTracer, Pid, set_ptracer};
use rustix::stdio::dup2_stderr;
use rustix::thread::CapabilitySet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

/// When to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// When the command has ended.
    AtEnd,
    /// After this time, or when the command has ended before.
    After(Duration),
}

impl Report {
    /// The value of the option without a time.
    pub(crate) const AT_END: &str = "end";

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == Self::AT_END {
            return Ok(Self::AtEnd);
        }
        match duration::parse(text.as_bytes()) {
            Ok(0) => Err(String::from("too small\nhint: expected a time, such as 30s or 5m")),
            Ok(milliseconds) => Ok(Self::After(Duration::from_millis(milliseconds))),
            Err(problem) => Err(format!(
                "{}\nhint: expected a time, such as 30s or 5m",
                problem.reason()
            )),
        }
    }
}

/// The end of this process's connection to the process that verifies. It is closed when the command is executed.
pub(super) struct Verifier(OwnedFd);

impl Verifier {
    /// Starts the process that verifies what this process becomes.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(report: Report, policy: &Policy, engines: Engines) -> io::Result<Self> {
        let command = PidFd::open(std::process::id())?;
        let (news, to_verifier) = pipe_with(PipeFlags::CLOEXEC)?;
        let (number, to_us) = pipe_with(PipeFlags::CLOEXEC)?;
        let pid = std::process::id();
        let written_to = fcntl_dupfd_cloexec(io::stderr(), 3)?;
        let to_child = to_verifier.try_clone()?;
        spawn_unwaitable(move || {
            drop(to_child);
            let keep = [command.as_fd(), news.as_fd(), to_us.as_fd(), written_to.as_fd()];
            if detach(&keep).is_err() || dup2_stderr(&written_to).is_err() {
                return;
            }
            // Without this, processes of the same user could use the privileges of this process.
            let _ = harden(CapabilitySet::all());
            let _ = calls::write(&to_us, &std::process::id().to_ne_bytes());
            drop(to_us);
            never_wait();
            // The pipe is closed by execve(2); a byte means that the command was not executed.
            if read(&news, &mut [0; 1]) != Ok(0) {
                return;
            }
            let given = Given {
                overriding: None,
                started_with: Some((policy, engines)),
            };
            Watch::new(pid, &command, given).run(report);
        })?;
        if yama_scope() == Some(1) && !may_trace() {
            // Yama allows a process that is no ancestor only by this.
            let mut bytes = [0; 4];
            if read(&number, &mut bytes) == Ok(4) {
                let verifier = i32::from_ne_bytes(bytes);
                let _ = Pid::from_raw(verifier).map(|verifier| set_ptracer(PTracer::ProcessID(verifier)));
            }
        }
        Ok(Self(to_verifier))
    }

    /// Ends the process: the command was not executed.
    pub(super) fn cancel(self) {
        let _ = calls::write(&self.0, b"x");
    }
}

/// The pause after a look that has found something new, and the longest pause.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);
/// The number of looks in which a short command is watched closely.
const CLOSE: u32 = 50;
/// The least ratio of a pause to the duration of the look before it, in these looks and in later ones.
const REST: [u32; 2] = [2, 20];

/// What was seen of the command.
struct Watch<'a> {
    command: &'a PidFd,
    given: Given<'a>,
    pool: WorkerPool,
    /// The command, and the descendants that were seen, which may become orphans.
    processes: BTreeMap<u32, Option<PidFd>>,
    seen: BTreeMap<u64, Seen>,
    obstacles: BTreeSet<u32>,
    obstacle: Option<Obstacle>,
    looks: u32,
    has_several_processes: bool,
}

/// A socket, as it was at the last look that found it.
struct Seen {
    compared: Compared,
    looks: u32,
    is_open: bool,
}

impl<'a> Watch<'a> {
    fn new(pid: u32, command: &'a PidFd, given: Given<'a>) -> Self {
        Self {
            command,
            given,
            pool: WorkerPool::default(),
            processes: BTreeMap::from([(pid, None)]),
            seen: BTreeMap::new(),
            obstacles: BTreeSet::new(),
            obstacle: None,
            looks: 0,
            has_several_processes: false,
        }
    }

    /// Looks repeatedly, and reports.
    fn run(mut self, when: Report) {
        let start = Instant::now();
        let mut pause = FIRST;
        let mut error = None;
        loop {
            let left = match when {
                Report::AtEnd => Duration::MAX,
                Report::After(time) => time.saturating_sub(start.elapsed()),
            };
            let has_ended = self.ends_within(pause.min(left));
            let before = Instant::now();
            match self.scan() {
                Ok(is_new) => {
                    let next = if is_new { FIRST } else { pause.saturating_mul(3) / 2 };
                    let rest = REST[usize::from(self.looks > CLOSE)];
                    pause = next.clamp(FIRST, LONGEST).max(before.elapsed() * rest);
                }
                Err(failure) => error = Some(failure),
            }
            if has_ended || left <= pause && left.is_zero() {
                break;
            }
        }
        self.report(error.as_ref());
    }

    /// Returns whether the command ends within `pause`.
    fn ends_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(self.command, PollFlags::IN)];
        let pause = Timespec::try_from(pause).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0)
    }

    /// Compares all sockets once. Returns whether something is new.
    fn scan(&mut self) -> io::Result<bool> {
        self.processes
            .retain(|_, handle| handle.as_ref().is_none_or(|handle| !handle.has_ended()));
        if self.command.has_ended() {
            // Its number may already be that of another process.
            self.processes.retain(|_, handle| handle.is_some());
        }
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        let comparison = compare(&mut self.pool, &pids, self.given)?;
        self.looks += 1;
        Ok(self.add(comparison))
    }

    fn add(&mut self, comparison: Comparison) -> bool {
        for examined in &comparison.processes {
            let process = self.processes.entry(examined.pid);
            process.or_insert_with(|| PidFd::open(examined.pid).ok());
        }
        self.has_several_processes |= self.processes.len() > 1;
        for (pid, obstacle) in comparison
            .obstacles
            .into_iter()
            .filter(|(_, obstacle)| !obstacle.is_gone)
        {
            self.obstacles.insert(pid);
            self.obstacle = Some(obstacle);
        }
        let mut is_new = false;
        self.seen.values_mut().for_each(|seen| seen.is_open = false);
        for compared in comparison.sockets {
            let seen = self.seen.entry(compared.socket.inode);
            let seen = seen.or_insert_with(|| {
                is_new = true;
                Seen {
                    compared: compared.clone(),
                    looks: 0,
                    is_open: true,
                }
            });
            is_new |= seen.compared.verdict != compared.verdict;
            *seen = Seen {
                compared,
                looks: seen.looks + 1,
                is_open: true,
            };
        }
        is_new
    }

    fn report(&self, error: Option<&io::Error>) {
        let is_certain = |seen: &&Seen| {
            // An engine may have been about to set a socket that ended before a second look.
            seen.is_open || seen.looks > 1 || seen.compared.verdict.is_final()
        };
        let certain = self.seen.values().filter(is_certain);
        let uncertain = self.seen.len() - certain.clone().count();
        let sockets: Vec<&Compared> = certain.map(|seen| &seen.compared).collect();
        let mut text = summary(&sockets, self.has_several_processes);
        match uncertain {
            0 => {}
            1 => text.push_str("; one ended before it was seen twice, and is not known"),
            several => {
                let _ = write!(text, "; {several} ended before they were seen twice, and are not known");
            }
        }
        say(&text);
        let looks = match self.looks {
            1 => String::from("one look"),
            looks => format!("{looks} looks"),
        };
        say(&format!(
            "{looks}; a connection that was shorter than the time between two is not known"
        ));
        if let Some(obstacle) = &self.obstacle {
            let count = self.obstacles.len();
            let processes = if count == 1 { "one process" } else { "some processes" };
            say(&format!(
                "{processes} could not be examined: {}; {}",
                obstacle.reason, obstacle.hint
            ));
        }
        if let Some(error) = error {
            say(&format!("some looks failed: fork: {}", describe(error)));
        }
    }
}

fn say(text: &str) {
    write_stderr(&wrap(&format!("keepalive: verify: {text}"), WIDTH, 2));
}
