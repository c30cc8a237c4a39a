//! `keepalive oci-hook`: what container runtimes call when they create and delete a container.

use crate::annotation::{self, Selected};
use crate::error::{Error, FAILED, describe};
use crate::flags::PolicyFlags;
use crate::help::Notes;
use crate::output::{sanitize, write_stderr};
use crate::policy;
use clap::Args;
use keepalive_engine::cgroup::entry::State;
use keepalive_engine::cgroup::owned::disable_owned;
use keepalive_engine::cgroup::{Interrupts, Obstacle, Options, pins};
use keepalive_engine::container;
use keepalive_engine::policy::{Owner, Policy};
use keepalive_policy::Settings;
use keepalive_sys::cgroup::Tree;
use keepalive_sys::regular;
use keepalive_sys::worker::Worker;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process;
use std::sync::Arc;
use std::time::Duration;

/// Apply a container's policy, as a hook of its runtime
///
/// Container runtimes (runc, crun) run this when they create a container and after they have deleted it, and pass the OCI
/// state of the container on standard input. The annotation keepalive.io/policy of the container contains its policy: settings
/// as in a rules file, or off. An empty annotation, or none, selects the policy of the options and of /etc/keepalive.conf.
#[derive(Debug, Args)]
pub(crate) struct OciHook {
    #[command(flatten)]
    policy: PolicyFlags,
}

pub(crate) const NOTES: Notes = Notes {
    command: "oci-hook",
    paragraphs: &[
        "The policy is active before the first program of the container runs. It applies to the cgroup of the container, \
         and ends with the container.",
        "A failure never prevents the start of a container: the container then starts without a policy of its own, and the \
         reason is in the system log, from keepalive.",
    ],
    precedence: "The annotation overrides the options, which override /etc/keepalive.conf. Without --idle, --interval, --count, \
                 --preset, rules and a file: --idle 60 --interval 15 --count 5.",
    statuses: &[(
        "0",
        "Always: with another status, the runtime would not start the container.",
    )],
    examples: &[(
        "A container with a policy of its own, by the hook that the packages install:",
        &["sudo podman run --annotation keepalive.io/policy=idle=30s IMAGE"],
    )],
    ..Notes::DEFAULT
};

/// The largest state in bytes. It contains all annotations, of which Kubernetes accepts 256 KiB.
const LARGEST: u64 = 1 << 20;

/// The longest time that this hook delays a container, a little more than the wait for the lock of the policies.
const LIMIT: Duration = Duration::from_secs(12);

/// The status of a container whose processes have ended (`runtime.md` of the OCI runtime specification).
const STOPPED: &str = "stopped";

/// What the child writes when it has succeeded.
const DONE: &str = "done";

/// How much of an id a message contains, as `podman ps` prints it.
const SHOWN_DIGITS: usize = 12;

/// The socket of the system log (`syslog(3)`).
const SYSTEM_LOG: &str = "/dev/log";

const ACTION: &str = "apply the policy";

/// The state of a container that a runtime passes to hooks, as far as it is used.
#[derive(Deserialize)]
struct OciState {
    id: String,
    status: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Runs the hook, and reports a failure. Always succeeds.
#[expect(clippy::unnecessary_wraps, reason = "the signature of all subcommands")]
pub(crate) fn run(hook: &OciHook) -> Result<(), Error> {
    if let Err(failure) = in_child(hook) {
        report(&failure);
    }
    Ok(())
}

/// Reports a failure on standard error, which runtimes discard, and to the system log.
pub(crate) fn report(failure: &str) {
    write_stderr(&format!("{failure}\n"));
    let text = failure.strip_prefix("keepalive: ").unwrap_or(failure).trim_end();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = sanitize(&lines.join("; "));
    // The priority: daemon, warning (syslog(3)). A log that is full delays no container.
    let line = format!("<28>keepalive[{}]: {text}", process::id());
    let _ = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), SYSTEM_LOG)
    });
}

