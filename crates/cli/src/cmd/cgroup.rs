//! `keepalive cgroup`: applies a policy to everything in a cgroup, in the kernel.

pub(crate) mod notes;
mod path;
mod selection;
mod status;
mod watch;

use crate::error::{Error, FAILED, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::output::{WIDTH, print, sanitize, shown, wrap, write_stderr};
use crate::policy::{self, Policy};
use clap::{Args, Subcommand};
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::pins::{self, Target};
use keepalive_engine::cgroup::{Interrupts, Limits, Obstacle, Options, existing, out_of_reach};
use keepalive_engine::sockets::SOCK_DIAG_HINT;
use keepalive_policy::Settings;
use keepalive_sys::cgroup::Tree;
use selection::Selection;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Set keepalive for every program in a cgroup, by eBPF
///
/// An eBPF program sets every new connection in the cgroup: those of all programs in any language, set-user-ID programs and
/// containers included. It stays active after this command ends, and no process of keepalive stays.
#[derive(Debug, Args)]
pub(crate) struct Cgroup {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Enable(Box<Enable>),
    Disable(Disable),
    Status(Status),
}

/// Apply a policy to a cgroup, in place of its current one
#[derive(Debug, Args)]
#[command(override_usage = "keepalive cgroup enable [OPTIONS] <CGROUP|--pid PID|--container NAME>...")]
struct Enable {
    #[command(flatten)]
    selection: Selection,

    /// Also set open connections
    #[arg(long)]
    existing: bool,

    /// Stay, follow changes, and end the policy with this command
    ///
    /// Follows changes of the rules file, and cgroups and containers that come and go: the policy of a new one is applied when it is
    /// created.
    #[arg(long)]
    watch: bool,

    /// With --watch: keep metrics in this file, for node_exporter
    ///
    /// The file has what cgroup status --metrics prints for these cgroups. It is written every 10 seconds and when the policy changes,
    /// always whole (by rename(2)), and removed when the command ends. node_exporter reads files *.prom of the directory
    /// --collector.textfile.directory. Default: no file.
    #[arg(long, value_name = "FILE", requires = "watch")]
    metrics_file: Option<PathBuf>,

    /// With --watch: serve metrics by HTTP on this address
    ///
    /// GET /metrics returns what cgroup status --metrics prints for these cgroups, at most a second old. An IPv6 address is in brackets:
    /// [::1]:9464. With 0.0.0.0 every IPv4 address of the machine is one, with port 0 the kernel chooses the port, and the first line
    /// of the log names it. There is no encryption and no password: let only the monitoring reach the address. Default: no endpoint.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "watch", value_parser = watch::endpoint::address)]
    metrics_listen: Option<SocketAddr>,

    /// Count the connections of each rule that fail, by cause
    ///
    /// For status: dead peers, RST in answer to keepalive probes, and data that nobody acknowledges. This costs each connection
    /// 1 to 2 % of the time to open and close it. The default is not to count. Requires CAP_PERFMON and BTF; without them the
    /// policy is applied, and nothing is counted.
    #[arg(long)]
    count_endings: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

/// End the policy of a cgroup; open connections keep their settings
#[derive(Debug, Args)]
struct Disable {
    #[command(flatten)]
    selection: Selection,
}

/// Show the active policies, how often each rule was used, and problems
#[derive(Debug, Args)]
#[command(mut_group("selection", |group| group.required(false)))]
struct Status {
    #[command(flatten)]
    selection: Option<Selection>,

    /// Also require that enable --watch in this container keeps each policy
    ///
    /// For the readiness probe of a container: the policy of the container before it stays active until its own has replaced
    /// that. A container is recognized by its mount namespace. Requires CGROUP.
    #[arg(long, requires = "selection")]
    watched: bool,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    /// Print metrics as OpenMetrics text
    ///
    /// The text is also in the older Prometheus text format, as node_exporter's textfile collector requires it.
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

/// What `status` prints.
enum Format {
    Text,
    Json,
    Metrics,
}

impl Status {
    fn format(&self) -> Format {
        match (self.json, self.metrics) {
            (true, _) => Format::Json,
            (_, true) => Format::Metrics,
            _ => Format::Text,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// A mistake in the command line or a policy; an action that failed.
pub(crate) fn run(cgroup: &Cgroup) -> Result<(), Error> {
    let _limits = Limits::raise();
    match &cgroup.action {
        Action::Enable(enable) if enable.watch => watch::run(enable),
        Action::Enable(enable) => enable.once(),
        Action::Disable(disable) => disable.run(),
        Action::Status(status) => status::run(status),
    }
}

impl Enable {
    fn policy(&self) -> Result<Arc<Policy>, Error> {
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        policy::read(&self.policy, &environment, Settings::EVERYWHERE, REFUSED).map(Arc::new)
    }

    fn once(&self) -> Result<(), Error> {
        let policy = self.policy()?;
        policy::report_notes(&policy);
        let tree = tree("enable a policy")?;
        let mut directories: Vec<PathBuf> = Vec::new();
        for subject in self.selection.subjects(&tree)? {
            let directory = subject.find(&tree).map_err(keepalive_engine::Error::from)?;
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        warn_of_what_is_out_of_reach(&policy);
        let failed = directories.iter().filter_map(|directory| {
            self.enable(&tree, directory, &policy, Interrupts::DEFAULT)
                .and_then(|_| self.set_existing(&tree, directory, &policy, Interrupts::DEFAULT))
                .err()
        });
        Error::all(failed).map_or(Ok(()), Err)
    }

    fn enable(
        &self,
        tree: &Tree,
        directory: &Path,
        policy: &Arc<Policy>,
        interrupts: Interrupts<'_>,
    ) -> Result<pins::Done, Error> {
        let name = shown(tree.name(directory));
        let action = format!("enable a policy for {name}");
        let options = Options {
            is_watched: self.watch,
            counts_ended: self.count_endings,
        };
        let done =
            pins::enable(tree, directory, policy, options, interrupts).map_err(|obstacle| obstacle.error(&action))?;
        if done.has_mounted {
            say("a BPF file system was mounted on /sys/fs/bpf");
        }
        if let Some(why) = &done.uncounted_because {
            say(&sanitize(&format!(
                "{name}: --count-endings counts nothing here: {why}"
            )));
        }
        let word = if done.has_replaced { "replaced" } else { "active" };
        print(&format!("{name}: {word}\n"))?;
        Ok(done)
    }

    /// Sets the options of open connections, with `--existing`.
    fn set_existing(
        &self,
        tree: &Tree,
        directory: &Path,
        policy: &Arc<Policy>,
        interrupts: Interrupts<'_>,
    ) -> Result<(), Error> {
        if self.existing {
            set_existing(tree, directory, policy, interrupts)
        } else {
            Ok(())
        }
    }
}

fn set_existing(tree: &Tree, directory: &Path, policy: &Arc<Policy>, interrupts: Interrupts<'_>) -> Result<(), Error> {
    let target = Target::new(tree, directory);
    let name = shown(&target.name);
    let action = format!("set all open sockets of {name}");
    let entries = entries().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.is_of(&target));
    let sock_settings = entry.and_then(Entry::sock_settings);
    let (directory, policy) = (directory.to_owned(), Arc::clone(policy));
    let done = interrupts
        .run(move || existing::set(&directory, &policy, sock_settings.as_ref()))
        .map_err(|obstacle| obstacle.error(&action))?;
    let how = if done.by_descriptor.is_some() {
        ", through the processes' descriptors"
    } else {
        ""
    };
    print(&format!(
        "{name}: {} of {} open sockets changed{how}\n",
        done.changed, done.sockets
    ))?;
    let problems = problems(&done).into_iter().map(|(what, hint)| {
        let error = Error::new(FAILED, format!("cannot {action}: {what}"));
        error.hint(format!("{hint}; new connections are set all the same"))
    });
    Error::all(problems).map_or(Ok(()), Err)
}

/// Returns what failed, each with a hint.
fn problems(done: &existing::Done) -> Vec<(String, &'static str)> {
    let mut problems = Vec::new();
    if let Some((count, error)) = &done.out_of_reach {
        let (what, why) = match &done.by_descriptor {
            Some(why) => (
                "processes",
                format!(" (their descriptors are needed, since iterators are not available: {why})"),
            ),
            None => ("network namespaces", String::new()),
        };
        problems.push((
            format!("{count} {what} are out of reach: {}{why}", describe(error)),
            "it requires CAP_SYS_ADMIN and CAP_SYS_PTRACE",
        ));
    }
    if let Some(error) = &done.unlisted {
        problems.push((
            format!(
                "the kernel lists neither the sockets nor their cgroups: sock_diag: {}",
                describe(error)
            ),
            SOCK_DIAG_HINT,
        ));
    } else if done.unseen > 0 {
        problems.push((
            format!(
                "{} sockets are not seen in their network namespaces, nor of which cgroup they are",
                done.unseen
            ),
            "it requires CAP_SYS_ADMIN and CAP_NET_ADMIN there",
        ));
    }
    if done.resisting > 0 {
        problems.push((
            format!("{} sockets have other values than were set", done.resisting),
            "keepalive list shows them, and keepalive cgroup status other programs in the cgroup",
        ));
    }
    if done.hidden > 0 && problems.is_empty() {
        problems.push((
            format!("{} processes are not of this pid namespace", done.hidden),
            "it requires the machine's own (hostPID: true in a pod)",
        ));
    }
    problems
}

impl Disable {
    fn run(&self) -> Result<(), Error> {
        let tree = tree("disable a policy")?;
        let subjects = self.selection.subjects(&tree)?;
        let failed = subjects.iter().filter_map(|subject| {
            let target = match subject.target(&tree) {
                Ok(target) => target,
                Err(error) => return Some(error),
            };
            let name = shown(&target.name);
            let entries = entries().unwrap_or_default();
            let mut active = entries.iter().filter(|entry| entry.state == State::Active);
            let watcher = active.find(|entry| entry.is_of(&target)).and_then(Entry::watcher);
            match pins::disable(&tree, &target, None, Interrupts::DEFAULT) {
                Ok(true) => {
                    if let Some(pid) = watcher {
                        say(&format!(
                            "{name}: process {pid}, enable --watch, will apply the policy again; end that process to end the policy"
                        ));
                    }
                    print(&format!("{name}: disabled\n")).err()
                }
                Ok(false) => {
                    say(&format!("{name} has no policy"));
                    None
                }
                Err(obstacle) => Some(obstacle.error(&format!("disable the policy of {name}")).into()),
            }
        });
        let failed: Vec<_> = failed.collect();
        Error::all(failed.into_iter()).map_or(Ok(()), Err)
    }
}

/// Warns of settings that this engine cannot set, if the policy has any.
pub(super) fn warn_of_what_is_out_of_reach(policy: &Policy) {
    let names = out_of_reach(policy);
    if !names.is_empty() {
        say(&format!(
            "not set by the cgroup engine, which comes after the handshake: {}",
            names.join(", ")
        ));
    }
}

/// Prints a line on standard error.
fn say(text: &str) {
    write_stderr(&wrap(&format!("keepalive: {text}"), WIDTH, 2));
}

fn tree(action: &str) -> Result<Tree, Error> {
    Tree::find().map_err(|reason| Obstacle::NoTree(reason).error(action).into())
}
