//! Units that run no program themselves, and the services that they start instead.

use super::file::{self, DropIn};
use super::loaded::LoadedUnit;
use super::service::Service;
use super::statements::UnitFile;
use std::collections::BTreeSet;
use std::path::Path;

/// The limit of unit files that are searched for one that names the unit.
const LARGEST_NUMBER: usize = 4096;

/// Returns whether the service only starts programs that do nothing: true(1), as the units have it that stand
/// for all instances of a template. The file of such a program does not show what it does.
pub(in crate::cmd) fn starts_nothing(unit: &UnitFile) -> bool {
    let programs = unit.programs();
    programs
        .iter()
        .all(|program| Path::new(program).file_name().is_some_and(|name| name == "true"))
}

/// Returns the services that `service` stands for: those that systemd starts or stops with it.
pub(in crate::cmd) fn of(service: &Service, unit: &UnitFile, loaded: Option<&LoadedUnit>) -> Vec<String> {
    let mut found = match loaded {
        Some(loaded) => loaded.services(),
        None => in_files(service, unit),
    };
    found.retain(|name| *name != service.name);
    found
}

/// The same without systemd, from the files of units.
fn in_files(service: &Service, unit: &UnitFile) -> Vec<String> {
    let mut found = BTreeSet::new();
    for name in ["Wants", "Requires", "BindsTo", "Upholds"] {
        found.extend(unit.dependencies(name).into_iter().map(str::to_owned));
    }
    let directories = service.manager.directories();
    for directory in &directories {
        for kind in ["wants", "requires"] {
            let path = directory.join(format!("{}.{kind}", service.name));
            found.extend(names_in(service, &path));
        }
    }
    let files: BTreeSet<String> = directories
        .iter()
        .flat_map(|directory| names_in(service, directory))
        .collect();
    let is_part = |name: &String| {
        let own = DropIn {
            path: Path::new("/"),
            text: None,
        };
        let unit = file::read(service.manager, &service.root, &[name.clone()], &own)
            .ok()
            .flatten();
        unit.is_some_and(|unit| unit.dependencies("PartOf").contains(&service.name.as_str()))
    };
    found.extend(
        files
            .into_iter()
            .filter(|name| name.ends_with(".service"))
            .take(LARGEST_NUMBER)
            .filter(is_part),
    );
    found.into_iter().filter(|name| name.ends_with(".service")).collect()
}

fn names_in(service: &Service, directory: &Path) -> Vec<String> {
    let names = service
        .root
        .directory(directory)
        .and_then(|directory| directory.names());
    names
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect()
}
