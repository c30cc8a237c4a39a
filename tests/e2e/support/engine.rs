//! Selects how programs get the policy, so that one test body runs with several engines.

use super::keepalive;
use super::target::{POLICY, no_config, with_library, without_library};
use keepalive_sys::cgroup::Tree;
use rustix::process::geteuid;
use std::path::Path;
use std::process::Command;

/// How programs get the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The library, loaded by the environment.
    Library,
    /// The supervisor of `keepalive run --engine seccomp`.
    Supervisor,
    /// The eBPF programs of `keepalive run --engine cgroup`.
    Kernel,
}

impl Engine {
    /// Returns why this machine cannot test the engine, if it cannot.
    pub fn missing(self) -> Option<String> {
        if self != Self::Kernel {
            return None;
        }
        if !geteuid().is_root() {
            return Some("only root puts programs into the kernel".to_owned());
        }
        Tree::find().err().map(|why| format!("there is no cgroup v2: {why:?}"))
    }

    /// Returns the engine's name in `keepalive run`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Library => "preload",
            Self::Supervisor => "seccomp",
            Self::Kernel => "cgroup",
        }
    }

    /// Whether the engine can distinguish an option that the program switched off before its connection was
    /// established, keepalive or the user timeout, from an unset one. eBPF programs see the socket only at
    /// establishment, and the socket has no trace of the call.
    pub fn detects_early_off(self) -> bool {
        self != Self::Kernel
    }

    /// Whether the engine applies the settings to new sockets. The other engines apply them to connections.
    pub fn sets_new_sockets(self) -> bool {
        self == Self::Library
    }

    /// Returns the command `program` with this engine and the policy 61/13/4, and no other policy. It has no standard
    /// input.
    pub fn command(self, program: &Path) -> Command {
        if self == Self::Library {
            return with_library(program);
        }
        let mut command = without_library(&keepalive());
        command.args(["run", "--engine", self.name(), "--"]).arg(program);
        command.env("KEEPALIVE_CONFIG", no_config()).envs(POLICY);
        command
    }
}
