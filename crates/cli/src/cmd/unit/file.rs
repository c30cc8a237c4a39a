//! Reads a unit as systemd does: its file and the drop-ins (`systemd.unit(5)`).

use super::statements::UnitFile;
use crate::error::{Error, FAILED, describe};
use keepalive_sys::regular::Unfit;
use keepalive_sys::rooted::{Directory, Place, Root};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The limit of a file's size, in bytes.
pub(super) const LARGEST: u64 = 256 * 1024;
/// The limit of the total size of a unit with all its drop-ins, in bytes.
const LARGEST_OF_ALL: usize = 4 << 20;

/// The systemd manager of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cmd) enum Manager {
    System,
    User,
}

/// The directories of unit files, in the order of precedence.
const SYSTEM: [&str; 11] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// The directory for the units and drop-ins of the system's administrator.
const ADMINISTRATOR: &str = "/etc/systemd/system";
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
            Self::System => Ok(PathBuf::from(ADMINISTRATOR)),
            Self::User => Ok(user_directory().ok_or("neither XDG_CONFIG_HOME nor HOME is set")?),
        }
    }

    pub(super) fn directories(self) -> Vec<PathBuf> {
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

/// A drop-in that takes the place of the file at `path`, whether or not that exists.
pub(super) struct DropIn<'a> {
    /// The path in that system.
    pub(super) path: &'a Path,
    /// The text; `None` if there is to be no drop-in.
    pub(super) text: Option<&'a str>,
}

/// Reads the unit, which has these `names`, and its drop-ins with `own` among them; `None` if the unit does not
/// exist.
///
/// # Errors
/// The unit is masked, or a file is not regular, or too large: systemd would not read it either.
pub(super) fn read(
    manager: Manager,
    root: &Root,
    names: &[String],
    own: &DropIn<'_>,
) -> Result<Option<UnitFile>, Error> {
    let directories = manager.directories();
    let files: Vec<String> = names.iter().flat_map(|name| with_template(name)).collect();
    let Some((place, file)) = first(root, &directories, &files)? else {
        return Ok(None);
    };
    let mut unit = UnitFile::default();
    unit.add(&file, place.outside());
    let mut length = file.len();
    for drop_in in drop_ins(root, &directories, names, own.path) {
        let Some(place) = drop_in.place.filter(|place| place.inside() != own.path) else {
            unit.add(own.text.unwrap_or_default(), root.outside(own.path));
            continue;
        };
        if !is_masked(&place)
            && let Some(text) = text(root, &place)?
        {
            length += text.len();
            if length > LARGEST_OF_ALL {
                let name = names.first().map_or("", String::as_str);
                let what = format!("cannot read the drop-ins of '{name}': they have more than 4 MiB");
                return Err(Error::new(FAILED, what));
            }
            unit.add(&text, place.outside());
        }
    }
    Ok(Some(unit))
}

/// The file of a drop-in; `None` for that at [`DropIn::path`] if its directory does not exist.
struct Found {
    name: OsString,
    place: Option<Place>,
}

/// Returns the drop-ins in the order in which systemd reads them, with the one at `own`. Among files with the
/// same name the first counts (`systemd.unit(5)`).
fn drop_ins(root: &Root, directories: &[PathBuf], names: &[String], own: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = own
        .file_name()
        .into_iter()
        .map(|name| Found {
            name: name.to_owned(),
            place: None,
        })
        .collect();
    let names = names
        .iter()
        .flat_map(|name| with_drop_ins(name))
        .chain([String::from("service")]);
    for name in names {
        for directory in directories {
            let Ok(directory) = root.directory(&directory.join(format!("{name}.d"))) else {
                continue;
            };
            let directory = Rc::new(directory);
            for name in directory.names().unwrap_or_default() {
                let is_drop_in = Path::new(&name).extension() == Some(OsStr::new("conf"));
                if is_drop_in && !found.iter().any(|found| found.name == name) {
                    let place = Some(Place::new(directory.clone(), name.clone()));
                    found.push(Found { name, place });
                }
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Returns the text of the unit's own file.
fn first(root: &Root, directories: &[PathBuf], names: &[String]) -> Result<Option<(Place, String)>, Error> {
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
                return Ok(Some((place, text)));
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
fn with_template(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let (Some((template, _)), Some((_, suffix))) = (name.split_once('@'), name.rsplit_once('.')) {
        names.push(format!("{template}@.{suffix}"));
    }
    names
}

/// Returns the names whose directories have drop-ins for the unit: also each part of its name that ends with
/// a dash.
fn with_drop_ins(name: &str) -> Vec<String> {
    let mut names = with_template(name);
    let suffix = name.find(['@', '.']).unwrap_or(name.len());
    let (prefix, suffix) = name.split_at(suffix);
    let dashes = prefix.rmatch_indices('-').map(|(at, _)| at);
    names.extend(
        dashes
            .filter(|at| at + 1 < prefix.len())
            .map(|at| format!("{}{suffix}", &prefix[..=at])),
    );
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_its_templates_file() {
        assert_eq!(with_template("a.service"), ["a.service"]);
        assert_eq!(
            with_template("getty@tty1.service"),
            ["getty@tty1.service", "getty@.service"]
        );
    }

    #[test]
    fn the_parts_of_a_name_that_end_with_a_dash_have_drop_ins() {
        assert_eq!(
            with_drop_ins("a-b-c.service"),
            ["a-b-c.service", "a-b-.service", "a-.service"]
        );
        assert_eq!(with_drop_ins("a-.service"), ["a-.service"]);
    }
}
