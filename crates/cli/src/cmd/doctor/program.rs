//! Examines a program: which engines reach it.

use super::finding::Findings;
use super::{apparmor, selinux};
use crate::error::REFUSED;
use crate::flags::PolicyFlags;
use crate::policy::{self, Policy};
use keepalive_engine::choice::{Engines, Wanted, choose};
use keepalive_engine::preload::{self, Library};
use keepalive_engine::seccomp;
use keepalive_policy::Settings;
use keepalive_sys::program::{Format, Privilege, Program, privilege};
use std::ffi::OsString;
use std::path::Path;

/// The hint for programs with AddressSanitizer's runtime if every program loads the library.
pub(super) const ADDRESS_SANITIZER: &str =
    "set ASAN_OPTIONS=verify_asan_link_order=0 where it is started, or take the line out: keepalive system disable";

/// Examines the program, and returns the engine that `keepalive run` uses for it.
pub(super) fn examine(findings: &mut Findings, program: &Program) -> Option<&'static str> {
    findings.fine("program", describe(program));
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = policy::read(&PolicyFlags::default(), &environment, Settings::NONE, REFUSED).ok();
    let rules = policy.as_ref().and_then(Policy::rules_file);
    let library = preload::library(program).ok();
    let path = library.as_ref().map(Library::path);
    let may_load = [
        apparmor::program(findings, program, path, rules),
        selinux::program(findings, program, path, rules),
    ];
    let is_loadable = may_load == [true, true];
    if let Some(library) = library {
        match preload::obstacle(program, &library) {
            None if !is_loadable => {}
            None => findings.fine("library", format!("{} can be loaded into it", library.path().display())),
            Some(obstacle) => {
                findings.note("library", obstacle.describe(program), "");
                if matches!(obstacle, preload::Obstacle::AddressSanitizer) && crate::cmd::system::is_enabled() {
                    findings.wrong(
                        "ld.so.preload",
                        "names the library for every program, and this one does not start with it",
                        ADDRESS_SANITIZER,
                    );
                }
            }
        }
    }
    let trial = seccomp::trial();
    if trial.is_ok() && !seccomp::may_keep_privileges() {
        findings.note(
            "engine seccomp",
            "set-user-ID programs would run without their privilege under it (no_new_privs)",
            "--engine preload leaves it to them",
        );
    }
    let choice = match choose(Wanted::Auto, program, false, rules) {
        Ok(choice) => choice,
        Err(error) => {
            findings.wrong(
                "keepalive run",
                error.to_string(),
                "keepalive cgroup enable, as root, reaches it",
            );
            return None;
        }
    };
    match (&choice.engines, trial) {
        (Engines::Preload(_) | Engines::Cgroup, _) | (_, Ok(_)) => {
            let engine = choice.engines.name();
            findings.fine("keepalive run", format!("uses engine {engine}: {}", choice.why));
            Some(engine)
        }
        // As keepalive run does in this case.
        (_, Err(seccomp::Unavailable { reason, .. })) if choice.is_preloadable => {
            let without = match choice.out_of_reach {
                Some(what) => format!(", without effect on {what}"),
                None => String::new(),
            };
            findings.note(
                "keepalive run",
                format!("uses engine preload alone{without}: {reason}"),
                "",
            );
            Some("preload")
        }
        (_, Err(seccomp::Unavailable { reason, .. })) => {
            findings.wrong(
                "keepalive run",
                format!("nothing reaches {}: {reason}", program.command.display()),
                "keepalive cgroup enable, as root, reaches it",
            );
            None
        }
    }
}

/// Returns a description of the program.
pub(super) fn describe(program: &Program) -> String {
    let path = program.path.display();
    let kind = match &program.format {
        Format::Elf(elf) if elf.is_go => format!("a Go program for {}", elf.machine),
        Format::Elf(elf) if elf.interpreter.is_none() => format!("a static program for {}", elf.machine),
        Format::Elf(elf) => {
            let loader = elf.interpreter.as_deref().unwrap_or(Path::new(""));
            let name = loader.file_name().unwrap_or_default().to_string_lossy();
            let libc = if name.starts_with("ld-musl") { "musl" } else { "glibc" };
            format!("a dynamic program ({libc}, {}) for {}", loader.display(), elf.machine)
        }
        Format::Unreadable => String::from("not readable"),
        Format::Other => String::from("no ELF file"),
    };
    let privilege = privilege(&program.path).map_or("", |privilege| match privilege {
        Privilege::SetUserId => ", set-user-ID",
        Privilege::SetGroupId => ", set-group-ID",
        Privilege::Capabilities => ", with file capabilities",
    });
    if program.command == program.path {
        format!("{path} is {kind}{privilege}")
    } else {
        format!("{} is a script of {path}, {kind}{privilege}", program.command.display())
    }
}
