//! `keepalive nri`: policies of pods, as a plugin of their container runtime. Its messages go to a log, one line per event.

mod defaults;
mod plugin;
mod readiness;

use crate::error::{Error, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::help::{Notes, POLICY_USAGE};
use crate::interrupts;
use crate::output::{log, never_wait, print};
use crate::policy::{self, Policy};
use clap::Args;
use defaults::Defaults;
use keepalive_engine::cgroup::{Limits, Obstacle, Programs};
use keepalive_nri::{Connection, Event, SOCKET};
use keepalive_policy::Settings;
use keepalive_sys::cgroup::Tree;
use keepalive_sys::signal::SignalFd;
use plugin::Plugin;
use readiness::Readiness;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, BorrowedFd};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Apply the policies of pods, as a plugin of containerd or CRI-O
///
/// The runtime reports each pod before its first program starts. The annotation keepalive.io/policy of a pod contains its
/// policy: settings as in a rules file, or off. --pods names defaults for namespaces and labels. Other pods get no policy.
/// Stays, and follows changes of the files.
#[derive(Debug, Args)]
pub(crate) struct Nri {
    /// The socket of the runtime's Node Resource Interface
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,

    /// File with the defaults of namespaces and labels
    ///
    /// A line is 'namespace NAME' or 'label KEY=VALUE' or several of these, then settings; the first line that matches wins.
    /// Example: namespace shop label app=db idle=30s
    #[arg(long, value_name = "FILE")]
    pods: Option<PathBuf>,

