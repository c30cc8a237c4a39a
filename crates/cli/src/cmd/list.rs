//! `keepalive list`: shows the TCP sockets of running processes, and the options that the kernel really has
//! set on them.

mod rows;
mod screen;

use crate::error::{Error, FAILED, describe};
use crate::help::{Json, Notes, SUCCESS, USAGE};
use crate::json::{self, Entry, array};
use crate::output::{self, WIDTH, print_styled, wrap, write_stderr};
use crate::remarks::{no_process, remark_on_hidden, remark_on_unlisted, unanswered};
use crate::table::terminal_size;
use clap::Args;
use keepalive_engine::container::id_of_process;
use keepalive_engine::sockets::{Kernel, Obstacle, Process, Selection, Send, Socket, WorkerPool, hidden};
use keepalive_sys::sock_diag::State;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsString;
use std::thread::sleep;
use std::time::Duration;

/// Show the TCP sockets of running processes and their real keepalive settings
///
/// With the right to trace a process (the same user, or root) all values are exact. Of other processes the kernel shows the
/// connection and the running timer. Unknown values are shown as '?'.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct List {
    /// Process ids; without one, all processes that can be seen
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pids: Vec<u32>,

    /// The processes with this name
    #[arg(long, value_name = "NAME", conflicts_with = "pids")]
    program: Option<OsString>,

    /// Only listening sockets
    #[arg(long)]
    listening: bool,

    /// Only sockets with this port, at either end
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Only sockets without keepalive
    #[arg(long)]
    off: bool,

    /// Print a JSON array; with --watch, one array a line
    #[arg(long)]
    json: bool,

    /// Print again every second, until the named processes have ended
    #[arg(long)]
    watch: bool,
}

pub(crate) const NOTES: Notes = Notes {
    command: "list",
    paragraphs: &[
        "One line a socket. PID/FD is the process and its descriptor; PID:TID/FD is a thread with descriptors of its own. \
         STATE is as in ss(8). KEEPALIVE is idle/interval/count, in seconds and probes, or off. USER-TIMEOUT is \
         TCP_USER_TIMEOUT. NEXT-PROBE is the time until the next keepalive probe; sent data that is not acknowledged \
         ('unacked') or that the peer's closed window holds back ('zero-win') suspends keepalive. LOST-PROBES is the \
         number of unanswered probes, of how many. DEAD-AFTER is the time until a dead peer is detected. CONTAINER is the \
         beginning of the id of the process's container; the column is absent if no process is in one. A '-' is none, \
         or not applicable.",
        "On a narrow terminal the headings are TIMEOUT, NEXT, LOST and DEAD, columns without values are omitted, and long \
         program names end with an ellipsis. If needed, FD, DEAD, NEXT and TIMEOUT are omitted, in this order. From 80 columns \
         on, only a row with a long IPv6 address may be wider than the terminal. IPv4-mapped addresses are printed as IPv4. \
         Colours mark keepalive that is off and unanswered probes, on a terminal, unless NO_COLOR is set or TERM is dumb.",
        "A process that waits, for example for a file server that hangs, delays no other: after about a second its unknown \
         values are '?', and it is reported.",
    ],
    json: Some(Json {
        heading: "The JSON objects have",
        fields: &[
            ("pid", "number", "process id"),
            ("program", "string", "name of the program"),
            (
                "container",
                "string",
                "id of the container, if a cgroup's path contains one",
            ),
            (
                "tid",
                "number",
                "the thread, where it has descriptors of its own; otherwise as pid",
            ),
            ("fd", "number", "descriptor"),
            ("inode", "number", ""),
            ("family", "string", "inet or inet6"),
            ("protocol", "string", "tcp or mptcp"),
            ("local", "string", "address and port"),
            ("peer", "string", "address and port"),
            ("state", "string", "as in ss(8)"),
            ("keepalive", "boolean", ""),
            ("idle_s", "number", "seconds"),
            ("interval_s", "number", "seconds"),
            ("count", "number", ""),
            ("user_timeout_ms", "number", "milliseconds; 0: none"),
            ("timer.kind", "string", "keepalive, retransmit or zero-window"),
            ("timer.expires_ms", "number", "milliseconds"),
            ("unanswered_probes", "number", ""),
            ("dead_after_s", "number", "time until a dead peer is detected, seconds"),
        ],
        null: "Null is unknown, or does not apply.",
    }),
    statuses: &[SUCCESS, ("1", "A named process cannot be seen."), USAGE],
    examples: &[
        (
            "Connections of running programs without keepalive:",
            &["keepalive list --off"],
        ),
        (
            "All sockets of a process; the listening sockets at a port:",
            &["keepalive list 4242", "keepalive list --listening --port 5432"],
        ),
        (
            "JSON for another program:",
            &["keepalive list --json --program postgres"],
        ),
    ],
    ..Notes::DEFAULT
};

/// The period of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

