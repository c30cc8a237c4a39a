//! The text that a subcommand's `--help` prints below its options, as data: the manual renders the same data
//! in its own sections.

use crate::output::{WIDTH, wrap};
use std::fmt::Write as _;

/// The notes on a subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    /// The words of the command line after `keepalive`: `system enable`.
    pub command: &'static str,
    /// The precedence of the policy's sources; empty if the subcommand has no policy.
    pub precedence: &'static str,
    /// The paragraphs of the description.
    pub paragraphs: &'static [&'static str],
    /// The JSON output of `--json`.
    pub json: Option<Json>,
    /// The exit statuses.
    pub statuses: &'static [Status],
    /// The examples.
    pub examples: &'static [Example],
}

/// The purpose of one or more command lines, and the lines.
pub type Example = (&'static str, &'static [&'static str]);

/// An exit status, and its meaning in one sentence.
pub type Status = (&'static str, &'static str);

/// JSON output.
#[derive(Clone, Copy, Debug)]
pub struct Json {
    /// The beginning of the sentence that the fields complete: `The JSON object has`.
    pub heading: &'static str,
    /// The fields. A field of a nested object has a dotted name, with `[]` after the name of an array:
    /// `programs[].libc`.
    pub fields: &'static [Field],
    /// The meaning of null; empty if no field can be null.
    pub null: &'static str,
}

/// The name of a field, its JSON type, and its meaning, which is empty if the name suffices.
pub type Field = (&'static str, &'static str, &'static str);

pub(crate) const SUCCESS: Status = ("0", "Success.");
pub(crate) const NOT_DONE: Status = ("1", "It could not be done.");
pub(crate) const USAGE: Status = ("2", "The command line cannot be used.");
pub(crate) const POLICY_USAGE: Status = ("2", "The command line or the policy cannot be used.");

/// The precedence if a policy always has timings.
pub(crate) const PRECEDENCE: &str = "Options override the environment (KEEPIDLE, ...), which overrides \
    /etc/keepalive.conf. Without --idle, --interval, --count, --preset, rules and a file: --idle 60 --interval 15 --count 5.";

impl Notes {
    /// The notes that most subcommands share.
    pub(crate) const DEFAULT: Self = Self {
        command: "",
        precedence: "",
        paragraphs: &[],
        json: None,
        statuses: &[SUCCESS, NOT_DONE, USAGE],
        examples: &[],
    };

    /// Returns whether the environment is among the policy's sources.
    pub fn has_environment(&self) -> bool {
        self.precedence.contains("environment")
    }

    /// Returns the text for `--help`.
    pub(crate) fn help(&self) -> String {
        let mut text = String::new();
        for paragraph in [self.precedence].iter().chain(self.paragraphs) {
            if !paragraph.is_empty() {
                let _ = writeln!(text, "{}", wrap(paragraph, WIDTH, 0));
            }
        }
        if let Some(json) = &self.json {
            let _ = writeln!(text, "{}:", json.heading);
            let names = json.fields.iter().map(|(name, kind, _)| [*name, *kind]);
            let width = |column: usize| names.clone().map(|row| row[column].len()).max().unwrap_or_default();
            let (name_width, kind_width) = (width(0), width(1));
            for (name, kind, meaning) in json.fields {
                item(&mut text, &format!("{name:name_width$}  {kind:kind_width$}"), meaning);
            }
            let _ = writeln!(text, "\n{}", wrap(json.null, WIDTH, 0));
        }
        text.push_str("Exit status:\n");
        let width = self
            .statuses
            .iter()
            .map(|(status, _)| status.len())
            .max()
            .unwrap_or_default();
        for (status, meaning) in self.statuses {
            item(&mut text, &format!("{status:width$}"), meaning);
        }
        if !self.examples.is_empty() {
            text.push_str("\nExamples:\n");
        }
        for (what, lines) in self.examples {
            text.push_str(&wrap(&format!("  {what}"), WIDTH, 2));
            for line in *lines {
                let _ = writeln!(text, "    $ {line}");
            }
        }
        text
    }
}

/// Appends an item of a list. Its further lines are indented to the meaning.
fn item(text: &mut String, head: &str, meaning: &str) {
    let indent = head.len() + 4;
    let wrapped = wrap(&format!("{}{meaning}", " ".repeat(indent)), WIDTH, indent);
    let _ = writeln!(text, "{}", format!("  {head}  {}", wrapped.trim()).trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_statuses_are_aligned() {
        let notes = Notes {
            paragraphs: &["One.", "Two."],
            json: Some(Json {
                heading: "The JSON object has",
                fields: &[("a", "number", "seconds"), ("b.long", "string", "")],
                null: "Null is unknown.",
            }),
            statuses: &[SUCCESS, ("125", "It failed.")],
            examples: &[("Three:", &["keepalive list"])],
            ..Notes::DEFAULT
        };
        assert_eq!(
            notes.help(),
            "One.\n\nTwo.\n\nThe JSON object has:\n  a       number  seconds\n  b.long  string\n\nNull is unknown.\n\n\
             Exit status:\n  0    Success.\n  125  It failed.\n\nExamples:\n  Three:\n    $ keepalive list\n"
        );
    }
}
