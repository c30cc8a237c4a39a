//! A policy as it is written, with the source of each part.

use keepalive_policy::parse::{Item, parse};
use keepalive_policy::protocol::CONFIG;
use keepalive_policy::{Keepalive, Rule, Settings, Source};
use std::path::{Path, PathBuf};

/// A text of rules, and where it comes from.
#[derive(Debug)]
pub struct Text {
    /// `--rule`, `KEEPALIVE_RULES` or the path of a file.
    pub name: String,
    /// The text itself, which may not be UTF-8.
    pub text: Vec<u8>,
    /// The number of its first line: the texts of several `--rule` are numbered as the lines of one file.
    pub first_line: u32,
}

/// The policy as it is written down.
#[derive(Debug)]
pub struct Policy {
    /// What flags and variables say for all connections.
    pub settings: Settings,
    /// Each of those flags and variables with what it alone says, in the order of precedence.
    pub explicit: Vec<(String, Settings)>,
    /// What takes the place of flags and file, where neither is there.
    pub fallback: Option<Settings>,
    /// The rules of the command line, then those of the environment.
    pub rules: Vec<Text>,
    /// The configuration file.
    pub config: Option<Text>,
    /// Its path, where it was named.
    pub config_path: Option<PathBuf>,
    /// The variables that are ignored since they may be meant for another product, a sentence each.
    pub notes: Vec<String>,
    /// It was a pipe, which nobody can read again.
    pub is_config_pipe: bool,
}

/// A source of the policy with its rules, each with the name of the text that it stands in.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// The settings of connections that no rule matches.
    pub default: Settings,
    /// The rules, in their order.
    pub rules: Vec<Rule<'a>>,
    /// For each rule the name of its text.
    pub names: Vec<&'a str>,
    has_default: bool,
}

impl Policy {
    /// Returns the path of the configuration file, which the library reads, where there is one.
    pub fn rules_file(&self) -> Option<&Path> {
        self.config.as_ref()?;
        Some(self.config_path.as_deref().unwrap_or(Path::new(CONFIG)))
    }

    /// Its sources in the order of precedence: command line and environment, file.
    pub fn parts(&self) -> [Part<'_>; 2] {
        let mut written = Part {
            default: self.settings,
            ..Part::default()
        };
        let mut file = Part::default();
        if self.settings.keepalive == Some(Keepalive::Off) {
            // KEEPALIVE=off makes the library do nothing at all, whatever the rules say.
            return [written, file];
        }
        self.rules.iter().for_each(|text| written.take(text));
        self.config.iter().for_each(|text| file.take(text));
        [written, file]
    }
}

impl<'a> Part<'a> {
    /// Of several defaults the first counts.
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

    /// Returns the part as the decision takes it.
    pub fn source(&self) -> Source<'_> {
        Source {
            default: self.default,
            rules: &self.rules,
        }
    }
}
