//! A policy in its source text, with the source of each part.

use keepalive_policy::parse::{Item, parse};
use keepalive_policy::protocol::CONFIG;
use keepalive_policy::{Keepalive, Rule, Settings, Source};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// The text of rules, and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// The origin: `--rule`, `KEEPALIVE_RULES` or the path of a file.
    pub name: String,
    /// The text, which may not be valid UTF-8.
    pub text: Vec<u8>,
    /// The number of the first line: several `--rule` texts are numbered as the lines of one file.
    pub first_line: u32,
}

/// The policy in its source text.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The settings for all connections, from options and variables.
    pub settings: Settings,
    /// Each of those options and variables with its own setting, in the order of precedence.
    pub explicit: Vec<(String, Settings)>,
    /// The settings that are used if no option, rule or file sets times.
    pub fallback: Option<Settings>,
    /// The rules of the command line, then those of the environment.
    pub rules: Vec<Text>,
    /// The configuration file.
    pub config: Option<Text>,
    /// The path of the configuration file, if the user has named it.
    pub config_path: Option<PathBuf>,
    /// The ignored variables, which may be meant for another product, one sentence each.
    pub notes: Vec<String>,
    /// Whether the configuration file was a pipe, which cannot be read again.
    pub is_config_pipe: bool,
    /// What the policy belongs to, if it ends with that rather than by a command: a container or a pod.
    pub owner: Option<Owner>,
}

/// What a policy belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The container with this id, whose runtime calls `keepalive oci-hook`.
    Container(String),
    /// A pod of Kubernetes, whose policy `keepalive nri` applies.
    Pod {
        /// The UID of the pod.
        uid: String,
        /// The id of its sandbox: a pod whose sandbox has ended gets another one.
        sandbox: String,
        /// The name, as `NAMESPACE/POD`.
        name: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(formatter, "container {id}"),
            Self::Pod { name, .. } => write!(formatter, "pod {name}"),
        }
    }
}

/// A source of the policy with its rules, and the name of each rule's text.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// The settings of connections that no rule matches.
    pub default: Settings,
    /// The rules, in their order.
    pub rules: Vec<Rule<'a>>,
    /// The name of each rule's text.
    pub names: Vec<&'a str>,
    has_default: bool,
}

impl Policy {
    /// Returns the path of the configuration file, which the library reads, if there is one.
    pub fn rules_file(&self) -> Option<&Path> {
        self.config.as_ref()?;
        Some(self.config_path.as_deref().unwrap_or(Path::new(CONFIG)))
    }

    /// Returns the sources in the order of precedence: command line and environment, file.
    pub fn parts(&self) -> [Part<'_>; 2] {
        let mut written = Part {
            default: self.settings,
            ..Part::default()
        };
        let mut file = Part::default();
        if self.settings.keepalive == Some(Keepalive::Off) {
            // KEEPALIVE=off disables the library completely, whatever the rules contain.
            return [written, file];
        }
        self.rules.iter().for_each(|text| written.take(text));
        self.config.iter().for_each(|text| file.take(text));
        [written, file]
    }
}

impl<'a> Part<'a> {
    /// Adds a text. The first of several defaults wins.
    fn take(&mut self, text: &'a Text) {
        for item in parse(&text.text).flatten() {
            match item {
                Item::Default(_) if self.has_default => {}
                Item::Default(settings) => {
                    self.default = self.default.or(settings);
                    self.has_default = true;
                }
                Item::Rule(rule) => {
                    let line = rule.line.saturating_add(text.first_line - 1);
                    self.rules.push(Rule { line, ..rule });
                    self.names.push(&text.name);
                }
            }
        }
    }

    /// Returns the part in the form that the decision uses.
    pub fn source(&self) -> Source<'_> {
        Source {
            default: self.default,
            rules: &self.rules,
        }
    }
}
