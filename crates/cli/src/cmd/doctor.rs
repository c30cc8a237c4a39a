//! `keepalive doctor`: examines everything that decides whether connections get keepalive.

mod apparmor;
mod container;
mod finding;
mod history;
mod library_files;
mod machine;
mod process;
mod program;
mod selinux;
mod sockets;
mod unit;

use super::run::{find, not_startable};
use crate::error::{Error, FAILED, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::help::{Json, Notes, SUCCESS, USAGE};
use crate::json::line;
use crate::output::print;
use crate::policy;
use clap::Args;
use finding::{Finding, Findings, Level};
use keepalive_engine::sockets::Process;
use keepalive_engine::verify::Given;
use keepalive_sys::exec::raise_descriptor_limit;
use keepalive_sys::program::Program;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::io;

/// Show which engines work on this machine, reach a program, a service, or a process
///
/// Problems come first, each with a remedy. Changes nothing, and does not run COMMAND. For a process, compares the policy that
/// applies to it with what the kernel has on each TCP socket of the process and its descendants.
#[derive(Debug, Args)]
#[command(override_usage = "keepalive doctor [OPTIONS] [--] [COMMAND [ARG]...]")]
pub(crate) struct Doctor {
    /// Examine a running process, and compare its connections with its policy
    ///
    /// The policy is that of the options, then that of the process: its environment, its /etc/keepalive.conf, its cgroup.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "command")]
    pid: Option<u32>,

    /// Examine a systemd service: what it runs, which engine reaches it, and its connections
    #[arg(long, value_name = "UNIT", conflicts_with_all = ["command", "pid"])]
    unit: Option<String>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    /// A program and its arguments, as for keepalive run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    policy: PolicyFlags,
}

pub(crate) const NOTES: Notes = Notes {
    command: "doctor",
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            (
                "engine",
                "string",
                "the engine that 'keepalive run' uses for COMMAND, or 'keepalive unit enable' for UNIT",
            ),
            ("findings[].level", "string", "wrong, note or fine"),
            ("findings[].subject", "string", "what it is about, in a word or two"),
            ("findings[].text", "string", ""),
            ("findings[].advice", "string", "what to do"),
            (
                "counters[].namespace",
                "number",
                "a network namespace, as in /proc/PID/ns/net",
            ),
            ("counters[].pid", "number", "a process in it"),
            ("counters[].own", "boolean", "whether it is that of keepalive itself"),
            ("counters[].TCPKeepAlive", "number", "keepalive probes sent"),
            (
                "counters[].TCPAbortOnTimeout",
                "number",
                "connections given up because no answer came, whatever timer expired",
            ),
            (
                "counters[].TCPTimeouts",
                "number",
                "expiries of the retransmission timer",
            ),
            ("counters[].TCPAbortFailed", "number", "RSTs that could not be sent"),
            (
                "counters[].EstabResets",
                "number",
                "established connections that ended without FIN",
            ),
            (
                "summary",
                "string",
                "how the sockets of a process compare with its policy",
            ),
            ("processes[].pid", "number", "the process, and its descendants"),
            ("processes[].program", "string", ""),
            (
                "processes[].engines",
                "array",
                "preload, seccomp, cgroup: those that reach it",
            ),
            (
                "processes[].policy",
                "string",
                "its settings for connections that no rule matches",
            ),
            (
                "processes[].policy_from",
                "string",
                "where its policy comes from; null if it is not known",
            ),
            (
                "sockets[]",
                "object",
                "a connection or listener: the fields of 'keepalive list', and",
            ),
            (
                "sockets[].verdict",
                "string",
                "set, differs (the program's own values), missing, excluded or unknown",
            ),
            ("sockets[].reason", "string", "why it is not set"),
            ("sockets[].advice", "string", "what to do"),
        ],
        null: "Null means none.",
    }),
    statuses: &[
        SUCCESS,
        (
            "1",
            "There is a problem, no engine reaches the program, a connection lacks what its policy wants, or the program or \
             process does not exist.",
        ),
        USAGE,
    ],
    examples: &[(
        "The machine; a program to run; a running process; a service:",
        &[
            "keepalive doctor",
            "keepalive doctor -- docker ps",
            "keepalive doctor --pid 4242",
            "keepalive doctor --unit nginx",
        ],
    )],
    ..Notes::DEFAULT
};

/// The report, in the form of the JSON output.
#[derive(Serialize)]
struct Report {
    /// The engine that keepalive run uses for COMMAND, or unit enable for UNIT; null without these, or if no
    /// engine reaches it.
    engine: Option<&'static str>,
    findings: Vec<Finding>,
    counters: Vec<history::CountersEntry>,
    #[serde(flatten)]
    sockets: sockets::Report,
}

/// Prints the findings.
///
/// # Errors
/// The program or process does not exist, or there is a problem.
pub(crate) fn run(doctor: &Doctor) -> Result<(), Error> {
    let mut findings = Findings::default();
    let mut engine = None;
    let mut sockets = sockets::Report::default();
    let policy = policy::from_flags(&doctor.policy, REFUSED)?;
    if policy.is_some() && doctor.pid.is_none() && doctor.unit.is_none() {
        return Err(Error::new(REFUSED, "the options of a policy are for --pid and --unit")
            .hint("name a process or a service, or see keepalive explain"));
    }
    if let Some(pid) = doctor.pid {
        let process = Process::find(pid).map_err(|obstacle| obstacle.error("examine", pid))?;
        let failed = |error: io::Error| {
            Error::new(
                FAILED,
                format!("cannot examine process {pid}: fork: {}", describe(&error)),
            )
        };
        process::examine(&mut findings, &process).map_err(failed)?;
        // Each descendant takes a descriptor.
        raise_descriptor_limit();
        let given = Given {
            overriding: policy.as_ref(),
            ..Given::default()
        };
        sockets = sockets::examine(&mut findings, &[pid], given).map_err(failed)?;
    } else if let Some(name) = &doctor.unit {
        (engine, sockets) = unit::examine(&mut findings, name, policy.as_ref())?;
    } else if !doctor.command.is_empty() {
        let program = find(&doctor.command).map_err(|reason| not_startable(reason).with_status(FAILED))?;
        engine = program::examine(&mut findings, &program);
    }
    machine::examine(&mut findings);
    let is_about_machine = doctor.pid.is_none() && doctor.unit.is_none() && doctor.command.is_empty();
    let counters = history::examine(&mut findings, !is_about_machine);
    let findings = findings.ranked();
    let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong).count();
    print(&if doctor.json {
        line(&Report {
            engine,
            findings,
            counters,
            sockets,
        }) + "\n"
    } else {
        findings.iter().map(Finding::show).collect()
    })?;
    match wrong {
        0 => Ok(()),
        1 => Err(Error::new(FAILED, "one thing is wrong")),
        several => Err(Error::new(FAILED, format!("{several} things are wrong"))),
    }
}

/// Returns this command itself, as a substitute for an unknown program.
pub(super) fn own_program() -> Result<Program, Error> {
    let failed = || Error::new(FAILED, "cannot find this command's own file");
    let path = std::env::current_exe().map_err(|_| failed())?;
    keepalive_sys::program::inspect(&path, OsStr::new("")).map_err(|_| failed())
}
