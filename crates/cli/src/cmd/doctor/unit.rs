//! Examines a systemd service: what it runs, which engine reaches it, and everything in the way.

use super::finding::{Findings, Level};
use super::sockets::{self, Report};
use crate::cmd::unit::drop_in;
use crate::cmd::unit::enable::{assess, short};
use crate::cmd::unit::service::Service;
use crate::cmd::unit::statements::UnitFile;
use crate::cmd::unit::warnings::Weight;
use crate::cmd::unit::{Engine, find_service, members, of_services};
use crate::error::{Error, FAILED, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::policy::{self, Policy};
use keepalive_engine::verify::{Engines, Given};
use keepalive_policy::Settings;

const SUBJECT: &str = "unit";
/// The limit of services that are examined for a unit that stands for others.
const LARGEST_NUMBER: usize = 16;

/// Examines the service, or those that it stands for; `options` is the policy of the options. Returns the engine
/// that `keepalive unit enable` uses, and the sockets.
///
/// # Errors
/// There is no such service.
pub(super) fn examine(
    findings: &mut Findings,
    name: &str,
    options: Option<&Policy>,
) -> Result<(Option<&'static str>, Report), Error> {
    let service = find_service(name)?;
    let unit = service.unit()?;
    let Some(meta_unit) = members::meta_unit(&service, &unit) else {
        let (engine, report) = one(findings, &service, options)?;
        return Ok((Some(engine), report));
    };
    if meta_unit.members.is_empty() {
        findings.wrong(
            SUBJECT,
            meta_unit.describe(&service.name),
            "name the service that has the connections",
        );
        return Ok((None, Report::default()));
    }
    if service.text()?.is_some() {
        findings.wrong(
            SUBJECT,
            format!("{} has a drop-in of keepalive, without effect", service.name),
            &format!("keepalive unit disable {}", short(&service.name)),
        );
    }
    findings.note(
        SUBJECT,
        meta_unit.describe(&service.name),
        "keepalive unit enable requires the name of each",
    );
    let (mut engine, mut report) = (None, Report::default());
    for name in meta_unit.members.iter().take(LARGEST_NUMBER) {
        let member = find_service(name)?;
        // A dependency may be missing.
        if member.unit().is_ok() {
            let (name, sockets) = one(findings, &member, options)?;
            // If one service requires the cgroup engine, the machine must offer it.
            engine = engine.filter(|engine| *engine == "cgroup").or(Some(name));
            report.append(sockets);
        }
    }
    Ok((engine, report))
}

/// Examines one service. Returns the engine that reaches it, and the sockets.
fn one(findings: &mut Findings, service: &Service, options: Option<&Policy>) -> Result<(&'static str, Report), Error> {
    let unit = service.unit()?;
    state(findings, service);
    let text = service.text()?;
    let best = engine_for(findings, service, &unit, text.as_deref(), options)?;
    findings.fine(
        "keepalive unit",
        format!("enable uses engine {best} for {}", service.name),
    );
    let report = connections(findings, service, text.as_deref(), options)?;
    Ok((best, report))
}

/// Reports what keeps the library from the service, and returns the engine that `unit enable` uses.
fn engine_for(
    findings: &mut Findings,
    service: &Service,
    unit: &UnitFile,
    text: Option<&str>,
    options: Option<&Policy>,
) -> Result<&'static str, Error> {
    let is_in_use = text.map(drop_in::engine) != Some(Engine::Cgroup);
    let by_default = policy::read(&PolicyFlags::default(), &[], Settings::EVERYWHERE, REFUSED)?;
    let policy = options.unwrap_or(&by_default);
    let assessment = match assess(service, unit, policy, text) {
        Ok(assessment) => assessment,
        Err(error) => {
            let level = if is_in_use { Level::Wrong } else { Level::Note };
            findings.add(level, "engine preload", error.message(), None);
            return Ok(Engine::Cgroup.name());
        }
    };
    for warning in &assessment.warnings {
        let level = match warning.weight {
            Weight::InTheWay if is_in_use => Level::Wrong,
            Weight::InTheWay | Weight::Possible | Weight::Remark => Level::Note,
        };
        let advice = is_in_use.then(|| warning.advice.clone());
        findings.add(level, "engine preload", warning.text.clone(), advice);
    }
    match assessment.engine(service, policy) {
        Ok(engine) => Ok(engine.name()),
        Err(obstacle) => {
            let text = format!("would reach {}, but does not work here: {obstacle}", service.name);
            findings.wrong("engine cgroup", text, "");
            Ok(Engine::Preload.name())
        }
    }
}

/// Reports whether the service has a drop-in, whether its engine reaches the processes, and their connections.
fn connections(
    findings: &mut Findings,
    service: &Service,
    text: Option<&str>,
    options: Option<&Policy>,
) -> Result<Report, Error> {
    let name = &service.name;
    let mut policy = None;
    if let Some(text) = text {
        let engine = drop_in::engine(text);
        findings.fine(
            "drop-in",
            format!("{name} has that of keepalive, with engine {}", engine.name()),
        );
        let problem = match engine {
            Engine::Cgroup => service.without_policy(),
            Engine::Auto | Engine::Preload => {
                policy = Some(drop_in::policy(service, text)?);
                service.without_library(text)
            }
        };
        if let Some(problem) = problem {
            findings.wrong("drop-in", problem, &service.restart());
        }
    } else {
        let advice = format!("keepalive unit enable {}", short(name));
        findings.note("drop-in", format!("{name} has none of keepalive"), &advice);
    }
    let processes = service.processes();
    if processes.is_empty() {
        return Ok(Report::default());
    }
    let given = Given {
        overriding: options,
        started_with: policy.as_ref().map(|policy| (policy, Engines::Preload)),
    };
    let mut found = Findings::default();
    let mut report = sockets::examine(&mut found, &processes, given)
        .map_err(|error| Error::new(FAILED, format!("cannot examine {name}: fork: {}", describe(&error))))?;
    for mut finding in found.ranked() {
        finding.text = of_services(&finding.text);
        findings.take(finding);
    }
    report.change_advice(of_services);
    Ok(report)
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
