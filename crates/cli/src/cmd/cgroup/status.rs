//! `keepalive cgroup status`: shows the active policies.

use super::Status;
use super::selection::Subject;
use crate::error::{Error, FAILED};
use crate::json::pretty;
use crate::output::{WIDTH, print, sanitize, wrap};
use crate::table::terminal_size;
use keepalive_engine::cgroup::entry::{Entry, State, entries};
use keepalive_engine::cgroup::{Ended, Obstacle, Programs};
use keepalive_sys::cgroup::Tree;
use serde::{Serialize, Serializer};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

/// The whole report, in the form of the JSON output.
#[derive(Serialize)]
struct Report {
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
    default: Option<String>,
    default_connections: Option<u64>,
    /// The connections that failed; `None` if unknown.
    default_ended: Option<Ended>,
    rules: Vec<CountedRule>,
    /// The number of options that the kernel has refused to set.
    refused: Option<u64>,
    /// Whether the mode changes setsockopt(2) calls.
    clamps: bool,
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

/// Prints the active policies.
///
/// # Errors
/// The problems of a policy.
pub(super) fn run(status: &Status) -> Result<(), Error> {
    let tree = Tree::find().map_err(Obstacle::NoTree);
    let (subjects, objects) = match (&tree, &status.selection) {
        (Err(_), _) => Default::default(),
        (Ok(tree), None) => (Vec::new(), read(tree, status, &[])?),
        (Ok(tree), Some(selection)) => {
            let subjects = selection.subjects(tree)?;
            let objects = read(tree, status, &subjects)?;
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
    print(&if status.json { pretty(&report) } else { report.text() })?;
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
fn read(tree: &Tree, status: &Status, subjects: &[Subject]) -> Result<Vec<Object>, Error> {
    const ATTEMPTS: usize = 20;
    let mut read = Vec::new();
    for _ in 0..ATTEMPTS {
        let all = entries().map_err(|error| Obstacle::from(error).error("see the policies in the BPF file system"))?;
        read = objects(tree, status, subjects, &all)?;
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
fn objects(tree: &Tree, status: &Status, subjects: &[Subject], all: &[Entry]) -> Result<Vec<Object>, Error> {
    if subjects.is_empty() {
        return Ok(all.iter().map(|entry| Object::new(entry, all)).collect());
    }
    let targets = subjects.iter().map(|subject| subject.target(tree));
    let objects = targets.map(|target| {
        target.map(|target| match all.iter().find(|entry| entry.is_of(&target)) {
            Some(entry) => Object {
                watched: status.watched.then(|| entry.is_watched_from_here()),
                ..Object::new(entry, all)
            },
            None => Object::none(&target.name),
        })
    });
    objects.collect()
}

impl Object {
    fn none(name: &Path) -> Self {
        Self {
            cgroup: name.display().to_string(),
            state: None,
            default: None,
            default_connections: None,
            default_ended: None,
            rules: Vec::new(),
            refused: None,
            clamps: false,
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
            ..Self::none(Path::new(&name))
        };
        if let Some(policy) = &entry.policy {
            let description = &policy.description;
            object.default = Some(description.default.clone());
            object.default_connections = Some(policy.default.connections);
            object.default_ended = policy.default.ended;
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
        if let Some(refused @ 1..) = self.refused {
            problems.push(format!(
                "{name}: the kernel has refused {refused} options\n\
                 hint: eBPF programs set them since Linux 5.9; keepalive list shows what the sockets have"
            ));
        }
        problems
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(obstacle) = &self.obstacle {
            text.push_str(&wrap(&format!("engine cgroup: {obstacle}"), WIDTH, 2));
        } else if self.cgroups.is_empty() {
            text.push_str("engine cgroup: works here; no cgroup has a policy\n");
        }
        for cgroup in &self.cgroups {
            cgroup.write(&mut text);
        }
        text
    }
}

impl Object {
    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{}: {}",
            sanitize(&self.cgroup),
            self.state.map_or(NONE, State::describe)
        );
        let counted = self.rules.iter().map(|rule| {
            let from = format!("  ({}:{})", rule.from, rule.line);
            (rule.connections, rule.rule.clone() + &from, rule.ended)
        });
        let default = self.default.iter().zip(self.default_connections);
        let default = default.map(|(default, count)| (count, format!("default {default}"), self.default_ended));
        let lines: Vec<_> = counted.chain(default).collect();
        let width = lines
            .iter()
            .map(|(count, ..)| count.to_string().len())
            .max()
            .unwrap_or(0);
        for (count, rule, ended) in lines {
            let count = format!("  {count:>width$}  ");
            let margin = " ".repeat(count.len());
            write_wrapped(text, &count, &margin, &sanitize(&rule));
            if let Some(ended) = ended.filter(|ended| *ended != Ended::default()) {
                let causes = ended.by_cause().map(|(cause, number)| format!("{number} {cause}"));
                write_wrapped(text, &margin, &margin, &format!("ended: {}", causes.join(", ")));
            }
        }
        if self.state == Some(State::Active) && self.default.is_none() {
            text.push_str("  its rules and counters cannot be read: another version of keepalive has applied it\n");
        }
        if let Some(why) = &self.uncounted_because {
            let causes = Ended::default().by_cause().map(|(cause, _)| format!("? {cause}"));
            let line = format!("  ended: {}: {why}", causes.join(", "));
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        if self.clamps {
            text.push_str("  setsockopt(2) is changed as the mode says\n");
        }
        if self.reads_fields == Some(false) {
            let why = self.compared_because.as_deref();
            let why = why.unwrap_or("the kernel's own fields are not to be read (CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)");
            let line = format!("  what differs from the sysctls counts as set by the program: {why}");
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        if !self.shadowed.is_empty() {
            let line = format!("  in {} a policy counts that is nearer", self.shadowed.join(", "));
            text.push_str(&wrap(&sanitize(&line), WIDTH, 2));
        }
        for (programs, when, whose_word) in [
            (&self.before, "before", ""),
            (&self.after, "after", ": their word is the last"),
        ] {
            if !programs.is_empty() {
                let line = format!("  {} of others run {when} this one{whose_word}", programs.join(", "));
                text.push_str(&wrap(&line, WIDTH, 2));
            }
        }
    }
}

/// Appends a line after `first`; on a terminal it continues after `margin`. In a pipe it stays one line.
fn write_wrapped(text: &mut String, first: &str, margin: &str, line: &str) {
    let Some((columns, _)) = terminal_size() else {
        text.extend([first, line, "\n"]);
        return;
    };
    let mut before = first;
    for line in wrap(line, columns.saturating_sub(first.len()), 0).lines() {
        text.extend([before, line, "\n"]);
        before = margin;
    }
}
