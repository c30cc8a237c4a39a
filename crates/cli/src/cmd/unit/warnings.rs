//! Warnings about the settings of a service that conflict with the library.

use super::environment::Environment;
use super::loaded::{Inheritance, inheritance};
use super::sandbox::{self, Usage};
use super::service::Service;
use super::statements::{UnitFile, words};
use keepalive_engine::apparmor::{Access, accesses_under};
use keepalive_engine::evidence::Evidence;
use keepalive_engine::preload::{self, Library};
use keepalive_engine::selinux::Denial;
use keepalive_sys::apparmor::{self, Profile};
use keepalive_sys::proc;
use keepalive_sys::program::Program;
use keepalive_sys::rooted::Root;
use keepalive_sys::selinux;
use std::path::{Path, PathBuf};

/// The variable that names libraries to the loader (ld.so(8)).
const PRELOAD: &str = "LD_PRELOAD";

/// The groups of system calls that the library requires: either this one, or all of the following
/// (`systemd.exec(5)`).
const WHOLE: [&str; 1] = ["@system-service"];
const PARTS: [&str; 4] = ["@network-io", "@basic-io", "@file-system", "@io-event"];

/// The process that starts services.
const INIT: u32 = 1;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cmd) enum Weight {
    /// The library is not loaded, or has no effect, or the service ends.
    InTheWay,
    /// The files of the program leave open whether the library sees all its connections and all its children.
    Possible,
    /// The library works, with a difference that the user should know.
    Remark,
}

/// A warning: what is in the way, and what to do.
#[derive(Debug)]
pub(in crate::cmd) struct Warning {
    pub(in crate::cmd) weight: Weight,
    pub(in crate::cmd) text: String,
    /// Empty if there is nothing to do.
    pub(in crate::cmd) advice: String,
}

/// What to do where the library cannot work.
const CGROUP: &str = "--engine cgroup reaches it";

impl Warning {
    pub(super) fn in_the_way(text: String) -> Self {
        Self {
            weight: Weight::InTheWay,
            text,
            advice: String::from(CGROUP),
        }
    }

    fn possible(text: String) -> Self {
        Self {
            weight: Weight::Possible,
            ..Self::in_the_way(text)
        }
    }

    fn remark(text: String) -> Self {
        Self {
            weight: Weight::Remark,
            text,
            advice: String::new(),
        }
    }

    /// Returns the warning as one sentence.
    pub(super) fn sentence(&self) -> String {
        let advice = if self.advice.is_empty() {
            String::new()
        } else {
            format!("; {}", self.advice)
        };
        format!("{}{advice}", self.text)
    }
}

/// What the library engine would do with a service.
pub(super) struct Plan<'a> {
    pub(super) unit: &'a UnitFile,
    /// The unit with the drop-in that loads the library.
    pub(super) with_drop_in: &'a UnitFile,
    /// The drop-in.
    pub(super) drop_in: &'a str,
    pub(super) name: &'a str,
    pub(super) root: &'a Root,
    pub(super) library: &'a Library,
    pub(super) programs: &'a [Program],
    /// The rules file that the library reads, if any.
    pub(super) rules: Option<&'a Path>,
}

