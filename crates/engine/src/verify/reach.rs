//! How keepalive reaches a process, and which policy applies to it, as far as its memory map, its environment, its
//! status and its cgroup show it.

use super::Given;
use crate::cgroup::entry::{self, Entry};
use crate::cgroup::pins::Target;
use crate::cgroup::{Description, child};
use crate::policy::{Policy, Text};
use keepalive_policy::environment as variable;
use keepalive_policy::parse::without_mark;
use keepalive_policy::protocol::{CONFIG, IS_SUPERVISED, LARGEST_RULES, SUPERVISED};
use keepalive_policy::{Environment, Settings};
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::proc::{self, Status};
use keepalive_sys::rooted::Root;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The engines by which a command was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engines {
    /// The library alone.
    Preload,
    /// A supervisor, with the library or without.
    Supervisor,
    /// The eBPF programs of a cgroup without a pinned policy.
    Cgroup,
}

/// How keepalive reaches a process.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The file of the library, if it is in the process.
    pub library: Option<String>,
    /// Whether a supervisor of keepalive serves the process.
    pub is_supervised: bool,
    /// Whether the process has a seccomp filter that this command does not have, and that may be anybody's.
    pub is_filtered: bool,
    /// The cgroup whose policy applies to the process.
    pub cgroup: Option<String>,
    /// The numbers of that cgroup and of those below it.
    pub(super) cgroup_ids: HashSet<u64>,
    /// Whether the library should be in the process: its environment names it, or `keepalive run` started it so.
    pub is_library_expected: bool,
    /// Whether the memory map could be read: otherwise it is unknown whether the process has the library.
    pub is_known: bool,
    /// Where the policy comes from.
    pub policy: PolicyOrigin,
    /// The settings of connections that no rule matches, as a rule contains them.
    pub settings: String,
    /// Whether the policy has rules.
    pub has_rules: bool,
}

/// Where the policy of a process comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyOrigin {
    /// The command line.
    Options,
    /// The environment of the process.
    Environment,
    /// The configuration file of the process.
    File,
    /// The policy of its cgroup.
    Cgroup,
    /// The command by which it was started.
    Command,
    /// No engine is in use, and nobody names one: that of `keepalive run` without options.
    Default,
    /// The library has none: it switches keepalive on, and the times are the kernel's.
    Library,
    /// No policy was found: the process may have had one, and may have overwritten its environment.
    #[default]
    Nowhere,
}

impl PolicyOrigin {
    /// Returns a description for users; `None` if the policy is not known.
    pub const fn describe(self) -> Option<&'static str> {
        match self {
            Self::Options => Some("the command line"),
            Self::Environment => Some("the environment of the process"),
            Self::File => Some("the configuration file of the process"),
            Self::Cgroup => Some("the policy of its cgroup"),
            Self::Command => Some("keepalive run"),
            Self::Library => Some("the library, which found none"),
            Self::Default => Some("keepalive run without options, since no engine is in use"),
            Self::Nowhere => None,
        }
    }
}

impl Reach {
    /// Returns whether an engine reaches the process.
    pub const fn is_reached(&self) -> bool {
        self.library.is_some() || self.is_supervised || self.cgroup.is_some()
    }

    /// Returns the engines in words, for example `the library and a supervisor`.
    pub fn describe(&self) -> String {
        let cgroup = self.cgroup.as_ref().map(|name| format!("the policy of cgroup {name}"));
        let engines = [
            self.library.as_ref().map(|_| String::from("the library")),
            self.is_supervised.then(|| String::from("a supervisor")),
            cgroup,
        ];
        let engines: Vec<String> = engines.into_iter().flatten().collect();
        match engines.as_slice() {
            [] if self.is_known => String::from("no engine"),
            [] => String::from("no engine that can be seen"),
            engines => engines.join(" and "),
        }
    }
}

/// The policies of a process, in the order of precedence.
#[derive(Default)]
struct Policies {
    list: Vec<Policy>,
    /// The origin of the first one.
    origin: PolicyOrigin,
}

impl Policies {
    fn add(&mut self, policy: Policy, origin: PolicyOrigin) {
        if self.list.is_empty() {
            self.origin = origin;
        }
        self.list.push(policy);
    }
}

/// What is read once for all processes.
pub(super) struct Known {
    /// The status of this command.
    own: Status,
    tree: Option<Tree>,
    entries: Vec<Entry>,
}

impl Known {
    pub(super) fn read() -> Self {
        Self {
            own: proc::own_status().unwrap_or_default(),
            tree: Tree::find().ok(),
            entries: entry::entries().unwrap_or_default(),
        }
    }

