//! Examines a systemd service: what it runs, which engine reaches it, and everything in the way.

use super::finding::{Findings, Level};
use crate::cmd::unit::enable::{assess, cgroup_obstacle, short};
use crate::cmd::unit::service::Service;
use crate::cmd::unit::warnings::Weight;
use crate::cmd::unit::{Engine, find_service, members};
use crate::error::{Error, REFUSED};
use crate::flags::PolicyFlags;
use crate::policy;
use keepalive_policy::Settings;

const SUBJECT: &str = "unit";
/// The limit of services that are examined for a unit that stands for others.
const LARGEST_NUMBER: usize = 16;

/// Examines the service, or those that it stands for. Returns the engine that `keepalive unit enable` uses.
///
/// # Errors
/// There is no such service.
pub(super) fn examine(findings: &mut Findings, name: &str) -> Result<Option<&'static str>, Error> {
    let service = find_service(name)?;
    let unit = service.unit()?;
    if !members::starts_nothing(&unit) {
        return Ok(Some(one(findings, &service)?));
    }
    let members = members::of(&service, &unit, service.loaded.as_ref());
    if members.is_empty() {
        let text = format!("{} starts only true(1), and no other service", service.name);
        findings.wrong(SUBJECT, text, "name the service that has the connections");
        return Ok(None);
    }
    if service.text()?.is_some() {
        findings.wrong(
            SUBJECT,
            format!("{} has a drop-in of keepalive, without effect", service.name),
            &format!("keepalive unit disable {}", short(&service.name)),
        );
    }
    let text = format!(
        "{} starts only true(1), and stands for {}",
        service.name,
        members.join(", ")
    );
    findings.note(SUBJECT, text, "keepalive unit enable requires the name of each");
    let mut engine = None;
    for name in members.iter().take(LARGEST_NUMBER) {
        let member = find_service(name)?;
        // A template has no processes, and a dependency may be missing.
        if member.loaded.is_some() && member.unit().is_ok() {
            engine = Some(one(findings, &member)?);
        }
    }
    Ok(engine)
}

/// Examines one service, and returns the engine that reaches it.
fn one(findings: &mut Findings, service: &Service) -> Result<&'static str, Error> {
    let name = short(&service.name);
    let unit = service.unit()?;
    state(findings, service);
    let engine = service.engine();
    let policy = policy::read(&PolicyFlags::default(), &[], Settings::EVERYWHERE, REFUSED)?;
    let assessment = assess(service, &unit, &policy)?;
    let is_blocked = assessment.obstacles().next().is_some();
    for warning in &assessment.warnings {
        let level = match warning.weight {
            Weight::InTheWay if engine != Some(Engine::Cgroup) => Level::Wrong,
            Weight::InTheWay | Weight::Remark => Level::Note,
        };
        let advice = if level == Level::Wrong { &warning.advice } else { "" };
        findings.add(level, "engine preload", warning.text.clone(), Some(advice.to_owned()));
    }
    let text = service.text()?;
    match (&text, engine) {
        (Some(text), Some(engine)) => {
            findings.fine(
                "drop-in",
                format!("{} has that of keepalive, with engine {}", service.name, engine.name()),
            );
            let problem = match engine {
                Engine::Cgroup => service.without_policy(),
                Engine::Auto | Engine::Preload => service.without_library(text),
            };
            if let Some(problem) = problem {
                findings.wrong("drop-in", problem, &service.restart());
            }
        }
        _ => findings.note(
            "drop-in",
            format!("{} has none of keepalive", service.name),
            &format!("keepalive unit enable {name}"),
        ),
    }
    let best = match cgroup_obstacle(service) {
        None if is_blocked => "cgroup",
        Some(obstacle) if is_blocked => {
            let text = format!(
                "the cgroup engine, which would reach {}, does not work here: {obstacle}",
                service.name
            );
            findings.wrong("engine cgroup", text, "");
            "preload"
        }
        _ => "preload",
    };
    findings.fine(
        "keepalive unit",
        format!("enable uses engine {best} for {}", service.name),
    );
    Ok(best)
}

/// Reports whether the service runs, and its main process.
fn state(findings: &mut Findings, service: &Service) {
    let name = &service.name;
    let Some(loaded) = &service.loaded else {
        return findings.note(
            SUBJECT,
            format!("whether {name} runs is not known: systemd does not run here"),
            "",
        );
    };
    let main = loaded.main_process();
    match (main, service.processes().len()) {
        (Some(pid), number) => findings.fine(SUBJECT, format!("{name} runs: process {pid}, {number} in all")),
        (None, 0) => findings.note(
            SUBJECT,
            format!("{name} has no process now: only its files are examined"),
            &format!("start it, and run keepalive doctor --unit {} again", short(name)),
        ),
        (None, number) => findings.fine(
            SUBJECT,
            format!("{name} runs: {number} processes, none of them its main one"),
        ),
    }
}
