//! `keepalive run`: starts a program whose connections get keepalive.

mod verify;

use super::cgroup::warn_of_what_is_out_of_reach;
use super::check::summary;
use crate::error::{Error, NOT_EXECUTABLE, NOT_FOUND, NOT_RUN, describe};
use crate::flags::PolicyFlags;
use crate::help::Notes;
use crate::mistake;
use crate::output::{WIDTH, shown, wrap, write_stderr};
use crate::policy::{self, Part, Policy};
use clap::{Args, ValueEnum};
use keepalive_engine::cgroup::child::{self, Failure, HiddenLimit};
use keepalive_engine::choice::{Choice, Engines, Wanted, choose};
use keepalive_engine::{handover, preload, seccomp};
use keepalive_policy::{Keepalive, Settings};
use keepalive_sys::exec::{exec, raise_descriptor_limit};
use keepalive_sys::program::{self, NotStartable, Program, privilege};
use keepalive_sys::seccomp::{IoUring, is_first_to_report};
use rustix::thread::no_new_privs;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Run a program with TCP keepalive on every connection
///
/// COMMAND keeps the process id, the terminal and the signals of keepalive, and its exit status is its own. Where Yama
/// restricts ptrace(2) to descendants, a keepalive process takes its place. If no engine can reach COMMAND, keepalive fails
/// before COMMAND starts.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive run [OPTIONS] [--] COMMAND [ARG]...")]
pub(crate) struct Run {
    /// Engine that reaches COMMAND
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub(crate) engine: EngineChoice,

    /// Run COMMAND under the process id of keepalive, or fail
    ///
    /// Without this option, a keepalive process takes the place of COMMAND where Yama restricts ptrace(2) to descendants,
    /// and where keepalive is executed in a running container. It forwards signals, stops and ends as COMMAND does.
    #[arg(long)]
    pub(crate) in_place: bool,

    /// Whether COMMAND may use io_uring
    ///
    /// The engine preload does not see connections that COMMAND opens by io_uring; the engine seccomp sets them within a
    /// second.
    #[arg(
        long,
        value_name = "allow|deny",
        default_value = "allow",
        hide_possible_values = true
    )]
    pub(crate) io_uring: IoUringChoice,

    /// Print the engine, the reason for it and the policy on standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Report on standard error which connections were set, when COMMAND has ended
    ///
    /// A process beside COMMAND reads its sockets, and those of its descendants, from outside, and compares them with the
    /// policy, as 'keepalive doctor --pid' does. With a TIME it reports after that time. The exit status stays that of
    /// COMMAND. Example: --verify=30s
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = verify::Report::AT_END,
        value_parser = verify::Report::parse
    )]
    pub(crate) verify: Option<verify::Report>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
}

/// The notes that --help prints below the options.
pub(crate) const NOTES: Notes = Notes {
    command: "run",
    precedence: "Options override the environment (KEEPIDLE, ...; see libkeepalive(7)), which overrides \
                 /etc/keepalive.conf, which overrides the kernel's sysctls. Without --idle, --interval, --count, \
                 --preset, rules and a file: --idle 60 --interval 15 --count 5.",
    statuses: &[
        ("125", "keepalive itself failed."),
        ("126", "COMMAND was found but cannot be executed."),
        ("127", "COMMAND was not found."),
        ("else", "The exit status of COMMAND."),
    ],
    examples: &[
        (
            "The defaults: 60 s idle time, then up to 5 probes, 15 s apart:",
            &["keepalive run -- ssh host"],
        ),
        (
            "A known middlebox, and a program that sets keepalive itself. It may probe sooner than the \
             policy, not later, and cannot switch keepalive off:",
            &["keepalive run --preset aws-nlb --mode cap -- node server.js"],
        ),
        (
            "A Go program; prints the engine and the reason:",
            &["keepalive run -v -- kubectl port-forward svc/db 5432"],
        ),
        (
            "A rule for databases:",
            &["keepalive run --rule 'connect *:5432 idle=30s' -- ./job"],
        ),
        (
            "Whether every connection of a program was set:",
            &["keepalive run --verify -- ./job"],
        ),
        (
            "What the kernel has on each socket of a program:",
            &["KEEPALIVE_LOG=stderr keepalive run --idle 2m -- ssh host"],
        ),
    ],
    ..Notes::DEFAULT
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// Choose automatically; fail if no engine can reach the program
    Auto,
    /// The library, by LD_PRELOAD, even if it has no effect
    Preload,
    /// A supervisor of system calls; also reaches static and Go programs
    Seccomp,
    /// An eBPF program for a cgroup of its own; reaches every program; requires root
    Cgroup,
}

