//! The description that a policy stores in the kernel alongside its counters.

use crate::policy::{Owner, Part, Policy};
use keepalive_bpf::established::Needs;
use keepalive_policy::{Keepalive, Settings};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The policy of a cgroup as people read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Description {
    /// The cgroup's path in the tree.
    pub cgroup: String,
    /// The settings of connections that match no rule.
    pub default: String,
    /// The rules, in the order of their counters.
    pub rules: Vec<RuleText>,
    /// Whether the program reads the kernel's own fields to detect what a program has set.
    pub reads_fields: bool,
    /// Why the program compares values instead.
    #[serde(default)]
    pub compared_because: Option<String>,
    /// Why the program does not count connections that fail, if the user asked for it.
    #[serde(default)]
    pub uncounted_because: Option<String>,
    /// Whether a command that keeps running has applied the policy (`--watch`).
    pub is_watched: bool,
    /// What the policy belongs to, if it ends with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// When the policy was applied, in seconds since 1970-01-01. The counters count since then. Version 0.1.0 does
    /// not store it.
    #[serde(default)]
    pub since: Option<u64>,
    /// The version of keepalive that applied the policy, likewise.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether rules match programs' names.
    pub(super) needs_names: bool,
    /// Whether a mode applies after a connection is established.
    #[serde(rename = "is_lasting")]
    pub is_persistent: bool,
}

/// A rule, and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    pub rule: String,
    pub from: String,
    pub line: u32,
}

impl Description {
    pub(super) fn new(cgroup: &Path, parts: &[Part<'_>], needs: Needs) -> Self {
        let (default, rules) = texts(parts);
        Self {
            cgroup: cgroup.display().to_string(),
            default,
            rules,
            reads_fields: false,
            compared_because: None,
            uncounted_because: None,
            is_watched: false,
            owner: None,
            since: now(),
            version: Some(String::from(env!("CARGO_PKG_VERSION"))),
            needs_names: needs.names,
            is_persistent: needs.sock_settings,
        }
    }

    /// Returns a number that two policies share if their default and their rules are the same, in the same order, from
    /// whatever sources: 64 bits in hexadecimal digits (FNV-1a). It does not protect from someone who wants two
    /// policies to share it.
    pub fn hash(&self) -> String {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let rules = self.rules.iter().map(|rule| &rule.rule);
        // No line feed is in a rule.
        let lines = rules
            .chain([&self.default])
            .flat_map(|line| line.bytes().chain([b'\n']));
        let hash = lines.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        format!("{hash:016x}")
    }
}

/// Returns the seconds since 1970-01-01; `None` if the clock is before that.
pub(super) fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

impl Description {
    /// Returns whether this describes the policy, with the same owner.
    pub fn is_of(&self, policy: &Policy) -> bool {
        let (default, rules) = texts(&policy.parts());
        self.default == default && self.rules == rules && self.owner == policy.owner
    }
}

/// Returns the settings of connections that match no rule, and the rules.
fn texts(parts: &[Part<'_>]) -> (String, Vec<RuleText>) {
    let default = parts
        .iter()
        .fold(Settings::NONE, |settings, part| settings.or(part.source().default));
    let rules = parts.iter().flat_map(|part| part.rules.iter().zip(&part.names));
    let rules = rules.map(|(rule, name)| RuleText {
        rule: rule.to_string(),
        from: (*name).to_owned(),
        line: rule.line,
    });
    (words(&default), rules.collect())
}

/// Returns settings in the syntax of rules; `keepalive=on` if there are none.
fn words(settings: &Settings) -> String {
    if settings.keepalive == Some(Keepalive::Off) {
        return String::from("off");
    }
    match settings.to_string() {
        text if text.is_empty() => String::from("keepalive=on"),
        text => text,
    }
}

/// Returns the settings that `policy` contains and that this engine cannot set.
pub fn out_of_reach(policy: &Policy) -> Vec<&'static str> {
    use keepalive_policy::option::BY_EBPF;
    use keepalive_policy::{Number, OPTIONS};
    let parts = policy.parts();
    let settings: Vec<Settings> = parts
        .iter()
        .flat_map(|part| part.rules.iter().map(|rule| rule.settings).chain([part.default]))
        .collect();
    let is_asked_for = |option| {
        settings
            .iter()
            .any(|settings| settings.written(option) != Number::Unset)
    };
    let options = OPTIONS.into_iter().filter(|option| !BY_EBPF.contains(option));
    options
        .filter(|option| is_asked_for(*option))
        .map(|option| option.row().name)
        .collect()
}
