//! How a program runs without keepalive, and how under each engine.

use super::policy::Policy;
use crate::support::process::output_within;
use crate::support::target::{bare, no_config};
use crate::support::{keepalive, packaged_library};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Longer than anything here takes; nobody waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(300);

/// The engines of `keepalive run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// The library alone.
    Preload,
    /// The supervisor alone.
    Seccomp,
    /// The library and the supervisor, as scripts get them.
    Both,
    /// Programs in the kernel.
    Cgroup,
}

/// Runs a command in a network namespace that has only loopback.
const LOOPBACK: &str = "ip link set lo up && exec \"$@\"";

/// The same, with the packets of loopback delivered by the second processor (`rps_cpus`, Documentation/networking/scaling.rst)
/// and the command on the first: packets arrive at any time after the call that sends them, as on a busy machine. What the
/// machine does not allow is left out.
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
    /// What `program` prints under this engine and `policy`.
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
            // A shell may start any program.
            Self::Both => command.args(["--", "sh", "-c", "exec \"$0\" \"$@\""]),
        };
        printed(command.arg(program).args(words))
    }
}

fn isolated(network: &str, program: &Path) -> Command {
    let mut command = bare(Path::new("unshare"));
    command
        .args(["--net", "--mount", "sh", "-c", network, "sh"])
        .arg(program);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// What the command prints; it must succeed, in good time, and nobody must complain.
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
        bare(&keepalive())
            .env("KEEPALIVE_LIBRARY", packaged_library())
            .args(["run", "-v", "--", "/bin/sh", "-c", ":"]),
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("keepalive: engine preload and seccomp: "), "{told}");
}
