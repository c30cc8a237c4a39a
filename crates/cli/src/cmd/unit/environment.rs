//! The environment of a service, as systemd makes it from the unit (`systemd.exec(5)`).

use super::file::LARGEST;
use super::statements::{UnitFile, words};
use keepalive_sys::rooted::Root;
use std::path::{Path, PathBuf};

/// A variable, and what sets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    /// The file that sets it, for messages: a unit file, a drop-in, or a file that `EnvironmentFile=` names.
    pub(super) file: PathBuf,
}

/// The environment that a unit gives its programs.
#[derive(Debug, Default)]
pub(super) struct Environment {
    variables: Vec<Variable>,
    /// The statements that remove variables, and the values of `UnsetEnvironment=`.
    removals: Vec<(String, String)>,
    /// The values of `EnvironmentFile=` whose files cannot be found here.
    pub(super) unread: Vec<String>,
}

impl Environment {
    /// Returns the environment of `unit`, which has this `name`, in the system below `root`.
    pub(super) fn of(unit: &UnitFile, name: &str, root: &Root) -> Self {
        let mut environment = Self::default();
        for statement in unit.in_order(&["Environment"]) {
            if statement.value.is_empty() {
                let lost = environment.variables.drain(..);
                let by = format!("an empty Environment= in {}", statement.file.display());
                let lost: Vec<_> = lost.map(|variable| (by.clone(), variable.name)).collect();
                environment.removals.extend(lost);
            }
            for word in words(&statement.value) {
                environment.set(&word, &statement.file);
            }
        }
        for statement in unit.statements("EnvironmentFile") {
            let path = statement.value.trim_start_matches('-');
            match expanded(path, name) {
                Some(path) => {
                    let path = Path::new(&path);
                    // systemd ignores a missing file, or the service does not start.
                    let content = root.read(path, LARGEST).unwrap_or_default();
                    environment.add_file(&String::from_utf8_lossy(&content), &root.outside(path));
                }
                None => environment.unread.push(statement.value.clone()),
            }
        }
        for statement in unit.statements("UnsetEnvironment") {
            let is_meant = |variable: &Variable, word: &String| {
                *word == variable.name || *word == format!("{}={}", variable.name, variable.value)
            };
            for word in words(&statement.value) {
                let by = statement.describe();
                if let Some(at) = environment
                    .variables
                    .iter()
                    .position(|variable| is_meant(variable, &word))
                {
                    let lost = environment.variables.remove(at);
                    environment.removals.push((by, lost.name));
                }
            }
        }
        environment
    }

    /// Adds the content of a file that `EnvironmentFile=` names.
    fn add_file(&mut self, content: &str, path: &Path) {
        for line in content.replace("\\\n", "").lines() {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some((name, value)) = line.split_once('=') {
                let value = words(value).join(" ");
                self.set(&format!("{}={value}", name.trim_end()), path);
            }
        }
    }

    /// Sets the variable of an assignment, in place of an earlier one.
    fn set(&mut self, assignment: &str, file: &Path) {
        let Some((name, value)) = assignment.split_once('=') else {
            return;
        };
        self.variables.retain(|variable| variable.name != name);
        self.removals.retain(|(_, removed)| removed != name);
        self.variables.push(Variable {
            name: name.to_owned(),
            value: value.to_owned(),
            file: file.to_owned(),
        });
    }

    /// Returns all variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter()
    }

    /// Returns the variable of this name.
    pub(super) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// Returns what removes the variable of this name.
    pub(super) fn removal(&self, name: &str) -> Option<&str> {
        let removal = self.removals.iter().rev().find(|(_, removed)| removed == name);
        removal.map(|(by, _)| by.as_str())
    }
}

/// Returns `path` with the specifiers for the name of the unit replaced; `None` for other specifiers and
/// patterns, which systemd alone can resolve.
fn expanded(path: &str, name: &str) -> Option<String> {
    if path.contains(['*', '?', '[']) {
        return None;
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut expanded = String::new();
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match characters.next()? {
            '%' => expanded.push('%'),
            'n' => expanded.push_str(name),
            'N' => expanded.push_str(stem),
            'p' => expanded.push_str(prefix),
            'i' => expanded.push_str(instance),
            _ => return None,
        }
    }
    Some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str, files: &[(&str, &str)]) -> Environment {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let mut unit = UnitFile::default();
        unit.add(text, PathBuf::from("/a@b.service"));
        Environment::of(&unit, "a@b.service", &Root::open(directory.path()).unwrap())
    }

    fn value(environment: &Environment, name: &str) -> Option<String> {
        Some(environment.variable(name)?.value.clone())
    }

    #[test]
    fn the_last_assignment_wins_and_files_override_the_unit() {
        let file = "# A=0\nB = \"x y\"\nC=1\\\n2\n;\n";
        let text = "[Service]\nEnvironmentFile=-/%p-%i\nEnvironment=A=1 B=2\nEnvironment=A=3\n";
        let environment = environment(text, &[("a-b", file)]);
        assert_eq!(value(&environment, "A").as_deref(), Some("3"));
        assert_eq!(value(&environment, "B").as_deref(), Some("x y"));
        assert_eq!(value(&environment, "C").as_deref(), Some("12"));
        assert!(environment.variable("B").unwrap().file.ends_with("a-b"));
    }

    #[test]
    fn statement_that_removes_a_variable_is_named() {
        let text = "[Service]\nEnvironment=A=1 B=2\nEnvironment=\nEnvironment=B=3 C=4 D=5\nUnsetEnvironment=C D=6\n";
        let environment = environment(text, &[]);
        assert_eq!(environment.removal("A"), Some("an empty Environment= in /a@b.service"));
        assert_eq!(environment.removal("B"), None);
        assert_eq!(environment.removal("C"), Some("UnsetEnvironment=C D=6 in /a@b.service"));
        assert_eq!(value(&environment, "D").as_deref(), Some("5"));
    }

    #[test]
    fn a_path_that_systemd_alone_can_resolve_is_reported() {
        let environment = environment("[Service]\nEnvironmentFile=/%h/a\nEnvironmentFile=-/b/*.conf\n", &[]);
        assert_eq!(environment.unread, ["/%h/a", "-/b/*.conf"]);
    }
}
