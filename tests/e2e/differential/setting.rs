//! Runs a program without keepalive, and under each engine.

use super::policy::Policy;
use crate::support::process::output_within;
use crate::support::target::{no_config, without_library};
use crate::support::{keepalive, packaged_library};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A deadline that is longer than any run.
const LIMIT: Duration = Duration::from_secs(300);

/// The engines of `keepalive run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// The library only.
    Preload,
    /// The supervisor only.
    Seccomp,
    /// The library and the supervisor, as for scripts.
    Both,
    /// eBPF programs.
    Cgroup,
}

/// Runs a command in a network namespace that has only loopback.
const LOOPBACK: &str = "ip link set lo up && exec \"$@\"";

/// The same, with the packets of loopback delivered by the second processor (`rps_cpus`,
/// Documentation/networking/scaling.rst) and the command on the first: packets arrive at any time after the call that
/// sends them, as on a busy machine. Steps that the machine does not allow are omitted.
const LATE_LOOPBACK: &str = "ip link set lo up || exit
    if mount -t sysfs sysfs /sys 2>/dev/null; then
        (echo 2 >/sys/class/net/lo/queues/rx-0/rps_cpus) 2>/dev/null
    fi
    if taskset -c 0 true 2>/dev/null; then exec taskset -c 0 \"$@\"; fi
    exec \"$@\"";

/// Returns what `program` prints without keepalive.
pub(super) fn alone(program: &Path, words: &[&str]) -> String {
    printed(isolated(LOOPBACK, Path::new("/usr/bin/env")).arg(program).args(words))
}

/// Returns what `program` prints without keepalive when packets arrive late; `None` on a machine with one processor.
pub(super) fn alone_with_late_packets(program: &Path, words: &[&str]) -> Option<String> {
    std::thread::available_parallelism()
        .is_ok_and(|processors| processors.get() > 1)
        .then(|| {
            printed(
                isolated(LATE_LOOPBACK, Path::new("/usr/bin/env"))
                    .arg(program)
                    .args(words),
            )
        })
}

impl Engine {
    /// Returns what `program` prints under this engine and `policy`.
    pub(super) fn run(self, policy: Policy, program: &Path, words: &[&str]) -> String {
        let mut command = isolated(LOOPBACK, &keepalive());
        command
            .arg("run")
            .env("KEEPALIVE_CONFIG", no_config())
            .env("KEEPALIVE_LIBRARY", packaged_library())
            .envs(policy.environment());
        match self {
            Self::Preload => command.args(["--engine", "preload", "--"]),
            Self::Seccomp => command.args(["--engine", "seccomp", "--"]),
            Self::Cgroup => command.args(["--engine", "cgroup", "--"]),
            // A shell can start any program, so it runs under both engines.
            Self::Both => command.args(["--", "sh", "-c", "exec \"$0\" \"$@\""]),
        };
        printed(command.arg(program).args(words))
    }
}

fn isolated(network: &str, program: &Path) -> Command {
    let mut command = without_library(Path::new("unshare"));
    command
        .args(["--net", "--mount", "sh", "-c", network, "sh"])
        .arg(program);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Returns what the command prints. It must succeed within the limit, without messages.
fn printed(command: &mut Command) -> String {
    let output = output_within(LIMIT, command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{command:?}: {}: {errors}",
        output.status
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_shell_runs_under_both_engines() {
    let output = output_within(
        LIMIT,
        without_library(&keepalive())
            .env("KEEPALIVE_LIBRARY", packaged_library())
            .args(["run", "-v", "--", "/bin/sh", "-c", ":"]),
    );
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(
        messages.starts_with("keepalive: engine preload and seccomp: "),
        "{messages}"
    );
}
