//! `keepalive cgroup status`: shows the active policies. text.rs prints them for people, metrics.rs for monitoring.

mod metrics;
mod text;

use super::selection::Subject;
use super::{Format, Status};
use crate::date::utc;
use crate::error::{Error, FAILED};
use crate::json::pretty;
use crate::output::print;
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::pins::Target;
use keepalive_engine::cgroup::{Ended, Obstacle, Programs};
use keepalive_sys::cgroup::Tree;
use serde::{Serialize, Serializer};
use std::collections::HashSet;
use std::path::Path;

/// The whole report, in the form of the JSON output.
#[derive(Serialize)]
pub(super) struct Report {
    /// Why the engine cannot be used on this machine by this user.
    obstacle: Option<String>,
    cgroups: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    cgroup: String,
    /// The state of the policy; `None` if the cgroup has no policy.
    #[serde(serialize_with = "state_or_none")]
    state: Option<State>,
    /// The number that equal policies share.
    hash: Option<String>,
    /// When the policy was applied.
    since: Option<String>,
    /// The same in seconds since 1970-01-01, for the metrics.
    #[serde(skip)]
    since_seconds: Option<u64>,
    /// The version of keepalive that applied it.
    version: Option<String>,
    default: Option<String>,
    default_connections: Option<u64>,
    /// The connections that failed; `None` if unknown.
    default_ended: Option<Ended>,
    rules: Vec<CountedRule>,
    /// What the policy belongs to, if it ends with that.
    owner: Option<String>,
    /// The number of options that the kernel has refused to set.
    refused: Option<u64>,
    /// Whether the mode changes setsockopt(2) calls.
    clamps: bool,
    /// The change of the policy that `enable --watch` has refused.
    error: Option<Refused>,
    /// Whether the `enable --watch` that applied the policy has ended without removing it.
    has_lost_its_watch: bool,
    /// Whether another cgroup has the path of the removed one.
    made_again: bool,
    /// Whether the program reads the kernel's own fields to detect what a program has set; otherwise it
    /// compares with the sysctls.
    reads_fields: Option<bool>,
    /// Why it compares values.
    compared_because: Option<String>,
    /// Why the connections that fail are not counted.
    uncounted_because: Option<String>,
    /// Cgroups below this one with a policy of their own, which applies there instead.
    shadowed: Vec<String>,
    /// Foreign programs that run before this one, and those that run after it and take precedence.
    before: Vec<String>,
    after: Vec<String>,
    /// Whether `enable --watch` in the caller's container watches the policy; checked only with `--watched`.
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<bool>,
}

/// A change of a policy that was refused.
#[derive(Serialize)]
struct Refused {
    message: String,
    since: Option<String>,
}

/// The state of a cgroup without a policy, in JSON and in text.
const NONE: &str = "none";

#[derive(Serialize)]
struct CountedRule {
    rule: String,
    from: String,
    line: u32,
    connections: u64,
    /// The connections that failed; `None` if unknown.
    ended: Option<Ended>,
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn state_or_none<S: Serializer>(state: &Option<State>, serializer: S) -> Result<S::Ok, S::Error> {
    match state {
        Some(state) => state.serialize(serializer),
        None => serializer.serialize_str(NONE),
    }
}

/// The version of this command.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Report {
    /// Returns the report on these cgroups, of which some may not exist.
    ///
    /// # Errors
    /// The policies cannot be read.
    pub(super) fn of(tree: &Tree, subjects: impl Iterator<Item = Subject>) -> Result<Self, Error> {
        let (found, missing): (Vec<_>, Vec<_>) = subjects.partition(|subject| subject.target(tree).is_ok());
        let mut cgroups = match found.as_slice() {
            // Without a subject, all policies would be read.
            [] => Vec::new(),
            found => read(tree, false, found)?,
        };
        cgroups.extend(missing.iter().map(|subject| Object::none(Path::new(subject.name()))));
        Ok(Self {
            obstacle: None,
            cgroups,
        })
    }
}