/// Returns the warnings about the library. The programs and profiles are those of this system only if the
/// root directory is ours.
pub(super) fn of_library(plan: &Plan<'_>) -> Vec<Warning> {
    let Plan {
        unit,
        library,
        programs,
        rules,
        root,
        ..
    } = *plan;
    let is_ours = root.is_ours();
    let obstacle = |program, library: &Library| {
        if is_ours {
            preload::obstacle(program, library)
                .or_else(|| preload::obstacle_of_confinement(program, Some(library.path()), rules, INIT))
        } else {
            preload::obstacle_without_privilege(program, library)
        }
    };
    let mut warnings: Vec<Warning> = programs
        .iter()
        .filter_map(|program| Some(Warning::in_the_way(obstacle(program, library)?.describe(program))))
        .collect();
    // The libraries of another system's programs are not those of this system.
    if is_ours && warnings.is_empty() {
        let evidence = programs.iter().filter_map(Evidence::of);
        warnings.extend(evidence.map(|evidence| Warning::possible(evidence.describe())));
    }
    // Programs of another system are not visible here.
    if let Some(missing) = library.missing().filter(|_| is_ours) {
        warnings.push(Warning::remark(format!(
            "{missing}: the loader of each that the service starts prints an error; the packages for x86-64 contain that for \
             32-bit x86, and --engine cgroup needs none"
        )));
    }
    warnings.extend(of_environment(plan));
    if let Some(wiping) = wiping(unit) {
        warnings.push(Warning::in_the_way(wiping));
    }
    warnings.extend(sandbox::obstacle(unit, root, library.path(), Usage::Load).map(Warning::in_the_way));
    if let Some(rules) = rules
        && let Some(obstacle) = sandbox::obstacle(unit, root, rules, Usage::Read)
    {
        warnings.push(Warning::in_the_way(format!(
            "{obstacle}: the library has no policy of that file"
        )));
    }
    if let Some(filter) = risky_filter(unit) {
        warnings.push(Warning::in_the_way(format!(
            "SystemCallFilter={filter}: where this forbids setsockopt(2) or what reads /etc/keepalive.conf, the service is \
             ended by the kernel, or gets no policy",
        )));
    }
    if unit.says_yes("NoNewPrivileges") {
        warnings.push(Warning::remark(String::from(
            "NoNewPrivileges=yes: set-user-ID programs that the service starts run without their privilege anyway, and with \
             the library",
        )));
    }
    if is_ours
        && apparmor::is_enabled()
        && let Some(name) = unit.all("AppArmorProfile").last()
    {
        warnings.extend(of_named_profile(name.trim_start_matches('-'), library.path(), rules));
    }
    if is_ours
        && selinux::is_enabled()
        && let Some(context) = unit.last("SELinuxContext")
        && let Ok(Some(denial)) = Denial::of_file(
            context.value.trim_start_matches('-'),
            library.path(),
            selinux::Use::Load,
        )
    {
        warnings.push(Warning::in_the_way(format!(
            "{}: {}",
            context.describe(),
            denial.describe()
        )));
    }
    warnings
}

/// Returns what keeps the variables of the drop-in from the service.
fn of_environment(plan: &Plan<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let environment = Environment::of(plan.with_drop_in, plan.name, plan.root);
    let path = plan.library.path().to_string_lossy();
    match environment.variable(PRELOAD) {
        Some(variable) if names_library(&variable.value) => {}
        Some(variable) => warnings.push(Warning {
            advice: format!("add it there: LD_PRELOAD={}:{path}; or {CGROUP}", variable.value),
            ..Warning::in_the_way(format!(
                "{} sets LD_PRELOAD without the library, and overrides the drop-in",
                variable.file.display()
            ))
        }),
        None => {
            let by = environment.removal(PRELOAD).unwrap_or("the unit");
            warnings.push(Warning::in_the_way(format!(
                "{by} removes LD_PRELOAD from the environment"
            )));
        }
    }
    let mut own = UnitFile::default();
    own.add(plan.drop_in, PathBuf::new());
    let own = Environment::of(&own, plan.name, plan.root);
    for own in own.variables().filter(|own| own.name != PRELOAD) {
        let name = &own.name;
        match environment.variable(name) {
            Some(variable) if variable.value == own.value => {}
            Some(variable) => warnings.push(Warning::remark(format!(
                "{} sets {name}={}, which overrides the policy's",
                variable.file.display(),
                variable.value
            ))),
            // Reported above, if the same statement removes LD_PRELOAD.
            None if environment.variable(PRELOAD).is_none() => {}
            None => {
                let by = environment.removal(name).unwrap_or("the unit");
                warnings.push(Warning::remark(format!("{by} removes {name} from the environment")));
            }
        }
    }
    warnings.extend(environment.unread.iter().map(|path| {
        Warning::remark(format!(
            "EnvironmentFile={path} is not examined: where such a file sets LD_PRELOAD, it overrides the drop-in"
        ))
    }));
    warnings
}

