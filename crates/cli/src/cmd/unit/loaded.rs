//! A unit as the running systemd has it (`systemctl show`).

use super::file::Manager;
use keepalive_sys::proc;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The properties that are requested.
const PROPERTIES: &str = "--property=Id,Names,LoadState,MainPID,ConsistsOf,Wants,Requires,BindsTo,Upholds";

/// A loaded unit.
#[derive(Debug)]
pub(in crate::cmd) struct LoadedUnit {
    properties: HashMap<String, String>,
}

/// Whether a process has the environment that systemd gave its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inheritance {
    Inherited,
    /// A program between systemd and this process has removed it.
    Wiped,
    /// The process has overwritten it, as some do to show a title, or it cannot be read.
    Unknown,
}

/// Returns whether systemd runs here.
pub(super) fn is_systemd_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Returns systemctl(1) for this manager.
pub(super) fn systemctl(manager: Manager) -> Command {
    let mut command = Command::new("systemctl");
    if manager == Manager::User {
        command.arg("--user");
    }
    command
}

impl LoadedUnit {
    /// Asks systemd for the unit; `None` if there is no systemd, or no such unit.
    pub(in crate::cmd) fn find(manager: Manager, name: &str) -> Option<Self> {
        if !is_systemd_running() {
            return None;
        }
        let mut command = systemctl(manager);
        command
            .args(["show", PROPERTIES, "--", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let properties: HashMap<_, _> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let unit = Self { properties };
        (unit.value("LoadState") == "loaded").then_some(unit)
    }

    fn value(&self, property: &str) -> &str {
        self.properties.get(property).map_or("", String::as_str)
    }

    /// Returns all names of the unit, its own name first.
    pub(in crate::cmd) fn names(&self) -> Vec<String> {
        let id = self.value("Id");
        let others = self.value("Names").split_whitespace().filter(|name| *name != id);
        [id].into_iter().chain(others).map(str::to_owned).collect()
    }

    /// Returns the main process.
    pub(in crate::cmd) fn main_process(&self) -> Option<u32> {
        self.value("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// Returns the services in these properties, each once.
    pub(super) fn services(&self, properties: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in properties
            .iter()
            .flat_map(|property| self.value(property).split_whitespace())
        {
            if name.ends_with(".service") && !found.iter().any(|found| found == name) {
                found.push(name.to_owned());
            }
        }
        found
    }
}

/// Returns whether a process of a service has the variables that systemd sets in every service
/// (`systemd.exec(5)`).
pub(super) fn inheritance(pid: u32) -> Inheritance {
    const SET: [&[u8]; 3] = [b"INVOCATION_ID=", b"SYSTEMD_EXEC_PID=", b"JOURNAL_STREAM="];
    let Some(environment) = proc::environment(pid) else {
        return if proc::has_empty_environment(pid) {
            Inheritance::Wiped
        } else {
            Inheritance::Unknown
        };
    };
    let is_variable = |entry: &Vec<u8>| {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.len() < entry.len()
            && !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    if environment
        .iter()
        .any(|entry| SET.iter().any(|name| entry.starts_with(name)))
    {
        Inheritance::Inherited
    } else if !environment.is_empty() && environment.iter().all(is_variable) {
        Inheritance::Wiped
    } else {
        Inheritance::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_from_its_properties() {
        let text = "Id=a.service\nNames=b.service a.service\nLoadState=loaded\nMainPID=0\n\
                    ConsistsOf=a@1.service\nWants=a@1.service x.target\nRequires=system.slice\n";
        let unit = LoadedUnit::parse(text).unwrap();
        assert_eq!(unit.names(), ["a.service", "b.service"]);
        assert_eq!(unit.services(&["ConsistsOf", "Wants", "Requires"]), ["a@1.service"]);
        assert_eq!(unit.main_process(), None);
        assert!(LoadedUnit::parse("Id=a.service\nLoadState=not-found\n").is_none());
    }
}