/// Prints the sockets.
///
/// # Errors
/// A named process cannot be accessed.
pub(crate) fn run(list: &List) -> Result<(), Error> {
    let (selection, missing) = match &list.program {
        Some(name) => (Selection::Program(name.clone()), Vec::new()),
        None if list.pids.is_empty() => (Selection::All, Vec::new()),
        None => Selection::named(&list.pids),
    };
    let mut pools = WorkerPools::default();
    let mut seen = Seen::read(list, &selection, &mut pools)?;
    if let (Selection::Program(name), 0) = (&selection, seen.processes) {
        return Err(no_process(name));
    }
    seen.obstacles.splice(0..0, missing);
    if list.watch {
        seen.tell();
        let result = seen.result();
        let silent = Obstacle::unanswered();
        if seen.obstacles.iter().all(|(_, obstacle)| *obstacle == silent) {
            // A process that does not answer now may answer later.
            if let Err(error) = &result {
                error.report();
            }
            watch(list, &selection, &mut pools, seen)?;
            return result.map_err(Error::reported);
        }
        return result;
    }
    // An error is printed alone; with --json the array is printed too.
    if list.json || !seen.sockets.is_empty() || seen.obstacles.is_empty() {
        print_styled(&seen.show(list.json))?;
    }
    seen.tell();
    seen.result()
}

/// Prints the sockets repeatedly. On a terminal each output replaces the previous one.
fn watch(list: &List, selection: &Selection, pools: &mut WorkerPools, mut seen: Seen) -> Result<(), Error> {
    while seen.processes > 0 || matches!(selection, Selection::All) {
        let text = match terminal_size() {
            _ if list.json => seen.line(),
            Some(size) => screen::redraw(&seen.show(false), size),
            None => seen.show(false) + "\n",
        };
        if !output::print_ignoring_epipe(&text)? {
            break;
        }
        sleep(PERIOD);
        seen = Seen::read(list, selection, pools)?;
    }
    Ok(())
}

impl List {
    fn wants(&self, socket: &Socket) -> bool {
        let has_port = |port| {
            [socket.local, socket.peer]
                .iter()
                .flatten()
                .any(|address| address.port() == port)
        };
        (!self.listening || socket.state == Some(State::Listen))
            && self.port.is_none_or(has_port)
            && (!self.off || socket.keepalive() == Some(false))
    }
}

/// The results of one round.
#[derive(Default)]
struct Seen {
    /// The number of processes.
    processes: usize,
    /// The processes that hold sockets.
    names: HashMap<u32, Named>,
    sockets: Vec<Socket>,
    /// The obstacles of named processes.
    obstacles: Vec<(u32, Obstacle)>,
    /// The first obstacle that keeps a process from being known exactly.
    inexact: Option<Obstacle>,
    /// The processes that did not answer in time.
    unanswered: Vec<u32>,
    /// What the kernel does not show, if anything.
    unlisted: Option<String>,
    /// Whether some of the selected processes may be hidden.
    is_hiding: bool,
}

/// The workers that read the processes, and those that read less of the processes that did not answer.
#[derive(Default)]
struct WorkerPools {
    exact: WorkerPool,
    less: WorkerPool,
}

/// A result of a worker for one process.
#[derive(Serialize, Deserialize)]
enum Found {
    Sockets(Vec<Socket>),
    /// Some sockets are not known exactly.
    Inexact(Obstacle),
    /// No socket is known.
    Nothing(Obstacle),
    Named(Named),
}

/// What identifies a process.
#[derive(Serialize, Deserialize)]
struct Named {
    program: String,
    /// The id of the container, if known.
    container: Option<String>,
}

/// The number of sockets that are sent at once.
const BATCH: usize = 256;

impl Found {
    fn exactly(list: &List, kernel: &mut Kernel, process: &Process, send: &mut Send<'_, Self>) {
        let held = match process.sockets() {
            Ok(held) => held,
            Err(obstacle) => return send(Self::obstacle(obstacle, process, list)),
        };
        let mut is_wanted = false;
        let mut batch = Vec::new();
        let obstacle = kernel.each_socket(process, &held, &mut |sockets| {
            is_wanted |= sockets.iter().any(|socket| list.wants(socket));
            batch.extend(sockets);
            if batch.len() >= BATCH {
                send(Self::Sockets(std::mem::take(&mut batch)));
            }
        });
        if !batch.is_empty() {
            send(Self::Sockets(batch));
        }
        if let Some(obstacle) = obstacle {
            send(Self::Inexact(obstacle.among_many(process)));
        }
        if is_wanted {
            send(Self::Named(Named {
                program: process.name().to_string_lossy().into_owned(),
                container: id_of_process(process.pid),
            }));
        }
    }

    /// Reads a process without its descriptors and its memory.
    fn roughly(list: &List, kernel: &Kernel, process: &Process, send: &mut Send<'_, Self>) {
        send(match process.sockets() {
            Ok(held) => Self::Sockets(kernel.seen(&held)),
            Err(obstacle) => Self::obstacle(obstacle, process, list),
        });
    }

