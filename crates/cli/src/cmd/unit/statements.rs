//! The statements of a unit and its drop-ins (`systemd.syntax(7)`).

use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A statement, and the file that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cmd) struct Statement {
    section: String,
    pub(super) name: String,
    pub(super) value: String,
    /// The path of the file, for messages.
    pub(super) file: Rc<Path>,
}

impl Statement {
    /// Returns the statement as its file has it, and the name of that file.
    pub(super) fn describe(&self) -> String {
        format!("{}={} in {}", self.name, self.value, self.file.display())
    }
}

/// The statements of a unit, in their effective order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cmd) struct UnitFile {
    statements: Vec<Statement>,
}

impl UnitFile {
    /// Adds the statements of `text`, the content of `file`.
    pub(super) fn add(&mut self, text: &str, file: PathBuf) {
        let file: Rc<Path> = file.into();
        let mut section = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut line = line.trim().to_owned();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            while let Some(begun) = line.strip_suffix('\\') {
                let next = lines.next().unwrap_or_default().trim();
                // Comments within a statement are omitted.
                let next = if next.starts_with(['#', ';']) { "\\" } else { next };
                line = format!("{} {next}", begun.trim_end());
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((name, value)) = line.split_once('=') {
                let [name, value] = [name, value].map(|part| part.trim().to_owned());
                self.statements.push(Statement {
                    section: section.clone(),
                    name,
                    value,
                    file: file.clone(),
                });
            }
        }
    }

    /// Returns the effective statements of this name in a section; one with an empty value resets the list.
    fn effective(&self, section: &str, wanted: &str) -> Vec<&Statement> {
        let mut found = Vec::new();
        for statement in &self.statements {
            if statement.section == section && statement.name == wanted {
                if statement.value.is_empty() {
                    found.clear();
                } else {
                    found.push(statement);
                }
            }
        }
        found
    }

    /// Returns the statements of this name about the service; one with an empty value resets the list.
    pub(super) fn statements(&self, wanted: &str) -> Vec<&Statement> {
        self.effective("Service", wanted)
    }

    /// Returns all statements about the service whose name is in `wanted`, in their order. Those with an empty
    /// value are included.
    pub(super) fn in_order<'a>(&'a self, wanted: &'a [&str]) -> impl Iterator<Item = &'a Statement> {
        let statements = self.statements.iter();
        statements.filter(|statement| statement.section == "Service" && wanted.contains(&statement.name.as_str()))
    }

    /// Returns the values of a repeatable statement of services; an empty value resets the list.
    pub(super) fn all(&self, wanted: &str) -> Vec<&str> {
        let statements = self.statements(wanted).into_iter();
        statements.map(|statement| statement.value.as_str()).collect()
    }

    /// Returns the last statement of this name about the service.
    pub(super) fn last(&self, wanted: &str) -> Option<&Statement> {
        self.statements(wanted).pop()
    }

    /// Returns the units that a dependency in the section `Unit` names.
    pub(super) fn dependencies(&self, wanted: &str) -> Vec<&str> {
        let statements = self.effective("Unit", wanted).into_iter();
        statements
            .flat_map(|statement| statement.value.split_whitespace())
            .collect()
    }

    /// Returns whether a boolean statement is true.
    pub(super) fn says_yes(&self, wanted: &str) -> bool {
        self.last(wanted).is_some_and(|statement| is_yes(&statement.value))
    }

    /// Returns whether `ExecStart=` is all that the service runs: no command before or after it.
    pub(super) fn starts_once(&self) -> bool {
        let others = [
            "ExecStartPre",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
        ];
        others.iter().all(|name| self.statements(name).is_empty())
    }

    /// Returns the paths of the programs that the service starts.
    pub(super) fn programs(&self) -> Vec<&str> {
        let commands = self.all("ExecStart").into_iter();
        commands
            .filter_map(|command| command.trim_start_matches(PREFIXES).split_whitespace().next())
            .map(|path| path.trim_matches('"'))
            .collect()
    }

    /// Returns the value of an environment variable in the unit itself.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let lines = self.all("Environment");
        let words: Vec<String> = lines.iter().flat_map(|line| words(line)).collect();
        let value = |word: &String| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        words.iter().rev().find_map(value)
    }
}

/// The characters before the path of a program (`systemd.service(5)`).
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// Returns whether a boolean value is true.
pub(super) fn is_yes(value: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].contains(&value.to_ascii_lowercase().as_str())
}

/// Splits at white space, except within quotes; a backslash keeps the next character.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(texts: &[&str]) -> UnitFile {
        let mut unit = UnitFile::default();
        for text in texts {
            unit.add(text, PathBuf::from("/db.service"));
        }
        unit
    }

    #[test]
    fn statements_count_as_systemd_reads_them() {
        let file = "# c\n[Unit]\nExecStart=/no\n[Service]\nExecStart=-/bin/a \\\n  # c\n  -b\nEnvironment=A=1 \"B=x y\"\n\
                    NoNewPrivileges=yes\nSystemCallFilter=@system-service\n";
        let first = unit(&[file]);
        assert_eq!(first.all("ExecStart"), ["-/bin/a -b"]);
        assert_eq!(first.programs(), ["/bin/a"]);
        assert_eq!(first.variable("B"), Some("x y".to_owned()));
        assert_eq!(first.variable("C"), None);
        assert!(first.says_yes("NoNewPrivileges"));
        let second = unit(&[
            file,
            "[Service]\nExecStart=\nExecStart=/bin/c\nNoNewPrivileges=false\nEnvironment=A=2\n",
        ]);
        assert_eq!(second.programs(), ["/bin/c"]);
        assert!(!second.says_yes("NoNewPrivileges"));
        assert_eq!(second.variable("A"), Some("2".to_owned()));
    }

    #[test]
    fn words_are_split_as_systemd_does_it() {
        assert_eq!(
            words(r#"A=1 "B=x y"  'C=z' D=\" ""#),
            ["A=1", "B=x y", "C=z", "D=\"", ""]
        );
    }
}
