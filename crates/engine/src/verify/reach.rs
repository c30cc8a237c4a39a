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
    /// The library has none: it switches keepalive on, and the times are the kernel's.
    Library,
    /// No policy was found: the process may have had one, and may have overwritten its environment.
    #[default]
    Nowhere,
}

impl PolicyOrigin {
    /// Returns a description for users.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Options => "the command line",
            Self::Environment => "the environment of the process",
            Self::File => "the configuration file of the process",
            Self::Cgroup => "the policy of its cgroup",
            Self::Command => "keepalive run",
            Self::Library => "the library",
            Self::Nowhere => "nowhere",
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

/// What is read once for all processes.
pub(super) struct Known {
    /// The status of this command.
    own: Status,
    tree: Option<Tree>,
    entries: Vec<Entry>,
}

impl Known {
    pub(super) fn look() -> Self {
        Self {
            own: proc::own_status().unwrap_or_default(),
            tree: Tree::find().ok(),
            entries: entry::entries().unwrap_or_default(),
        }
    }

    /// Returns how the process `pid` is reached, and its policies in the order of precedence.
    pub(super) fn reach(&self, pid: u32, given: Given<'_>) -> (Reach, Vec<Policy>) {
        let library = mapped_library(pid);
        let started = given.started_with.map(|(_, engines)| engines);
        let status = proc::status(pid).unwrap_or_default();
        let supervised = status.is_filtered.then(|| supervised_environment(pid)).flatten();
        let is_supervised = supervised.is_some() || status.is_filtered && started == Some(Engines::Supervisor);
        let mut reach = Reach {
            is_known: library.is_ok(),
            library: library.ok().flatten(),
            is_supervised,
            is_filtered: !is_supervised && self.has_own_filter(&status),
            ..Reach::default()
        };
        let mut policies = Vec::new();
        let mut add = |reach: &mut Reach, policy: Policy, origin| {
            if reach.policy == PolicyOrigin::Nowhere {
                reach.policy = origin;
            }
            policies.push(policy);
        };
        let overriding = given.overriding.map(copy);
        let replaces_file = overriding.as_ref().is_some_and(|policy| policy.config.is_some());
        if let Some(policy) = overriding {
            add(&mut reach, policy, PolicyOrigin::Options);
        }
        // A process under the supervisor may have cleared its environment.
        let own = proc::environment(pid).unwrap_or_default();
        let shows_environment = own.iter().any(|entry| is_variable(entry));
        reach.is_library_expected = started == Some(Engines::Preload) || own.iter().any(|entry| names_library(entry));
        let environments = [Some(own), supervised];
        let (mut policy, names_policy) = environments
            .iter()
            .flatten()
            .map(|environment| of_environment(environment))
            .find(|(_, names_policy)| *names_policy)
            .unwrap_or_else(|| of_environment(&[]));
        let config = if replaces_file {
            None
        } else {
            rules_file(pid, policy.config_path.as_deref())
        };
        policy.config = config;
        let [_, file] = policy.parts();
        if names_policy {
            add(&mut reach, policy, PolicyOrigin::Environment);
        } else if file.default != Settings::NONE || !file.rules.is_empty() {
            add(&mut reach, policy, PolicyOrigin::File);
        }
        if let Some(entry) = self.nearest(pid) {
            reach.cgroup = Some(entry.name());
            reach.cgroup_ids = entry.cgroup().map(cgroup::ids_with_all_below).unwrap_or_default();
            if let Some(policy) = entry
                .policy
                .as_ref()
                .and_then(|policy| of_description(&policy.description))
            {
                add(&mut reach, policy, PolicyOrigin::Cgroup);
            }
        }
        let is_started_in_cgroup = given
            .started_with
            .is_some_and(|(_, engines)| engines == Engines::Cgroup);
        if let Some(own) = self
            .own_cgroup(pid)
            .filter(|own| is_started_in_cgroup || child::is_active(own))
        {
            // The cgroup is new, so that no open connection was made in it before. Inherited ones are set by keepalive run.
            reach.cgroup_ids = HashSet::new();
            reach.cgroup = self.tree.as_ref().map(|tree| tree.name(&own).display().to_string());
        }
        if let Some((policy, _)) = given.started_with {
            if reach.policy == PolicyOrigin::Nowhere {
                add(&mut reach, copy(policy), PolicyOrigin::Command);
            }
        }
        if reach.policy == PolicyOrigin::Nowhere && reach.library.is_some() && shows_environment {
            reach.policy = PolicyOrigin::Library;
        }
        if reach.policy == PolicyOrigin::Nowhere && !reach.is_reached() {
            // As keepalive run and keepalive attach without a policy.
            policies.push(Policy {
                settings: Settings::EVERYWHERE,
                ..empty()
            });
        }
        let defaults = policies.iter().flat_map(Policy::parts);
        let settings = defaults.fold(Settings::NONE, |settings, part| settings.or(part.default));
        reach.settings = settings.to_string();
        (reach, policies)
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
fn of_description(description: &Description) -> Option<Policy> {
    let mut lines = vec![format!("default {}", description.default)];
    lines.extend(description.rules.iter().map(|rule| rule.rule.clone()));
    let rules = text(&description.cgroup, lines.join("\n").as_bytes());
    Some(Policy {
        rules: vec![rules],
        ..empty()
    })
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
