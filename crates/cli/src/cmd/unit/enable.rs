//! `keepalive unit enable`: writes the drop-in, with the engine that reaches the service.

use super::drop_in;
use super::file::{self, DropIn, Manager};
use super::sandbox;
use super::service::Service;
use super::statements::UnitFile;
use super::warnings::{self, Plan, Warning, Weight};
use super::{Enable, Engine, cannot, check, members, own_path, say};
use crate::error::{Error, REFUSED};
use crate::output::print;
use crate::policy::{self, Policy};
use keepalive_engine::cgroup::{self, Programs, out_of_reach};
use keepalive_engine::preload;
use keepalive_policy::Settings;
use keepalive_policy::protocol::CONFIG;
use keepalive_sys::cgroup::Tree;
use std::path::{Path, PathBuf};

/// The mounts of cgroup v2 and of the BPF file system, which the cgroup engine uses when the service starts.
const CGROUPS: &str = "/sys/fs/cgroup";
const BPF: &str = "/sys/fs/bpf";

/// What the library engine would do with a service.
pub(in crate::cmd) struct Assessment {
    /// The drop-in.
    pub(in crate::cmd) text: String,
    pub(in crate::cmd) warnings: Vec<Warning>,
}

impl Assessment {
    /// Returns the engine for the service: that of the cgroup where the library does not reach it, or may not.
    ///
    /// # Errors
    /// The reason why the cgroup engine does not work, if the library does not reach the service.
    pub(in crate::cmd) fn engine(&self, service: &Service, policy: &Policy) -> Result<Engine, String> {
        let has = |weight| self.warnings.iter().any(|warning| warning.weight == weight);
        if has(Weight::InTheWay) {
            return cgroup_obstacle(service).map_or(Ok(Engine::Cgroup), Err);
        }
        let is_covered_more = has(Weight::Possible) && out_of_reach(policy).is_empty();
        Ok(if is_covered_more && cgroup_obstacle(service).is_none() {
            Engine::Cgroup
        } else {
            Engine::Preload
        })
    }
}

/// Finds the library, that of the drop-in `existing` first, and what keeps it from the service.
///
/// # Errors
/// The library was not found, or a unit file cannot contain a value.
pub(in crate::cmd) fn assess(
    service: &Service,
    unit: &UnitFile,
    policy: &Policy,
    existing: Option<&str>,
) -> Result<Assessment, Error> {
    let programs = service.programs(unit);
    let own = crate::cmd::doctor::own_program()?;
    let program = programs.first().unwrap_or(&own);
    let library = match existing.and_then(drop_in::library) {
        Some(path) => preload::library_at(Path::new(path), program)?,
        None => preload::library(program)?,
    };
    let text = drop_in::with_library(&library, policy, unit.variable("LD_PRELOAD"))?;
    let own = DropIn {
        path: &service.drop_in,
        text: Some(&text),
    };
    let with_drop_in = file::read(service.manager, &service.root, &service.names, &own)?;
    let plan = Plan {
        unit,
        with_drop_in: with_drop_in.as_ref().unwrap_or(unit),
        drop_in: &text,
        name: &service.name,
        root: &service.root,
        library: &library,
        programs: &programs,
        rules: policy.rules_file(),
    };
    let mut warnings = warnings::of_library(&plan);
    warnings.extend(warnings::of_processes(service));
    Ok(Assessment { text, warnings })
}