/// Prints the active policies.
///
/// # Errors
/// The problems of a policy.
pub(super) fn run(status: &Status) -> Result<(), Error> {
    let tree = Tree::find().map_err(Obstacle::NoTree);
    let (subjects, objects) = match (&tree, &status.selection) {
        (Err(_), _) => Default::default(),
        (Ok(tree), None) => (Vec::new(), read(tree, status.watched, &[])?),
        (Ok(tree), Some(selection)) => {
            let subjects = selection.subjects(tree)?;
            let objects = read(tree, status.watched, &subjects)?;
            (subjects, objects)
        }
    };
    let obstacle = match &tree {
        Err(obstacle) => Some(obstacle.reason()),
        // An active policy shows that the engine works. A trial would take most of this command's time, and a
        // readiness probe has little time.
        Ok(_) if is_shown_by(&objects, &subjects) => None,
        Ok(_) => Programs::trial().err().map(|obstacle| obstacle.reason()),
    };
    let problems: Vec<String> = objects.iter().flat_map(Object::problems).collect();
    let report = Report {
        obstacle,
        cgroups: objects,
    };
    print(&match status.format() {
        Format::Text => report.text(),
        Format::Json => pretty(&report),
        Format::Metrics => report.metrics(),
    })?;
    let is_asked_in_vain = report.cgroups.is_empty() && status.selection.is_some();
    let problem = match report.obstacle {
        Some(obstacle) if is_asked_in_vain => Some(obstacle),
        _ => None,
    };
    let errors = problems
        .into_iter()
        .chain(problem)
        .map(|problem| Error::new(FAILED, problem));
    Error::all(errors).map_or(Ok(()), Err)
}

/// Reads a consistent report: the list of foreign programs is read after the policy, and both are read again
/// if the policy has changed.
fn read(tree: &Tree, asks_for_watch: bool, subjects: &[Subject]) -> Result<Vec<Object>, Error> {
    const ATTEMPTS: usize = 20;
    let mut read = Vec::new();
    for _ in 0..ATTEMPTS {
        let all = entries().map_err(|error| Obstacle::from(error).error("see the policies in the BPF file system"))?;
        read = objects(tree, asks_for_watch, subjects, &all)?;
        if all.iter().all(Entry::is_current) {
            break;
        }
    }
    Ok(read)
}

/// Returns whether all named cgroups have an active policy.
fn is_shown_by(objects: &[Object], subjects: &[Subject]) -> bool {
    !subjects.is_empty() && objects.iter().all(|object| object.state == Some(State::Active))
}

/// Returns the report on the named cgroups, or on all.
fn objects(tree: &Tree, asks_for_watch: bool, subjects: &[Subject], all: &[Entry]) -> Result<Vec<Object>, Error> {
    if subjects.is_empty() {
        return Ok(all.iter().map(|entry| Object::new(entry, all)).collect());
    }
    let mut targets: Vec<Target> = Vec::new();
    for subject in subjects {
        let target = subject.target(tree)?;
        // A container and a process can be in the same cgroup.
        if targets.iter().all(|other| other.name != target.name) {
            targets.push(target);
        }
    }
    let objects = targets
        .iter()
        .map(|target| match all.iter().find(|entry| entry.is_of(target)) {
            Some(entry) => Object {
                watched: asks_for_watch.then(|| entry.is_watched_from_here()),
                ..Object::new(entry, all)
            },
            None => Object::none(&target.name),
        });
    Ok(objects.collect())
}

impl Object {
    fn none(name: &Path) -> Self {
        Self {
            cgroup: name.display().to_string(),
            state: None,
            hash: None,
            since: None,
            since_seconds: None,
            version: None,
            default: None,
            default_connections: None,
            default_ended: None,
            rules: Vec::new(),
            owner: None,
            refused: None,
            clamps: false,
            error: None,
            has_lost_its_watch: false,
            made_again: false,
            reads_fields: None,
            compared_because: None,
            uncounted_because: None,
            shadowed: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            watched: None,
        }
    }

