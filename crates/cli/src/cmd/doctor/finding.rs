//! Findings, and their output: problems first.

use crate::output::{WIDTH, sanitize, wrap};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The level of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// A feature does not work, or not as requested.
    Wrong,
    /// A limit that the user should know.
    Note,
    /// As expected.
    Fine,
}

/// One finding.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The subject, in a word or two.
    pub(super) subject: Cow<'static, str>,
    pub(super) text: String,
    /// The remedy.
    pub(super) advice: Option<String>,
}

/// A list of findings.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn fine(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Level::Fine, subject, text, None);
    }

    pub(super) fn note(&mut self, subject: &'static str, text: impl Into<String>, advice: &str) {
        self.add(Level::Note, subject, text, Some(advice.to_owned()));
    }

    pub(super) fn wrong(&mut self, subject: &'static str, text: impl Into<String>, advice: &str) {
        self.add(Level::Wrong, subject, text, Some(advice.to_owned()));
    }

    pub(super) fn add(&mut self, level: Level, subject: &'static str, text: impl Into<String>, advice: Option<String>) {
        self.0.push(Finding {
            level,
            subject: subject.into(),
            text: text.into(),
            advice: advice.filter(|advice| !advice.is_empty()),
        });
    }

    /// Adds a finding from a worker.
    pub(super) fn take(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Returns the problems first; within a level the order stays.
    pub(super) fn ranked(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.level);
        self.0
    }
}

impl Finding {
    /// Returns a line with the finding, and one with the advice.
    pub(super) fn show(&self) -> String {
        let word = match self.level {
            Level::Wrong => "WRONG",
            Level::Note => "note",
            Level::Fine => "ok",
        };
        let text = sanitize(&self.text).replace('\n', " ");
        let mut shown = indented(word, &format!("{}: {text}", self.subject), 0);
        if let Some(advice) = &self.advice {
            let advice = sanitize(advice).replace("\nhint: ", "; ").replace('\n', " ");
            shown.push_str(&indented("", &format!("-> {advice}"), 3));
        }
        shown
    }
}

/// Returns `text` alongside `word`; indents its later lines further.
fn indented(word: &str, text: &str, further: usize) -> String {
    const INDENT: usize = 7;
    let lines = wrap(text, WIDTH - INDENT, further);
    let words = [word].into_iter().chain(std::iter::repeat(""));
    let lines = lines
        .lines()
        .zip(words)
        .map(|(line, word)| format!("{word:INDENT$}{line}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_with_a_hint() {
        let mut findings = Findings::default();
        findings.fine("one", "is fine");
        findings.wrong("two", "does not work", "do this");
        findings.note("three", "is so", "");
        let shown: String = findings.ranked().iter().map(Finding::show).collect();
        let expected = "WRONG  two: does not work\n       -> do this\nnote   three: is so\nok     one: is fine\n";
        assert_eq!(shown, expected);
    }
}
