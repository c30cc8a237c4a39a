//! `keepalive run --engine cgroup`: which sockets eBPF programs set, and which they leave unchanged. (Tests of several
//! engines run with this one as `…::cgroup::…`; `cgroup.rs` tests policies of other cgroups.)

/// Returns from the test where eBPF programs cannot be loaded.
macro_rules! kernel {
    () => {
        root!();
        if let Some(why) = $crate::support::engine::Engine::Kernel.missing() {
            skip!("{why}");
        }
    };
}

mod again;
mod calls;
mod handshakes;
mod inherited;
mod modes;
mod mptcp;
mod names;
mod reach;
mod timers;
mod uring;
mod users;

use crate::support::keepalive;
use crate::support::process::output_within;
use crate::support::target::{Libc, POLICY, no_config, static_target, without_library};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A deadline that is longer than any run.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns `keepalive run` with these options, and the policy 61/13/4 in the environment.
fn run(options: &[&str]) -> Command {
    let mut command = without_library(&keepalive());
    command
        .args(["run", "--engine", "cgroup"])
        .args(options)
        .arg("--")
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("KEEPALIVE_CONFIG", no_config())
        .envs(POLICY);
    command
}

/// Returns `targets/sockets.c` as a static program, which loads no library.
fn sockets() -> PathBuf {
    static_target(Libc::Host, "sockets.c")
}

/// Returns what `program` prints for these words under these options. It must succeed without messages.
#[track_caller]
fn words_of(program: &Path, options: &[&str], words: &str) -> String {
    printed(run(options).arg(program).args(words.split_whitespace()))
}

/// Returns the same for [`sockets`].
#[track_caller]
fn words(options: &[&str], words: &str) -> String {
    words_of(&sockets(), options, words)
}

/// Returns what `command` prints. It must succeed within the limit, without messages.
#[track_caller]
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

/// A command prefix that creates a network with only loopback.
const OWN_NETWORK: [&str; 6] = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