impl From<EngineChoice> for Wanted {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Auto => Self::Auto,
            EngineChoice::Preload => Self::Preload,
            EngineChoice::Seccomp => Self::Seccomp,
            EngineChoice::Cgroup => Self::Cgroup,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoUringChoice {
    /// COMMAND may use it
    Allow,
    /// io_uring_setup(2) fails with ENOSYS, so that COMMAND uses ordinary calls
    Deny,
}

/// Runs the command; returns only if it could not be started.
///
/// # Errors
/// The reason why the command was not started, with the exit status 125, 126 or 127.
pub(crate) fn run(run: &Run) -> Result<Infallible, Error> {
    raise_descriptor_limit();
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = policy::read(&run.policy, &environment, Settings::EVERYWHERE, NOT_RUN)?;

    let program = find(&run.command).map_err(not_startable)?;

    let is_strict = run.io_uring == IoUringChoice::Deny;
    let choice = choose(run.engine.into(), &program, is_strict, policy.rules_file()).map_err(not_run)?;
    if run.verbose {
        tell(&choice, &policy);
        policy::report_notes(&policy);
    }
    note_what_is_out_of_reach(&run.command, &choice.engines);
    if matches!(choice.engines, Engines::Preload(_) | Engines::Both(_)) {
        policy::require_file(&policy, "the library in COMMAND", NOT_RUN)?;
    }
    let is_off = policy.settings.keepalive == Some(Keepalive::Off) && !is_strict;
    // An outer process may have removed the privileges already.
    let takes_privileges = !seccomp::may_keep_privileges() && !no_new_privs().unwrap_or(false);
    let is_supervised = match &choice.engines {
        Engines::Preload(library) => {
            preload::prepare(&mut environment, library, &policy);
            preload::ignore_order(&mut environment);
            false
        }
        Engines::Seccomp => {
            // For the supervisor, a library that is in every program of the system is the same as one that
            // this command loads.
            preload::hand_over(&mut environment, &policy);
            !is_off && supervise(run, &program, &choice, &policy)?
        }
        Engines::Both(library) => {
            preload::prepare(&mut environment, library, &policy);
            preload::ignore_order(&mut environment);
            !is_off && supervise(run, &program, &choice, &policy)?
        }
        Engines::Cgroup => {
            // keepalive doctor reads the policy there.
            preload::hand_over(&mut environment, &policy);
            if !is_off {
                join_cgroup(&program, &policy)?;
            }
            false
        }
    };
    preload::note_supervisor(&mut environment, is_supervised, takes_privileges);

    let verifier = run.verify.and_then(|report| {
        if report == verify::Report::AtEnd && std::process::id() == 1 {
            warn(
                "--verify: no report comes at the end of the first process of a container, which ends all its processes; \
                 --verify=TIME reports before",
            );
        }
        let engines = match choice.engines {
            Engines::Cgroup => verify::Engines::Cgroup,
            _ if is_supervised => verify::Engines::Supervisor,
            Engines::Preload(_) | Engines::Seccomp | Engines::Both(_) => verify::Engines::Preload,
        };
        let started = verify::Verifier::start(report, &policy, engines);
        started
            .inspect_err(|error| warn(&format!("--verify does not work: {}", describe(error))))
            .ok()
    });
    let error = exec(&program.command, &run.command, &environment);
    if let Some(verifier) = verifier {
        verifier.cancel();
    }
    Err(not_executed(&program, &error))
}

/// Prints what no engine reaches although the command starts it, as far as the command's name shows that.
fn note_what_is_out_of_reach(command: &[OsString], engines: &Engines) {
    let name = || Path::new(&command[0]).file_name().unwrap_or_default().display();
    if let Some(found) = handover::of(command) {
        warn(&format!(
            "note: {} lets {} start the program: engine {} reaches {} itself, not that program; {}",
            found.command,
            found.starter,
            engines.name(),
            found.command,
            found.remedy
        ));
    } else if handover::leaves_cgroup(command, engines) {
        warn(&format!(
            "note: {} moves the program into another cgroup, where engine cgroup does not reach it; --engine seccomp does, and so \
             does keepalive cgroup enable on that cgroup (podman: or --cgroups=split)",
            name()
        ));
    }
}

/// Returns the program that `command` starts.
pub(super) fn find(command: &[OsString]) -> Result<Program, NotStartable> {
    let search = program::search_path();
    // clap does not accept an empty command.
    let name = command.first().map(OsString::as_os_str).unwrap_or_default();
    program::inspect(&program::find(name, &search)?, &search)
}

/// Puts this process under a supervisor; returns whether it has one now.
fn supervise(run: &Run, program: &Program, choice: &Choice, policy: &Policy) -> Result<bool, Error> {
    let io_uring = match run.io_uring {
        IoUringChoice::Allow => IoUring::Allow,
        IoUringChoice::Deny => IoUring::Deny,
    };
    // Read now: later this process can no longer gain privileges.
    let privilege = if seccomp::may_keep_privileges() {
        None
    } else {
        privilege(&program.path)
    };
    let parts = policy.parts();
    let plan = seccomp::Plan {
        sources: &parts.each_ref().map(Part::source),
        program: program.command.file_name().unwrap_or_default().as_bytes(),
        io_uring,
    };
    match seccomp::supervise(&plan, !run.in_place) {
        Ok(()) => {
            // Programs that COMMAND starts later are not known yet, so nothing is printed for them.
            if privilege.is_some() && is_first_to_report() {
                warn(&format!(
                    "{} runs without its privilege: keepalive run, as an ordinary user, takes it (no_new_privs); \
                     --engine preload leaves it",
                    program.path.display()
                ));
            } else if !seccomp::may_keep_privileges() && run.verbose {
                warn(
                    "set-user-ID programs that it starts, such as sudo, run without their privilege \
                     (no_new_privs); --engine preload leaves it to them",
                );
            }
            Ok(true)
        }
        Err(seccomp::Obstacle::Nested) => {
            if run.verbose {
                warn("a keepalive around this one supervises it already, by its own policy");
            }
            Ok(true)
        }
        Err(obstacle) if obstacle.is_harmless() && choice.is_preloadable && run.io_uring == IoUringChoice::Allow => {
            // Nobody misses what nothing shows to be there.
            if let Some(what) = choice.out_of_reach {
                warn(&format!(
                    "engine preload alone, without effect on {what}: {}",
                    obstacle.reason()
                ));
            } else if run.verbose {
                warn(&format!("engine preload alone: {}", obstacle.reason()));
            }
            warn_of_confinement(choice);
            Ok(false)
        }
        Err(obstacle) => {
            warn_of_confinement(choice);
            Err(not_run(obstacle.refusal(program)))
        }
    }
}

/// Prints what the AppArmor profile of the command, or SELinux, denies to the library, if only the supervisor
/// could compensate for it.
fn warn_of_confinement(choice: &Choice) {
    if choice.is_confined {
        warn(&choice.why);
    }
}

/// Moves this process into a cgroup with the policy.
fn join_cgroup(program: &Program, policy: &Policy) -> Result<(), Error> {
    warn_of_what_is_out_of_reach(policy);
    let name = program.command.file_name().unwrap_or_default().as_bytes();
    let hidden = child::join(policy, name).map_err(|failure| {
        let action = format!("run '{}' with engine cgroup", program.command.display());
        match failure {
            Failure::Programs(obstacle) => not_run(obstacle.error(&action)),
            Failure::Cgroup(directory, error) => Error::new(
                NOT_RUN,
                format!("cannot {action}: {}: {}", directory.display(), describe(&error)),
            )
            .hint("it requires a cgroup in which this user may make others: root's, or a delegated one"),
        }
    })?;
    for HiddenLimit { file, limit } in hidden {
        warn(&format!(
            "programs that read the limits of their own cgroup alone do not see {} ({limit}), which holds all the same",
            file.display()
        ));
    }
    Ok(())
}

fn not_run(error: keepalive_engine::Error) -> Error {
    Error::from(error).with_status(NOT_RUN)
}

fn warn(text: &str) {
    write_stderr(&wrap(&format!("keepalive: {text}"), WIDTH, 2));
}

/// Prints the engines, the reason, and the settings.
fn tell(choice: &Choice, policy: &Policy) {
    let mut what = match policy.settings.keepalive {
        Some(Keepalive::Off) => String::from("nothing is set: KEEPALIVE=off is in the environment"),
        _ if policy.settings == Settings::NONE => String::from("settings: keepalive=on, the rest as the kernel has it"),
        _ => format!("settings: {}", policy.settings),
    };
    for text in policy.rules.iter().chain(&policy.config) {
        let _ = write!(
            what,
            "\nkeepalive: {}: {}",
            text.name,
            summary(mistake::count(&text.text))
        );
    }
    let (engines, why) = (choice.engines.name(), &choice.why);
    write_stderr(&format!("keepalive: engine {engines}: {why}\nkeepalive: {what}\n"));
}

pub(super) fn not_startable(reason: NotStartable) -> Error {
    match reason {
        NotStartable::NotFound(path) => {
            Error::new(NOT_FOUND, format!("cannot run '{}': no such program", shown(&path)))
        }
        NotStartable::NotExecutable(path) => Error::new(
            NOT_EXECUTABLE,
            format!("cannot run '{}': it is not executable", shown(&path)),
        ),
        NotStartable::Unreachable(path, errno) => Error::new(
            NOT_EXECUTABLE,
            format!("cannot run '{}': {}", shown(&path), describe(&errno.into())),
        ),
    }
}

fn not_executed(program: &Program, error: &io::Error) -> Error {
    let status = if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    Error::new(
        status,
        format!("cannot run '{}': execve: {}", shown(&program.command), describe(error)),
    )
}