    /// Returns how the process `pid` is reached, and its policies in the order of precedence.
    pub(super) fn reach(&self, pid: u32, given: Given<'_>) -> (Reach, Vec<Policy>) {
        let started = given.started_with.map(|(_, engines)| engines);
        let library = mapped_library(pid);
        let status = proc::status(pid).unwrap_or_default();
        let supervised = status.is_filtered.then(|| supervised_environment(pid)).flatten();
        let is_supervised = supervised.is_some() || status.is_filtered && started == Some(Engines::Supervisor);
        let own = proc::environment(pid).unwrap_or_default();
        let mut reach = Reach {
            is_known: library.is_ok(),
            library: library.ok().flatten(),
            is_supervised,
            is_filtered: !is_supervised && self.has_own_filter(&status),
            is_library_expected: started == Some(Engines::Preload) || own.iter().any(|entry| names_library(entry)),
            ..Reach::default()
        };
        let mut policies = Policies::default();
        if let Some(policy) = given.overriding {
            policies.add(copy(policy), PolicyOrigin::Options);
        }
        // A process under the supervisor may have cleared its environment.
        let environments = [Some(&own), supervised.as_ref()];
        let mut named = environments
            .into_iter()
            .flatten()
            .map(|entries| of_environment(entries));
        let (mut policy, is_named) = named
            .find(|(_, is_named)| *is_named)
            .unwrap_or_else(|| of_environment(&own));
        if given.overriding.is_none_or(|policy| policy.config.is_none()) {
            policy.config = rules_file(pid, policy.config_path.as_deref());
        }
        let [_, file] = policy.parts();
        let has_file = file.default != Settings::NONE || !file.rules.is_empty();
        if is_named || has_file {
            let origin = if is_named {
                PolicyOrigin::Environment
            } else {
                PolicyOrigin::File
            };
            policies.add(policy, origin);
        }
        self.examine_cgroup(pid, started, &mut reach, &mut policies);
        if let Some((policy, _)) = given.started_with.filter(|_| policies.list.is_empty()) {
            policies.add(copy(policy), PolicyOrigin::Command);
        }
        if policies.list.is_empty() && reach.library.is_some() && own.iter().any(|entry| is_variable(entry)) {
            policies.add(empty(), PolicyOrigin::Library);
        }
        if policies.list.is_empty() && !reach.is_reached() {
            // As keepalive run and keepalive attach without a policy.
            let settings = Settings::EVERYWHERE;
            policies.add(Policy { settings, ..empty() }, PolicyOrigin::Default);
        }
        reach.policy = policies.origin;
        let mut settings = Settings::NONE;
        for part in policies.list.iter().flat_map(Policy::parts) {
            settings = settings.or(part.default);
            reach.has_rules |= !part.rules.is_empty();
        }
        reach.settings = settings.to_string();
        (reach, policies.list)
    }

    /// Adds what the cgroup of the process shows.
    fn examine_cgroup(&self, pid: u32, started: Option<Engines>, reach: &mut Reach, policies: &mut Policies) {
        if let Some(entry) = self.nearest(pid) {
            reach.cgroup = Some(entry.name());
            reach.cgroup_ids = entry.cgroup().map(cgroup::ids_with_all_below).unwrap_or_default();
            if let Some(policy) = &entry.policy {
                policies.add(of_description(&policy.description), PolicyOrigin::Cgroup);
            }
        }
        let own = self.own_cgroup(pid);
        if let Some(own) = own.filter(|own| started == Some(Engines::Cgroup) || child::is_active(own)) {
            // The cgroup is new, so that no open connection was made in it before.
            reach.cgroup_ids = HashSet::new();
            reach.cgroup = self.tree.as_ref().map(|tree| tree.name(&own).display().to_string());
        }
    }

    /// Returns whether the process has a seccomp filter that this command does not have: in a container, all processes have
    /// that of the container.
    fn has_own_filter(&self, status: &Status) -> bool {
        match (status.filters, self.own.filters) {
            (Some(filters), Some(own)) => filters > own,
            _ => status.is_filtered && !self.own.is_filtered,
        }
    }

    /// Returns the cgroup of the process.
    fn own_cgroup(&self, pid: u32) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(self.tree.as_ref()?.directory(Path::new(path)))
    }

    /// Returns the active policy of the process's cgroup, or of the nearest one above it.
    fn nearest(&self, pid: u32) -> Option<&Entry> {
        let tree = self.tree.as_ref()?;
        let directory = self.own_cgroup(pid)?;
        let mut above = directory
            .ancestors()
            .take_while(|above| above.starts_with(tree.mount()));
        above.find_map(|ancestor| {
            let target = Target::new(tree, ancestor);
            let mut entries = self.entries.iter();
            entries.find(|entry| entry.state == entry::State::Active && entry.is_of(&target))
        })
    }
}