    fn obstacle(obstacle: Obstacle, process: &Process, list: &List) -> Self {
        if list.pids.is_empty() && list.program.is_none() {
            Self::Inexact(obstacle.among_many(process))
        } else {
            Self::Nothing(obstacle)
        }
    }
}

impl Seen {
    fn read(list: &List, selection: &Selection, pools: &mut WorkerPools) -> Result<Self, Error> {
        let failed = |error| Error::new(FAILED, format!("cannot examine processes: fork: {}", describe(&error)));
        let mut kernel = Kernel::of_own_namespace();
        let mut seen = Self::default();
        let mut answer = |process: &Process, send: &mut Send<'_, Found>| {
            Found::exactly(list, &mut kernel, process, send);
        };
        let asked = selection.ask(&mut pools.exact, &mut answer, &mut |pid, found| seen.take(pid, found));
        let asked = asked.map_err(failed)?;
        seen.processes = asked.processes;
        if !asked.unanswered.is_empty() {
            for process in &asked.unanswered {
                seen.names.entry(process.pid).or_insert_with(|| Named {
                    program: process.short_name().to_owned(),
                    container: None,
                });
                seen.unanswered.push(process.pid);
            }
            let unanswered = Selection::Named(asked.unanswered);
            let mut answer = |process: &Process, send: &mut Send<'_, Found>| {
                Found::roughly(list, &kernel, process, send);
            };
            let again = unanswered.ask(&mut pools.less, &mut answer, &mut |pid, found| seen.take(pid, found));
            let again = again.map_err(failed)?;
            if !matches!(selection, Selection::All) {
                let silent = again.unanswered.iter();
                seen.obstacles
                    .extend(silent.map(|process| (process.pid, Obstacle::unanswered())));
            }
        }
        // Sockets that were read roughly come second, and those of unknown holders last.
        seen.sockets
            .sort_by_key(|socket| (socket.holder.is_none(), socket.holder, socket.local));
        seen.sockets
            .dedup_by(|next, first| next.holder.is_some() && next.holder == first.holder);
        if matches!(selection, Selection::All) {
            let known = seen.sockets.iter().map(|socket| socket.inode).collect();
            let mut unknown = kernel.unknown(&known);
            unknown.sort_by_key(|socket| socket.local);
            seen.sockets.extend(unknown);
        }
        seen.unlisted = remark_on_unlisted(&kernel);
        seen.sockets.retain(|socket| list.wants(socket));
        seen.is_hiding = hidden().is_some()
            && match selection {
                Selection::All => seen.sockets.iter().any(|socket| socket.holder.is_none()),
                Selection::Program(_) => true,
                Selection::Named(_) => false,
            };
        Ok(seen)
    }

    fn take(&mut self, pid: u32, found: Found) {
        match found {
            Found::Sockets(sockets) => self.sockets.extend(sockets),
            Found::Named(named) => drop(self.names.insert(pid, named)),
            // A process that has ended meanwhile has no sockets.
            Found::Nothing(obstacle) | Found::Inexact(obstacle) if obstacle.is_gone => {}
            Found::Nothing(obstacle) => self.obstacles.push((pid, obstacle)),
            Found::Inexact(obstacle) => drop(self.inexact.get_or_insert(obstacle)),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.sockets.iter().map(|socket| {
            let named = self.named(socket);
            Entry::new(
                socket,
                named.map(|named| named.program.clone()),
                named.and_then(|named| named.container.clone()),
            )
        })
    }

    fn named(&self, socket: &Socket) -> Option<&Named> {
        self.names.get(&socket.holder?.pid)
    }

    fn show(&self, json: bool) -> String {
        if json {
            return array(self.entries());
        }
        let rows = self.sockets.iter().map(|socket| (socket, self.named(socket)));
        rows::table(rows, terminal_size().map(|(width, _)| width))
    }

    /// Returns the sockets as a JSON array on one line.
    fn line(&self) -> String {
        json::line(&self.entries().collect::<Vec<_>>()) + "\n"
    }

    /// Prints what is unknown, and what more rights would add.
    fn tell(&self) {
        if !self.unanswered.is_empty() {
            write_stderr(&unanswered(&self.unanswered));
        }
        if let Some(unlisted) = &self.unlisted {
            write_stderr(unlisted);
        }
        if self.is_hiding {
            write_stderr(&remark_on_hidden());
        }
        let count = self.sockets.iter().filter(|socket| socket.numbers.is_none()).count();
        if let Some(obstacle) = self.inexact.as_ref().filter(|_| count > 0) {
            let sockets = if count == 1 { "socket is" } else { "sockets are" };
            let text = format!("keepalive: {count} {sockets} shown without what only a holder's rights tell ('?')");
            write_stderr(&(text + "\n" + &wrap(&format!("hint: {}", obstacle.hint), WIDTH, 6)));
        }
    }

    fn result(&self) -> Result<(), Error> {
        let errors = self
            .obstacles
            .iter()
            .map(|(pid, obstacle)| obstacle.error("see", *pid).into());
        Error::all(errors).map_or(Ok(()), Err)
    }
}