/// Does the work in a child process, so that neither a fault here nor an input that never ends stops the container.
///
/// # Errors
/// What failed.
fn in_child(hook: &OciHook) -> Result<(), String> {
    let failed = |error: &io::Error| format!("keepalive: cannot run the hook: {}", describe(error));
    // The child closes its standard input.
    let input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| failed(&error))?;
    let worker = Worker::start(&[input.as_fd()], |output| {
        let outcome = input.try_clone().map_err(|error| failed(&error));
        let text = match outcome.and_then(|input| hook.outcome(input)) {
            Ok(()) => DONE.to_owned(),
            Err(failure) => failure,
        };
        let _ = output
            .try_clone()
            .and_then(|output| File::from(output).write_all(text.as_bytes()));
    });
    let written = worker.and_then(|worker| worker.output_within(LIMIT));
    match written {
        Ok(text) if text == DONE.as_bytes() => Ok(()),
        Ok(text) if text.is_empty() => Err("keepalive: the hook has ended without a result".to_owned()),
        Ok(text) => Err(String::from_utf8_lossy(&text).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(format!(
            "keepalive: the hook has not ended after {} s, and was killed",
            LIMIT.as_secs()
        )),
        Err(error) => Err(failed(&error)),
    }
}

impl OciHook {
    /// Reads the state and acts on it.
    ///
    /// # Errors
    /// The message.
    fn outcome(&self, input: OwnedFd) -> Result<(), String> {
        let state = read_state(input).map_err(|reason| {
            let error = Error::new(FAILED, format!("cannot read the state of the container: {reason}"));
            let hint = "container runtimes run this command; keepalive cgroup enable --container is for users";
            error.hint(hint).to_string()
        })?;
        let (done, result) = if state.status == STOPPED {
            ("the policy is not removed", remove(&state))
        } else {
            ("it starts without a policy of its own", self.apply(&state))
        };
        result.map_err(|error| {
            let id: String = state.id.chars().take(SHOWN_DIGITS).collect();
            let message = format!("container {}: {done}: {}", sanitize(&id), error.message());
            error.with_message(message).to_string()
        })
    }

    /// Applies the policy of the container to its cgroup.
    fn apply(&self, state: &OciState) -> Result<(), Error> {
        let annotation = state.annotations.get(annotation::POLICY);
        let selected = annotation.map_or(Ok(Selected::Default), |value| annotation::read(value))?;
        // Some runtimes run hooks in the environment of who starts the container, others do not.
        let policy = policy::read(&self.policy, &[], Settings::EVERYWHERE, FAILED)?;
        let policy = Arc::new(Policy {
            owner: Some(Owner::Container(state.id.clone())),
            ..selected.apply(policy)
        });
        let tree = Tree::find().map_err(|reason| Obstacle::NoTree(reason).error(ACTION))?;
        let directory = container::directory_of_new(&tree, state.pid)?;
        let done = pins::enable(&tree, &directory, &policy, Options::default(), Interrupts::DEFAULT);
        done.map_err(|obstacle| obstacle.error(ACTION))?;
        // A runtime that was killed has not run the hook for containers that ended meanwhile.
        remove_if(|_, state| state == State::Dangling)
    }
}

/// Removes what is left of the policy of a container that has ended.
fn remove(state: &OciState) -> Result<(), Error> {
    remove_if(|owner, _| *owner == Owner::Container(state.id.clone()))
}

fn remove_if(has_ended: impl Fn(&Owner, State) -> bool) -> Result<(), Error> {
    let is_ours = |owner: &Owner, state| matches!(owner, Owner::Container(_)) && has_ended(owner, state);
    let removed = disable_owned(is_ours, Interrupts::DEFAULT);
    removed.map_err(|obstacle| obstacle.error("remove the policy of a container that has ended"))?;
    Ok(())
}

fn read_state(input: OwnedFd) -> Result<OciState, String> {
    let text = regular::read_whole(File::from(input), LARGEST).map_err(|error| describe(&error))?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
