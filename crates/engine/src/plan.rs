//! Plans and applies the change of one option of one socket, for the supervisor and for attach. The library
//! and the eBPF programs have their own implementations, checked against the same cases.

pub(crate) mod wire;

use crate::error::describe;
use keepalive_policy::{Mode, SocketOption, resolve};
use keepalive_sys::sockopt;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};

/// An option, and its value before and after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// The value before, in the option's unit.
    pub from: u32,
    /// The value after.
    pub to: u32,
}

/// An option that could not be set, and the kernel's error.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// The text of the error.
    pub error: String,
}

/// What is known about who has set an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The program has set the value.
    Program,
    /// The program has set the value, unless it equals this number, the kernel's default. With an unknown
    /// default, the program counts as the origin.
    UnlessDefault(Option<u32>),
}

impl Step {
    /// Returns the change of an option with the value `from`, for which the policy has the value `ours`. The
    /// option keeps its value if [`Step::is_change`] is false.
    pub(crate) fn new(mode: Mode, option: SocketOption, ours: u32, from: u32, origin: Origin) -> Self {
        let to = match origin {
            Origin::Program => mode.resolve(option, ours, from),
            Origin::UnlessDefault(default) => resolve(mode, option, ours, from, default),
        };
        Self { option, from, to }
    }

    /// Returns whether the value changes.
    pub(crate) fn is_change(&self) -> bool {
        self.from != self.to
    }

    /// Sets the option.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn apply(&self, socket: impl AsFd) -> Result<(), Failure> {
        sockopt::set(socket, self.option, self.to).map_err(|error| Failure {
            option: self.option,
            error: describe(&error),
        })
    }
}

impl Origin {
    /// Returns whether the program is known to have set the value `current`.
    pub(crate) fn is_program(self, current: u32) -> bool {
        match self {
            Self::Program => true,
            Self::UnlessDefault(default) => default.is_some_and(|default| default != current),
        }
    }
}