    fn new(entry: &Entry, all: &[Entry]) -> Self {
        let name = entry.name();
        let mut object = Self {
            state: Some(entry.state),
            error: entry.refusal.as_ref().map(|refusal| Refused {
                message: refusal.message.clone(),
                since: refusal.since.map(utc),
            }),
            has_lost_its_watch: entry.has_lost_its_watch(),
            made_again: entry.is_made_again,
            ..Self::none(Path::new(&name))
        };
        if let Some(policy) = &entry.policy {
            let description = &policy.description;
            object.hash = Some(description.hash());
            object.since = description.since.map(utc);
            object.since_seconds = description.since;
            object.version.clone_from(&description.version);
            object.default = Some(description.default.clone());
            object.default_connections = Some(policy.default.connections);
            object.default_ended = policy.default.ended;
            object.owner = description.owner.as_ref().map(ToString::to_string);
            object.refused = Some(policy.refused);
            object.reads_fields = Some(description.reads_fields);
            object.compared_because.clone_from(&description.compared_because);
            object.uncounted_because.clone_from(&description.uncounted_because);
            object.clamps = description.is_persistent && entry.state == State::Active;
            let rules = description.rules.iter().zip(&policy.rules);
            object.rules = rules
                .map(|(rule, counts)| CountedRule {
                    rule: rule.rule.clone(),
                    from: rule.from.clone(),
                    line: rule.line,
                    connections: counts.connections,
                    ended: counts.ended,
                })
                .collect();
        }
        if entry.state == State::Active {
            let nearer = all.iter().filter(|other| other.state == State::Active).map(Entry::name);
            let nearer = nearer.filter(|other| *other != name && Path::new(other).starts_with(&name));
            object.shadowed = nearer.collect();
            let ours: HashSet<u32> = all.iter().filter_map(Entry::program).collect();
            let others = entry
                .cgroup()
                .map_or_else(Vec::new, |directory| entry.others(directory));
            for (id, name, is_after) in others {
                if !ours.contains(&id) {
                    if is_after {
                        &mut object.after
                    } else {
                        &mut object.before
                    }
                    .push(name);
                }
            }
        }
        object
    }

    /// Returns the problems, one sentence each.
    fn problems(&self) -> Vec<String> {
        let name = &self.cgroup;
        let mut problems = Vec::new();
        match self.state {
            None => problems.push(format!("{name} has no policy")),
            Some(State::Dangling) if self.made_again => problems.push(format!(
                "{name} was made again, and its policy, which was that of the cgroup before, has no effect\n\
                 hint: keepalive cgroup enable or disable {name}; enable --watch applies a policy to each new one"
            )),
            Some(State::Dangling) => problems.push(format!(
                "{name} is gone, and its policy has no effect; a unit or container that starts again has a new cgroup\n\
                 hint: keepalive cgroup enable or disable {name}"
            )),
            Some(State::Changing) => problems.push(format!(
                "{name}: another command is applying a policy, or ending it\n\
                 hint: look again; if this stays so, keepalive cgroup disable {name} tells which process it is"
            )),
            Some(State::Unfinished) => problems.push(format!(
                "{name}: a command was killed half way; nothing is active\n\
                 hint: keepalive cgroup enable or disable {name}"
            )),
            Some(State::Active) if self.watched == Some(false) => problems.push(format!(
                "{name} has a policy, but no 'keepalive cgroup enable --watch' in this container keeps it\n\
                 hint: after an update it takes over within seconds; the log of the command tells why it did not"
            )),
            Some(State::Active) => {}
        }
        if let Some(error) = &self.error {
            let since = error.since.as_ref().map(|since| format!(" since {since}"));
            problems.push(format!(
                "{name}: the newest policy has been refused{}, and the one before it is active:\n{}",
                since.unwrap_or_default(),
                error.message
            ));
        }
        if let Some(refused @ 1..) = self.refused {
            problems.push(format!(
                "{name}: the kernel has refused {refused} options\n\
                 hint: eBPF programs set them since Linux 5.9; keepalive list shows what the sockets have"
            ));
        }
        problems
    }
}
