//! SELinux: what the policy denies to the library in a program or in a process.

use super::apparmor::{libraries, rules_file};
use super::finding::Findings;

use crate::cmd::system;
use crate::error::describe;
use keepalive_engine::selinux::{Denial, denials};
use keepalive_engine::sockets::Process;
use keepalive_engine::verify::mapped_library;
use keepalive_policy::environment as variable;
use keepalive_sys::proc;
use keepalive_sys::program::Program;
use keepalive_sys::selinux::{Use, is_enabled, is_enforcing, of_process};
use std::path::Path;

const SUBJECT: &str = "selinux";
/// The loader's list of libraries for every program (`keepalive system`).
const LIST: &str = "/etc/ld.so.preload";

/// Examines the context that `program` gets, the library that would be loaded, and the rules file. Returns
/// false if the policy is known to deny the library.
pub(super) fn program(
    findings: &mut Findings,
    program: &Program,
    library: Option<&Path>,
    rules: Option<&Path>,
) -> bool {
    let command = program.command.display();
    match denials(std::process::id(), &program.path, library, rules) {
        Ok(None) => true,
        Ok(Some((context, denials))) => {
            findings.note(SUBJECT, format!("{command} gets the context {context}"), "");
            for denial in &denials {
                findings.note(SUBJECT, denial.describe(), &denial.advice());
            }
            !denials.iter().any(Denial::is_of_library)
        }
        Err(error) => {
            let text = format!(
                "what the policy denies {command} cannot be determined: {}",
                describe(&error)
            );
            findings.note(
                SUBJECT,
                text,
                "start it and examine the process: keepalive doctor --pid PID",
            );
            true
        }
    }
}

/// Examines the context of a process, and the files that its loader and the library in it use.
pub(super) fn process(findings: &mut Findings, process: &Process) {
    if !is_enabled() {
        return;
    }
    let pid = process.pid;
    let context = match of_process(pid) {
        Ok(context) => context,
        Err(error) => {
            let text = format!("the context of the process cannot be read: {}", describe(&error));
            return findings.note(SUBJECT, text, "run keepalive doctor as root");
        }
    };
    let mode = if is_enforcing() { "enforcing" } else { "permissive" };
    findings.note(SUBJECT, format!("the process has the context {context} ({mode})"), "");
    let environment = proc::environment(pid).unwrap_or_default();
    let value = |name: &[u8]| {
        environment
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    };
    let is_loaded = mapped_library(pid).is_ok_and(|mapped| mapped.is_some());
    let not_loaded = (!is_loaded).then_some("the library is not loaded");
    for library in libraries(value(b"LD_PRELOAD").unwrap_or_default()) {
        report(findings, &context, &library, Use::Load, not_loaded);
    }
    if system::is_enabled() {
        report(findings, &context, Path::new(LIST), Use::Map, not_loaded);
    }
    if let Some(rules) = rules_file(value(variable::CONFIG.as_bytes())) {
        let consequence = "the library in the process has no policy of that file";
        report(findings, &context, rules, Use::Read, is_loaded.then_some(consequence));
    }
}

/// Reports a file that the policy does not allow `context` to use, as a problem if the kernel denies it and
/// that has a `consequence`.
fn report(findings: &mut Findings, context: &str, file: &Path, usage: Use, consequence: Option<&str>) {
    let denial = match Denial::of_file(context, file, usage) {
        Ok(None) => return,
        Ok(Some(denial)) => denial,
        Err(error) => {
            let text = format!(
                "whether the policy lets {context} use {} cannot be determined: {}",
                file.display(),
                describe(&error)
            );
            return findings.note(SUBJECT, text, "");
        }
    };
    match consequence.filter(|_| is_enforcing()) {
        Some(consequence) => findings.wrong(
            SUBJECT,
            format!("{}: {consequence}", denial.describe()),
            &denial.advice(),
        ),
        None => findings.note(SUBJECT, denial.describe(), &denial.advice()),
    }
}
