//! AppArmor: what the profile of a program or of a process denies to the library.

use super::finding::Findings;
use super::library_files::{LibraryFiles, NO_POLICY};
use crate::cmd::system;
use crate::error::describe;
use keepalive_engine::apparmor::{Access, accesses};
use keepalive_engine::sockets::Process;
use keepalive_sys::apparmor::{Use, of_process};
use keepalive_sys::program::Program;
use std::path::Path;

const SUBJECT: &str = "apparmor";

/// Examines the profile that `program` gets, the library that would be loaded, and the rules file. Returns
/// false if a profile is known to deny the library.
pub(super) fn program(
    findings: &mut Findings,
    program: &Program,
    library: Option<&Path>,
    rules: Option<&Path>,
) -> bool {
    let command = program.command.display();
    let mut is_loadable = true;
    match accesses(&program.command, library, rules) {
        Ok((None, _)) => {}
        Ok((Some(profile), accesses)) => {
            findings.note(
                SUBJECT,
                format!("{command} gets the profile {} ({})", profile.name, profile.mode),
                "",
            );
            for access in accesses {
                is_loadable &= access.is_allowed() || !access.is_of_library();
                let is_wrong = access.is_of_library() && system::is_enabled();
                report(
                    findings,
                    &access,
                    is_wrong.then_some("keepalive system does not reach it"),
                );
            }
        }
        Err(error) => findings.note(
            SUBJECT,
            format!("which profile {command} gets cannot be observed: {}", describe(&error)),
            "run keepalive doctor as root, or start it and examine the process: keepalive doctor --pid PID",
        ),
    }
    is_loadable
}

/// Examines the profile of a process, the library, and the rules file that the library reads.
pub(super) fn process(findings: &mut Findings, process: &Process) {
    let pid = process.pid;
    let profile = match of_process(pid) {
        Ok(Some(profile)) => profile,
        Ok(None) => return,
        Err(error) => {
            let text = format!("the profile of the process cannot be read: {}", describe(&error));
            return findings.note(SUBJECT, text, "run keepalive doctor as root");
        }
    };
    findings.note(
        SUBJECT,
        format!("the process is under the profile {} ({})", profile.name, profile.mode),
        "",
    );
    if !profile.is_enforced() {
        return;
    }
    let files = LibraryFiles::of(pid);
    for library in &files.libraries {
        let access = Access::of(&profile, library, Use::Load);
        report(findings, &access, (!files.is_loaded).then_some("it is not loaded"));
    }
    if let Some(rules) = &files.rules {
        let access = Access::of(&profile, rules, Use::Read);
        report(findings, &access, files.is_loaded.then_some(NO_POLICY));
    }
}

/// Reports an access, as a problem if it is denied and that has a `consequence`.
fn report(findings: &mut Findings, access: &Access, consequence: Option<&str>) {
    let text = access.describe();
    match consequence {
        Some(consequence) if access.is_denied() => {
            findings.wrong(SUBJECT, format!("{text}: {consequence}"), &access.advice());
        }
        _ if access.is_allowed() => findings.fine(SUBJECT, text),
        _ => findings.note(SUBJECT, text, &access.advice()),
    }
}