/// Returns a warning if processes of the running service lack the environment that systemd gave them.
pub(super) fn of_processes(service: &Service) -> Option<Warning> {
    let without: Vec<u32> = service
        .processes()
        .into_iter()
        .filter(|pid| inheritance(*pid) == Inheritance::Wiped)
        .collect();
    let first = without.first()?;
    let program = proc::program(*first).unwrap_or_default();
    let (which, runs) = match without.len() {
        1 => (format!("process {first} ({})", program.display()), "runs"),
        several => (
            format!("{several} processes, {first} ({}) first,", program.display()),
            "run",
        ),
    };
    Some(Warning::in_the_way(format!(
        "{which} of {} {runs} without the environment that systemd gave the service: what starts them wipes it",
        service.name
    )))
}

/// Returns what the profile that the unit names denies to the library.
fn of_named_profile(name: &str, library: &Path, rules: Option<&Path>) -> Vec<Warning> {
    let profile = Profile {
        name: name.to_owned(),
        mode: String::from("enforce"),
    };
    let accesses = accesses_under(&profile, Some(library), rules).into_iter();
    let warning = |access: Access| Warning {
        advice: format!("{}; or {CGROUP}", access.advice()),
        ..Warning::in_the_way(format!("AppArmorProfile={name}: {}", access.describe()))
    };
    accesses.filter(|access| !access.is_allowed()).map(warning).collect()
}

/// Returns whether the value of LD_PRELOAD names the library, under whichever path.
fn names_library(value: &str) -> bool {
    let mut names = value.split(|character: char| character == ':' || character.is_whitespace());
    names.any(|name| Path::new(name).file_name().is_some_and(|name| name == preload::FILE))
}

/// Returns what the unit's own command does to the environment: env(1) without it.
fn wiping(unit: &UnitFile) -> Option<String> {
    let statement = unit.statements("ExecStart").into_iter().find(|statement| {
        let words = words(&statement.value);
        let mut words = words.iter().map(String::as_str);
        if !words.next().is_some_and(|program| program.ends_with("/env")) {
            return false;
        }
        let mut options = words.take_while(|word| word.starts_with('-') || word.contains('='));
        options.any(|word| match word {
            "-" | "--ignore-environment" => true,
            _ => !word.starts_with("--") && word.starts_with('-') && word.contains('i'),
        })
    })?;
    Some(format!(
        "{} starts the program without the environment of the unit",
        statement.describe()
    ))
}

/// Returns the unit's filter of system calls, if it may deny some that the library makes.
fn risky_filter(unit: &UnitFile) -> Option<String> {
    let lines = unit.all("SystemCallFilter");
    let filter = lines.join(" ");
    let (allowed, forbidden): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| !line.starts_with('~'));
    let names = |lines: &[&str]| -> Vec<String> {
        let words = lines
            .iter()
            .flat_map(|line| line.trim_start_matches('~').split_whitespace());
        words
            .map(|word| word.split(':').next().unwrap_or_default().to_owned())
            .collect()
    };
    let (allowed, forbidden) = (names(&allowed), names(&forbidden));
    let is_needed = |name: &String| {
        let calls = [
            "setsockopt",
            "getsockopt",
            "fcntl",
            "open",
            "openat",
            "read",
            "close",
            "mmap",
            "munmap",
        ];
        PARTS.contains(&name.as_str()) || calls.contains(&name.as_str()) || name == "@default"
    };
    let has = |group: &str| allowed.iter().any(|name| name == group);
    let is_enough = allowed.is_empty() || WHOLE.iter().any(|group| has(group)) || PARTS.iter().all(|group| has(group));
    (!lines.is_empty() && (!is_enough || forbidden.iter().any(is_needed))).then_some(filter)
}
