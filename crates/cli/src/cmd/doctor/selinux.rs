//! SELinux: what the policy denies to the library in a program or in a process.

use super::finding::Findings;
use super::library_files::{LibraryFiles, NO_POLICY};
use crate::cmd::system;
use crate::error::describe;
use keepalive_engine::selinux::{Denial, denials};
use keepalive_engine::sockets::Process;
use keepalive_policy::protocol::LD_SO_PRELOAD;
use keepalive_sys::program::Program;
use keepalive_sys::selinux::{Use, is_enabled, is_enforcing, of_process};
use std::path::Path;

const SUBJECT: &str = "selinux";

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
    let files = LibraryFiles::of(pid);
    let not_loaded = (!files.is_loaded).then_some("the library is not loaded");
    for library in &files.libraries {
        report(findings, &context, library, Use::Load, not_loaded);
    }
    if system::is_enabled() {
        report(findings, &context, Path::new(LD_SO_PRELOAD), Use::Map, not_loaded);
    }
    if let Some(rules) = &files.rules {
        let consequence = files.is_loaded.then_some(NO_POLICY);
        report(findings, &context, rules, Use::Read, consequence);
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