impl Enable {
    pub(super) fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let policy = policy::read(&self.policy, &[], Settings::EVERYWHERE, REFUSED)?;
        policy::require_file(&policy, "the service", REFUSED)?;
        if self.now && !service.is_managed() {
            return Err(Error::new(
                REFUSED,
                "cannot use --now here: systemd does not run on this system",
            ));
        }
        let unit = service.unit()?;
        if let Some(meta_unit) = members::meta_unit(&service, &unit) {
            return Err(meta_unit.refusal(&service, "enable"));
        }
        let (engine, text) = self.drop_in(&service, &unit, &policy)?;
        if !service.root.is_ours() {
            self.note_other_system(&service, engine, &text)?;
        }
        let path = service.root.outside(&service.drop_in);
        if self.dry_run {
            return print(&format!("# {}\n{text}", path.display()));
        }
        write(&service, &text)?;
        print(&format!("{}: {}\n", service.name, path.display()))?;
        if !self.now {
            say(&format!(
                "it counts when the service starts again: {}",
                service.restart()
            ));
            if service.root.is_ours() && service.manager == Manager::System {
                say(&format!(
                    "to check it then: keepalive doctor --unit {}",
                    self.which.unit
                ));
            }
            return Ok(());
        }
        let failure = match check::restart(&service, engine, &policy) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let may_change = self.engine == Engine::Auto && engine == Engine::Preload && failure.is_of_engine;
        if !may_change || cgroup_obstacle(&service).is_some() {
            return Err(failure.error);
        }
        // Only the start has shown that the library does not reach the service.
        say(&format!("--engine cgroup, because {}", failure.error.message()));
        write(&service, &with_cgroup(&unit, &policy)?)?;
        check::restart(&service, Engine::Cgroup, &policy).map_err(|failure| failure.error)
    }

    /// Prints what the drop-in for another system takes from this one.
    fn note_other_system(&self, service: &Service, engine: Engine, text: &str) -> Result<(), Error> {
        let needed = match drop_in::library(text) {
            Some(library) if engine == Engine::Preload => PathBuf::from(library),
            _ => own_path()?,
        };
        if service.root.open_file(&needed).is_err() {
            say(&format!(
                "'{}' is not there yet: the service needs it at this path",
                service.root.outside(&needed).display()
            ));
        }
        let rules = Path::new(CONFIG);
        if self.policy.are_empty() && service.root.open_file(rules).is_ok() {
            say(&format!(
                "the policy is that of this system; the times in the drop-in override '{}'",
                service.root.outside(rules).display()
            ));
        }
        Ok(())
    }

    /// Returns the drop-in and its engine, and prints what the user should know about the choice.
    fn drop_in(&self, service: &Service, unit: &UnitFile, policy: &Policy) -> Result<(Engine, String), Error> {
        if self.engine == Engine::Cgroup {
            if service.manager == Manager::User {
                return Err(
                    Error::new(REFUSED, "cannot use --engine cgroup with --user: it requires root")
                        .hint("--engine preload; or, as root, keepalive cgroup enable user.slice"),
                );
            }
            return Ok((Engine::Cgroup, with_cgroup(unit, policy)?));
        }
        let assessment = match assess(service, unit, policy, None) {
            Err(error) if self.engine == Engine::Auto && cgroup_obstacle(service).is_none() => {
                say(&format!("--engine cgroup, because {}", error.message()));
                return Ok((Engine::Cgroup, with_cgroup(unit, policy)?));
            }
            assessed => assessed?,
        };
        if self.engine == Engine::Auto {
            match assessment.engine(service, policy) {
                Ok(Engine::Cgroup) => {
                    for warning in assessment
                        .warnings
                        .iter()
                        .filter(|warning| warning.weight != Weight::Remark)
                    {
                        say(&format!("--engine cgroup, because {}", warning.text));
                    }
                    return Ok((Engine::Cgroup, with_cgroup(unit, policy)?));
                }
                Ok(_) => {}
                Err(obstacle) => say(&format!(
                    "--engine preload, because the cgroup engine does not work here: {obstacle}"
                )),
            }
        }
        for warning in &assessment.warnings {
            say(&warning.sentence());
        }
        Ok((Engine::Preload, assessment.text))
    }
}

/// Writes the drop-in, and makes systemd read it.
fn write(service: &Service, text: &str) -> Result<(), Error> {
    let path = service.root.outside(&service.drop_in);
    service
        .write(text)
        .map_err(|error| cannot(&format!("write '{}'", path.display()), &error))?;
    service.reload();
    Ok(())
}

/// Returns the drop-in for the cgroup engine, and prints what that cannot set or reach.
fn with_cgroup(unit: &UnitFile, policy: &Policy) -> Result<String, Error> {
    let names = out_of_reach(policy);
    if !names.is_empty() {
        say(&format!("not set by the cgroup engine: {}", names.join(", ")));
    }
    let command = own_path()?;
    let root = sandbox::root(unit);
    let is_outside = root.is_some() && unit.starts_once();
    let mount = sandbox::mount_over(unit, &[&command, Path::new(CGROUPS), Path::new(BPF)]);
    if let Some(statement) = mount.or(root.filter(|_| !is_outside)) {
        say(&format!(
            "{}: the command of the drop-in runs there, too, and may not find {}, {CGROUPS} or {BPF}; keepalive cgroup \
             enable, on the slice of the service, requires no drop-in",
            statement.describe(),
            command.display()
        ));
    }
    drop_in::with_cgroup(&command, policy, is_outside)
}

/// Returns why the cgroup engine cannot be used for the service; `None` also for another system's service,
/// whose kernel is unknown.
pub(in crate::cmd) fn cgroup_obstacle(service: &Service) -> Option<String> {
    if service.manager == Manager::User {
        return Some(String::from("it requires root"));
    }
    if !service.root.is_ours() {
        return None;
    }
    let trial = match Tree::find() {
        Ok(_) => Programs::trial(),
        Err(reason) => Err(cgroup::Obstacle::NoTree(reason)),
    };
    trial.err().map(|obstacle| obstacle.reason())
}

/// Returns the name as users write it.
pub(in crate::cmd) fn short(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}
