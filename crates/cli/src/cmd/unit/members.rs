//! Units that run no program themselves, and the services that they start instead.

use super::enable::short;
use super::file::{self, DropIn};
use super::service::Service;
use super::statements::UnitFile;
use crate::error::{Error, FAILED};
use std::collections::BTreeSet;
use std::path::Path;

/// The limit of unit files that are searched for one that names the unit.
const LARGEST_NUMBER: usize = 4096;

/// A unit that stands for other services: no process of its own remains.
pub(in crate::cmd) struct MetaUnit {
    /// What shows it, as a clause about the unit.
    pub(in crate::cmd) reason: &'static str,
    /// The services for which it stands.
    pub(in crate::cmd) members: Vec<String>,
}

/// The dependencies by which a unit starts other services.
const STARTS: [&str; 4] = ["Wants", "Requires", "BindsTo", "Upholds"];

/// Returns what `service` stands for; `None` if it runs programs itself.
pub(in crate::cmd) fn meta_unit(service: &Service, unit: &UnitFile) -> Option<MetaUnit> {
    let programs = unit.programs();
    // The file of true(1) does not show that the program does nothing.
    let is_true = |program: &&str| Path::new(program).file_name().is_some_and(|name| name == "true");
    let remains = unit.last("Type").is_some_and(|kind| kind.value == "oneshot") && unit.says_yes("RemainAfterExit");
    let (reason, started) = if programs.iter().all(is_true) {
        ("starts only true(1)", STARTS.as_slice())
    } else if remains && service.processes().is_empty() {
        ("keeps none of its processes", [].as_slice())
    } else {
        return None;
    };
    let mut members = match &service.loaded {
        Some(loaded) => loaded.services(&[&["ConsistsOf"], started].concat()),
        None => in_files(service, unit, started),
    };
    members.retain(|name| *name != service.name);
    (!started.is_empty() || !members.is_empty()).then_some(MetaUnit { reason, members })
}

impl MetaUnit {
    /// Returns what the unit is, as a sentence about the service `name`.
    pub(in crate::cmd) fn describe(&self, name: &str) -> String {
        match self.members.as_slice() {
            [] => format!("{name} {}", self.reason),
            members => format!("{name} {}, and stands for {}", self.reason, members.join(", ")),
        }
    }

    /// Returns the error that refuses an action on the service.
    pub(super) fn refusal(&self, service: &Service, action: &str) -> Error {
        let error = Error::new(
            FAILED,
            format!("{}: no connection is its own", self.describe(&service.name)),
        );
        if self.members.is_empty() {
            return error.hint(format!(
                "systemctl list-dependencies {} shows what it starts",
                service.name
            ));
        }
        let user = service.user_option();
        let lines = self
            .members
            .iter()
            .map(|name| format!("keepalive unit {action} {user}{}", short(name)));
        error.hint(lines.collect::<Vec<_>>().join("\nhint: "))
    }
}

/// The same without systemd, from the files of units.
fn in_files(service: &Service, unit: &UnitFile, started: &[&str]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for name in started {
        found.extend(unit.dependencies(name).into_iter().map(str::to_owned));
    }
    let directories = service.manager.directories();
    for directory in &directories {
        for kind in started.iter().map(|name| name.to_ascii_lowercase()) {
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
        let unit = file::read(service.manager, &service.root, std::slice::from_ref(name), &own)
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