    /// Ask the running keepalive nri of this container whether it is ready, and exit
    ///
    /// For the readiness probe of the container. It is ready while it is registered with the runtime, after it has applied the policies
    /// of all pods that ran when it was registered. Prints the reason if it is not. A container is recognized by its mount namespace.
    #[arg(long, conflicts_with = "pods")]
    status: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

pub(crate) const NOTES: Notes = Notes {
    command: "nri",
    precedence: "The annotation, or else the line of --pods, overrides the options, which override /etc/keepalive.conf. Without \
                 --idle, --interval, --count, --preset, rules and a file: --idle 60 --interval 15 --count 5.",
    paragraphs: &[
        "Requires what cgroup enable requires, and containerd 1.7 or CRI-O 1.26 with the Node Resource Interface (NRI) enabled. \
         A policy applies to the cgroup of the pod, and ends when the pod is stopped. A failure never prevents the start of a pod.",
        "When this command ends, the policies of running pods stay. When it starts, it applies those of all pods that the \
         runtime knows, and removes those of pods that have ended meanwhile.",
    ],
    statuses: &[
        ("0", "A signal has ended it. With --status: it is ready."),
        (
            "1",
            "The cgroup engine does not work here. With --status: it is not ready.",
        ),
        POLICY_USAGE,
    ],
    examples: &[
        ("The annotated pods of this node:", &["sudo keepalive nri"]),
        ("Is it connected to the runtime?", &["sudo keepalive nri --status"]),
    ],
    ..Notes::DEFAULT
};

/// The name of the plugin, and the number that decides the order of plugins. This one changes nothing that others see.
const NAME: &str = "keepalive";
const INDEX: &str = "90";

/// The time between two readings of the files, and between two attempts to connect.
const PERIOD: Duration = Duration::from_secs(1);

/// What options and files contain.
#[derive(Clone, Debug, PartialEq)]
struct Configuration {
    policy: Policy,
    defaults: Defaults,
}

impl Nri {
    fn read(&self) -> Result<Configuration, Error> {
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let policy = policy::read(&self.policy, &environment, Settings::EVERYWHERE, REFUSED)?;
        let defaults = match &self.pods {
            Some(file) => Defaults::read(file)?,
            None => Defaults::default(),
        };
        Ok(Configuration { policy, defaults })
    }
}

/// Serves the runtime until a signal ends this command.
///
/// # Errors
/// A mistake in the options or files at the start; the obstacle that keeps the engine from working.
pub(crate) fn run(nri: &Nri) -> Result<(), Error> {
    const ACTION: &str = "apply policies to pods";
    if nri.status && !nri.policy.are_empty() {
        let error = Error::new(REFUSED, "--status takes no policy");
        return Err(error.hint("it asks the command that runs; that one has the options"));
    }
    if nri.status {
        return print(&readiness::ask(&nri.socket)?);
    }
    let _limits = Limits::raise();
    // The first process of a container gets no signal that it does not handle.
    let signals = interrupts::catch()?;
    let configuration = nri.read()?;
    never_wait();
    policy::report_notes(&configuration.policy);
    let readiness = Readiness::start(&nri.socket);
    let tree = Tree::find().map_err(|reason| Obstacle::NoTree(reason).error(ACTION))?;
    Programs::trial().map_err(|obstacle| obstacle.error(ACTION))?;
    let mut plugin = Plugin::new(nri, &signals, tree, configuration);
    let mut waiting = String::new();
    loop {
        let failure = match Connection::open(&nri.socket, NAME, INDEX) {
            Ok(connection) => {
                readiness.connect(&connection);
                match serve(connection, &mut plugin, &signals, &readiness, &mut waiting) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let text = format!(
            "waiting for the runtime at {}: {}",
            nri.socket.display(),
            describe(&failure)
        );
        readiness.lose(&text, &failure);
        if text != waiting {
            log(&text);
            waiting = text;
        }
        if !poll_until(&mut [signals.as_fd()], Instant::now() + PERIOD).is_empty() {
            return Ok(());
        }
    }
}

/// Serves one connection until a signal arrives.
///
/// # Errors
/// The connection has ended.
fn serve(
    mut connection: Connection,
    plugin: &mut Plugin<'_>,
    signals: &SignalFd,
    readiness: &Readiness,
    waiting: &mut String,
) -> io::Result<()> {
    let mut next_reading = Instant::now() + PERIOD;
    let mut runtime = String::new();
    let mut is_synchronizing = false;
    loop {
        while let Some(call) = connection.next_call()? {
            if let Event::Configured(name, version) = &call.event {
                runtime = format!("{name} {version}");
                log(&format!("connected to {runtime}"));
                waiting.clear();
                readiness.advance(&format!("{runtime} has not reported its pods yet"), false);
            }
            plugin.react(&call.event);
            if let Event::Synchronized(_) = &call.event {
                readiness.advance(&format!("applying the policies of the pods of {runtime}"), false);
                is_synchronizing = true;
            }
            connection.answer(call)?;
        }
        if is_synchronizing && !plugin.is_busy() {
            readiness.advance(&format!("registered with {runtime} and synchronized"), true);
            is_synchronizing = false;
        }
        if next_reading <= Instant::now() {
            plugin.read_again();
            plugin.end_removed();
            next_reading = Instant::now() + PERIOD;
        }
        // The runtime waits for the answers about new pods, and for nothing about running ones.
        let deadline = if plugin.is_busy() { Instant::now() } else { next_reading };
        let ready = poll_until(&mut [signals.as_fd(), connection.as_fd()], deadline);
        if ready.contains(&0) {
            return Ok(());
        }
        if ready.contains(&1) {
            connection.receive()?;
        } else {
            plugin.apply_next();
        }
    }
}

/// Waits until one of these descriptors is ready, or until the deadline. Returns the positions of those that are ready.
fn poll_until(descriptors: &mut [BorrowedFd<'_>], deadline: Instant) -> Vec<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    let limit = Timespec::try_from(left).ok();
    let mut fds: Vec<PollFd<'_>> = descriptors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // A signal arrives as an event of its descriptor.
    let _ = poll(&mut fds, limit.as_ref());
    let ready = (0..).zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    ready.map(|(position, _)| position).collect()
}
