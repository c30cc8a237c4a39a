//! AppArmor: what the profile of a program or of a process denies to the library.

use super::finding::Findings;

use crate::cmd::system;
use crate::error::describe;
use keepalive_engine::apparmor::{Access, accesses};
use keepalive_engine::sockets::Process;
use keepalive_engine::verify::mapped_library;
use keepalive_policy::environment as variable;
use keepalive_policy::protocol::CONFIG;
use keepalive_sys::apparmor::{Use, of_process};
use keepalive_sys::proc;
use keepalive_sys::program::Program;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

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
    let environment = proc::environment(pid).unwrap_or_default();
    let value = |name: &[u8]| {
        environment
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    };
    let is_loaded = mapped_library(pid).is_ok_and(|mapped| mapped.is_some());
    for library in libraries(value(b"LD_PRELOAD").unwrap_or_default()) {
        let access = Access::of(&profile, &library, Use::Load);
        report(findings, &access, (!is_loaded).then_some("it is not loaded"));
    }
    let Some(rules) = rules_file(value(variable::CONFIG.as_bytes())) else {
        return;
    };
    let access = Access::of(&profile, rules, Use::Read);
    let consequence = "the library in the process has no policy of that file";
    report(findings, &access, is_loaded.then_some(consequence));
}

/// Returns the rules file that the library in a process reads; `named` is the value of KEEPALIVE_CONFIG there.
pub(super) fn rules_file(named: Option<&[u8]>) -> Option<&Path> {
    let rules = named.map_or(Path::new(CONFIG), |path| Path::new(OsStr::from_bytes(path)));
    (rules.is_absolute() && rules.exists()).then_some(rules)
}

/// Returns keepalive's libraries among those in `preload` (LD_PRELOAD).
pub(super) fn libraries(preload: &[u8]) -> Vec<PathBuf> {
    let names = preload.split(|byte| *byte == b':' || byte.is_ascii_whitespace());
    let ours = names.filter(|name| name.ends_with(b"/libkeepalive.so") && !name.contains(&b'$'));
    ours.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
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
