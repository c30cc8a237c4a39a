//! `keepalive run --engine cgroup`: what programs in the kernel reach, and what they leave as it is. (The bodies that all
//! engines share run with this one as `…::with_the_kernel::…`; `cgroup.rs` has the policies of other cgroups.)

/// Returns from the test where programs cannot be put into the kernel.
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
use crate::support::target::{Libc, POLICY, bare, no_config, static_target};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longer than anything here takes; nobody waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(60);

/// `keepalive run` with these options; the policy 61/13/4 in the environment, and nothing else that counts.
fn run(options: &[&str]) -> Command {
    let mut command = bare(&keepalive());
    command
        .args(["run", "--engine", "cgroup"])
        .args(options)
        .arg("--")
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("KEEPALIVE_CONFIG", no_config())
        .envs(POLICY);
    command
}

/// `targets/sockets.c`, which no library is loaded into.
fn sockets() -> PathBuf {
    static_target(Libc::Host, "sockets.c")
}

/// What `program` prints when it does as the words say under these options; it must succeed, and nobody must complain.
#[track_caller]
fn words_of(program: &Path, options: &[&str], words: &str) -> String {
    printed(run(options).arg(program).args(words.split_whitespace()))
}

/// The same of [`sockets`].
#[track_caller]
fn words(options: &[&str], words: &str) -> String {
    words_of(&sockets(), options, words)
}

/// What `command` prints; it must succeed, in good time, and nobody must complain.
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

/// A network of the command's own, where only loopback is.
const OWN_NETWORK: [&str; 6] = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
