//! Reads a unit as systemd does: its file and the drop-ins (`systemd.unit(5)`).

use crate::error::{Error, FAILED, describe};
use keepalive_sys::regular::Unfit;
use keepalive_sys::rooted::{Directory, Place, Root};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The limit of a file's size, in bytes.
pub(super) const LARGEST: u64 = 256 * 1024;
/// The limit of the total size of a unit with all its drop-ins, in bytes.
const LARGEST_OF_ALL: usize = 4 << 20;

/// The systemd manager of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    System,
    User,
}

/// The directories of unit files, in the order of precedence.
const SYSTEM: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const USER: [&str; 5] = [
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/usr/share/systemd/user",
];

impl Manager {
    /// Returns the directory for manual drop-ins.
    ///
    /// # Errors
    /// The user has no home directory.
    pub(super) fn drop_in_directory(self) -> Result<PathBuf, &'static str> {
        match self {
            Self::System => Ok(PathBuf::from(SYSTEM[0])),
            Self::User => Ok(user_directory().ok_or("neither XDG_CONFIG_HOME nor HOME is set")?),
        }
    }

    fn directories(self) -> Vec<PathBuf> {
        match self {
            Self::System => SYSTEM.map(PathBuf::from).into(),
            Self::User => user_directory().into_iter().chain(USER.map(PathBuf::from)).collect(),
        }
    }
}

fn user_directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(Path::new(&set("HOME")?).join(".config")))?;
    Some(config.join("systemd/user"))
}

/// The statements of a unit, in their effective order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFile {
    /// Section, name and value.
    statements: Vec<(String, String, String)>,
}

impl UnitFile {
    /// Reads the unit and its drop-ins, except the one at `own`; `None` if the unit does not exist.
    ///
    /// # Errors
    /// The unit is masked, or a file is not regular, or too large: systemd would not read it either.
    pub(super) fn read(manager: Manager, root: &Root, name: &str, own: &Path) -> Result<Option<Self>, Error> {
        let directories = manager.directories();
        let names = names(name);
        let mut unit = Self::default();
        let Some(file) = first(root, &directories, &names)? else {
            return Ok(None);
        };
        unit.add(&file);
        let mut length = file.len();
        let mut drop_ins: Vec<Place> = Vec::new();
        for name in &names {
            for directory in &directories {
                let Ok(directory) = root.directory(&directory.join(format!("{name}.d"))) else {
                    continue;
                };
                let names = directory.names().unwrap_or_default();
                let directory = Rc::new(directory);
                let places = names.into_iter().map(|name| Place::new(directory.clone(), name));
                drop_ins.extend(places.filter(|place| {
                    Path::new(place.name()).extension() == Some(OsStr::new("conf")) && place.inside() != own
                }));
            }
        }
        drop_ins.sort_by(|one, other| one.name().cmp(other.name()));
        for place in drop_ins {
            if !is_masked(&place)
                && let Some(text) = text(root, &place)?
            {
                length += text.len();
                if length > LARGEST_OF_ALL {
                    let what = format!("cannot read the drop-ins of '{name}': they have more than 4 MiB");
                    return Err(Error::new(FAILED, what));
                }
                unit.add(&text);
            }
        }
        Ok(Some(unit))
    }

    fn add(&mut self, text: &str) {
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
                self.statements.push((section.clone(), name, value));
            }
        }
    }

    /// Returns the values of a repeatable statement of services; an empty value resets the list.
    pub(super) fn all(&self, wanted: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for (section, name, value) in &self.statements {
            if section == "Service" && name == wanted {
                if value.is_empty() {
                    values.clear();
                } else {
                    values.push(value.as_str());
                }
            }
        }
        values
    }

    /// Returns whether a boolean statement is true.
    pub(super) fn says_yes(&self, wanted: &str) -> bool {
        let last = self.all(wanted).last().copied().unwrap_or_default();
        ["1", "yes", "true", "on"].contains(&last.to_ascii_lowercase().as_str())
    }

    /// Returns the paths of the programs that the service starts.
    pub(super) fn programs(&self) -> Vec<&str> {
        let commands = self.all("ExecStart").into_iter();
        commands
            .filter_map(|command| {
                command
                    .trim_start_matches(['@', '-', ':', '+', '!', '|'])
                    .split_whitespace()
                    .next()
            })
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

/// Returns the text of the unit's own file.
fn first(root: &Root, directories: &[PathBuf], names: &[String]) -> Result<Option<String>, Error> {
    for name in names {
        for directory in directories {
            let directory = match root.directory(directory) {
                Ok(directory) => Rc::<Directory>::new(directory),
                Err(error) if is_absent(&error) || is_forbidden(&error) => continue,
                Err(error) => {
                    let action = format!("read '{}'", root.outside(directory).display());
                    return Err(super::cannot(&action, &error));
                }
            };
            let place = Place::new(directory, name);
            if is_masked(&place) {
                let error = Error::new(
                    FAILED,
                    format!(
                        "'{name}' is masked: {} is a link to /dev/null",
                        place.outside().display()
                    ),
                );
                return Err(error.hint(format!("systemctl unmask {name}")));
            }
            if let Some(text) = text(root, &place)? {
                return Ok(Some(text));
            }
        }
    }
    Ok(None)
}

/// Returns whether the file is the link that masks a unit (`systemd.unit(5)`).
fn is_masked(place: &Place) -> bool {
    place.link().as_deref() == Some(Path::new("/dev/null"))
}

/// Returns the text of a file; `None` if there is no readable file.
fn text(root: &Root, place: &Place) -> Result<Option<String>, Error> {
    match root.read(&place.inside(), LARGEST) {
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
        Err(error) if is_absent(&error) || is_forbidden(&error) => Ok(None),
        Err(error) => Err(unreadable(place, &error)),
    }
}

/// Returns whether the error means that the file does not exist.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns whether the kernel denies the access to this user.
fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_some()
}

/// Returns the error for a file that systemd reads and that this command cannot read.
pub(super) fn unreadable(place: &Place, error: &io::Error) -> Error {
    let (path, reason) = (place.outside(), describe(error));
    let message = Error::new(FAILED, format!("cannot read '{}': {reason}", path.display()));
    match Unfit::of(error) {
        Some(_) => message.hint("a unit or drop-in is a regular file of at most 256 KiB"),
        None => message,
    }
}

/// Returns the unit's own name and, for an instance, that of its template.
fn names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let (Some((template, _)), Some((_, suffix))) = (name.split_once('@'), name.rsplit_once('.')) {
        names.push(format!("{template}@.{suffix}"));
    }
    names
}

/// Splits at white space, except within quotes; a backslash keeps the next character.
fn words(line: &str) -> Vec<String> {
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
            unit.add(text);
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
    fn an_instance_has_its_templates_file() {
        assert_eq!(names("a.service"), ["a.service"]);
        assert_eq!(names("getty@tty1.service"), ["getty@tty1.service", "getty@.service"]);
    }

    #[test]
    fn words_are_split_as_systemd_does_it() {
        assert_eq!(
            words(r#"A=1 "B=x y"  'C=z' D=\" ""#),
            ["A=1", "B=x y", "C=z", "D=\"", ""]
        );
    }
}
