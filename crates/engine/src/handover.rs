//! Commands that let a daemon start the program. The program is then no child of the command: neither the environment, nor a
//! filter, nor a cgroup of the command reaches it.
//!
//! This is a list of names. Before the command runs, nothing shows that it will ask a daemon: its file shows at most that it
//! connects to something, as most programs do. Afterwards, nothing relates the program to the command.

use crate::choice::Engines;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A command that lets another process start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The name of the command.
    pub command: &'static str,
    /// Who starts the program.
    pub starter: &'static str,
    /// What reaches the program.
    pub remedy: &'static str,
}

const CONTAINER: &str = "keepalive cgroup enable, on the container's cgroup, reaches it";
const NODE: &str = "on the node, keepalive cgroup enable reaches it";
const UNIT: &str = "keepalive unit enable reaches a service, keepalive run in the service's own command reaches others";
const JOB: &str = "write keepalive run into the job";
const WINDOW: &str = "write keepalive run into the window's command, or start the server with it";
const HOST: &str = "run keepalive on the host";

/// The command, its subcommands that start a program (none: every use does), who starts it, and what reaches it.
const COMMANDS: [(&str, &[&str], &str, &str); 20] = [
    (
        "docker",
        &["run", "exec", "start", "restart", "compose"],
        "dockerd",
        CONTAINER,
    ),
    (
        "docker-compose",
        &["up", "run", "exec", "start", "restart"],
        "dockerd",
        CONTAINER,
    ),
    (
        "nerdctl",
        &["run", "exec", "start", "restart", "compose"],
        "containerd",
        CONTAINER,
    ),
    ("ctr", &["run", "exec", "start"], "containerd", CONTAINER),
    (
        "crictl",
        &["run", "runp", "exec", "start"],
        "the container runtime",
        CONTAINER,
    ),
    (
        "podman-remote",
        &["run", "exec", "start", "restart"],
        "podman's service",
        CONTAINER,
    ),
    ("lxc", &["launch", "start", "exec"], "lxd", CONTAINER),
    ("incus", &["launch", "start", "exec"], "incusd", CONTAINER),
    (
        "kubectl",
        &["exec", "run", "debug"],
        "the container runtime of a node",
        NODE,
    ),
    (
        "oc",
        &["exec", "run", "debug", "rsh"],
        "the container runtime of a node",
        NODE,
    ),
    ("systemctl", &["start", "restart"], "systemd", UNIT),
    ("systemd-run", &[], "systemd", UNIT),
    ("run0", &[], "systemd", UNIT),
    ("service", &["start", "restart"], "systemd", UNIT),
    ("machinectl", &["start", "shell"], "systemd", UNIT),
    ("at", &[], "atd", JOB),
    ("batch", &[], "atd", JOB),
    ("tmux", &[], "a tmux server that is already running", WINDOW),
    ("screen", &[], "a screen session that is already running", WINDOW),
    ("flatpak-spawn", &["--host"], "the host's session", HOST),
];

/// Commands that execute the command in their arguments, with the same environment, filter and cgroup.
const PREFIXES: [&str; 14] = [
    "sudo", "doas", "env", "nice", "ionice", "chrt", "taskset", "nohup", "setsid", "stdbuf", "time", "timeout",
    "flock", "unbuffer",
];

/// Returns who starts the program of `command` (with its arguments) instead of the command itself.
pub fn of(command: &[OsString]) -> Option<HandOver> {
    let (name, arguments) = split(inner(command))?;
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    // In a scope, systemd-run executes the program itself.
    if name == "systemd-run" && has("--scope") {
        return None;
    }
    let (command, _, starter, remedy) = COMMANDS.into_iter().find(|(command, subcommands, ..)| {
        name == *command && (subcommands.is_empty() || subcommands.iter().any(|subcommand| has(subcommand)))
    })?;
    Some(HandOver {
        command,
        starter,
        remedy,
    })
}

/// Returns whether `command` starts the program itself, but moves it into another cgroup than its own.
pub fn leaves_cgroup(command: &[OsString], engines: &Engines) -> bool {
    let Some((name, arguments)) = split(inner(command)) else {
        return false;
    };
    let has = |words: &[&str]| {
        arguments
            .iter()
            .any(|argument| words.iter().any(|word| argument == word))
    };
    let leaves = match name {
        "podman" => {
            has(&["run", "create", "start", "restart", "exec"]) && !has(&["--cgroups=split", "--cgroups=disabled"])
        }
        "systemd-run" => has(&["--scope"]),
        "cgexec" => true,
        _ => false,
    };
    leaves && matches!(engines, Engines::Cgroup)
}

/// Returns `command` without the prefixes that execute it: `sudo docker run` is `docker run`.
fn inner(command: &[OsString]) -> &[OsString] {
    let is_prefix = |words: &[OsString]| split(words).is_some_and(|(name, _)| PREFIXES.contains(&name));
    if !is_prefix(command) {
        return command;
    }
    let is_known = |words: &[OsString]| {
        split(words).is_some_and(|(name, _)| {
            COMMANDS.iter().any(|(known, ..)| *known == name) || ["podman", "cgexec"].contains(&name)
        })
    };
    // The options of a prefix may have values of their own, which are no known commands.
    (1..command.len())
        .map(|first| &command[first..])
        .find(|words| is_known(words))
        .unwrap_or(command)
}

/// Returns the name of the command, without directories, and its arguments.
fn split(command: &[OsString]) -> Option<(&str, &[OsString])> {
    let (first, arguments) = command.split_first()?;
    Some((Path::new(first).file_name().and_then(OsStr::to_str)?, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn commands_that_let_a_daemon_start_the_program_are_known() {
        for (words, starter) in [
            ("docker run -d image", "dockerd"),
            ("/usr/bin/docker -H unix:///x exec name sh", "dockerd"),
            ("ctr task exec --exec-id 1 name sh", "containerd"),
            ("kubectl -n a exec pod -- sh", "the container runtime of a node"),
            ("systemd-run --user sleep 1", "systemd"),
            ("at now", "atd"),
            ("sudo -u app docker run image", "dockerd"),
            (
                "env A=b timeout 5 kubectl exec pod -- sh",
                "the container runtime of a node",
            ),
            ("tmux new", "a tmux server that is already running"),
        ] {
            assert_eq!(of(&command(words)).map(|found| found.starter), Some(starter), "{words}");
        }
        for words in [
            "docker ps",
            "kubectl port-forward svc/db 5432",
            "systemd-run --scope sleep 1",
            "podman run image",
            "sudo apt install docker",
            "ssh host docker run image",
        ] {
            assert_eq!(of(&command(words)), None, "{words}");
        }
    }

    #[test]
    fn podman_leaves_the_cgroup_without_cgroups_split() {
        let leaves = |words: &str| leaves_cgroup(&command(words), &Engines::Cgroup);
        assert!(leaves("podman run image") && leaves("sudo systemd-run --scope sleep 1"));
        assert!(!leaves("podman ps") && !leaves("podman run --cgroups=split image"));
        assert!(!leaves_cgroup(&command("podman run image"), &Engines::Seccomp));
    }
}