/// Returns the library's file, if the process has loaded it.
///
/// # Errors
/// The memory map of the process cannot be read.
pub fn mapped_library(pid: u32) -> io::Result<Option<String>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let mapped = paths.find(|path| path.ends_with("/libkeepalive.so") || path.ends_with("/keepalive-system.so"));
    Ok(mapped.map(str::to_owned))
}

/// Returns whether a supervisor of keepalive serves the process, as far as its environment and those of its ancestors
/// show it.
pub fn is_supervised(pid: u32) -> bool {
    supervised_environment(pid).is_some()
}

/// Returns the environment in which `keepalive run` has noted its supervisor: that of the process, which is under a
/// filter, or of an ancestor under a filter. Processes inherit filters and cannot remove them.
fn supervised_environment(pid: u32) -> Option<Vec<Vec<u8>>> {
    const DEEPEST: usize = 64;
    let is_mark = |entry: &Vec<u8>| {
        let value = entry
            .strip_prefix(SUPERVISED.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| value.starts_with(IS_SUPERVISED.as_bytes()))
    };
    let mut pid = pid;
    for _ in 0..DEEPEST {
        let status = proc::status(pid).ok().filter(|status| status.is_filtered)?;
        if let Some(environment) = proc::environment(pid).filter(|entries| entries.iter().any(is_mark)) {
            return Some(environment);
        }
        pid = status.parent;
    }
    None
}

/// Returns whether the entry has the form of a variable. A program that shows a title writes it over its environment.
fn is_variable(entry: &[u8]) -> bool {
    let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.len() < entry.len()
        && !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns whether the entry of an environment loads the library.
fn names_library(entry: &[u8]) -> bool {
    let value = entry.strip_prefix(b"LD_PRELOAD=").map(String::from_utf8_lossy);
    value.is_some_and(|value| value.contains(crate::preload::FILE))
}

/// Returns the policy that the library reads from this environment, and whether the environment names one. Like
/// the library, ignores what is invalid.
fn of_environment(environment: &[Vec<u8>]) -> (Policy, bool) {
    let mut read = Environment::default();
    for entry in environment {
        let _ = read.read(entry, false);
    }
    let rules = read.rules.map(|rules| text(variable::RULES, rules));
    let config_path = read.config.map(|path| PathBuf::from(OsStr::from_bytes(path)));
    let settings = read.settings();
    let names_policy = settings != Settings::NONE || rules.is_some();
    let policy = Policy {
        settings,
        rules: rules.into_iter().collect(),
        config_path,
        ..empty()
    };
    (policy, names_policy)
}

/// Returns the rules file that the process sees below its root directory.
fn rules_file(pid: u32, named: Option<&Path>) -> Option<Text> {
    let path = named.unwrap_or(Path::new(CONFIG));
    let root = Root::open(Path::new(&format!("/proc/{pid}/root"))).ok()?;
    let content = root.read(path, LARGEST_RULES as u64).ok()?;
    Some(text(&path.display().to_string(), &content))
}

/// Returns the policy that a description in the kernel contains.
fn of_description(description: &Description) -> Policy {
    let mut lines = vec![format!("default {}", description.default)];
    lines.extend(description.rules.iter().map(|rule| rule.rule.clone()));
    let rules = text(&description.cgroup, lines.join("\n").as_bytes());
    Policy {
        rules: vec![rules],
        ..empty()
    }
}

fn text(name: &str, content: &[u8]) -> Text {
    Text {
        name: name.to_owned(),
        text: without_mark(content).to_vec(),
        first_line: 1,
    }
}

fn empty() -> Policy {
    Policy {
        settings: Settings::NONE,
        explicit: Vec::new(),
        fallback: None,
        rules: Vec::new(),
        config: None,
        config_path: None,
        notes: Vec::new(),
        is_config_pipe: false,
        owner: None,
    }
}

/// Copies what decides.
fn copy(policy: &Policy) -> Policy {
    let copy = |source: &Text| Text {
        first_line: source.first_line,
        ..text(&source.name, &source.text)
    };
    Policy {
        settings: policy.settings,
        rules: policy.rules.iter().map(copy).collect(),
        config: policy.config.as_ref().map(copy),
        ..empty()
    }
}
