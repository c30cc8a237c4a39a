//! What is done with one option of one socket, and doing it: for the supervisor and for attach. The library and the eBPF
//! programs have their own, checked against the same cases.

pub(crate) mod wire;

use crate::error::describe;
use keepalive_policy::{Mode, SocketOption, resolve};
use keepalive_sys::sockopt;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};

/// One option and its number before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// The number before, in the option's unit.
    pub from: u32,
    /// The number after.
    pub to: u32,
}

/// An option that could not be set, and the kernel's answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The option.
    #[serde(with = "wire::option")]
    pub option: SocketOption,
    /// The text of the error.
    pub error: String,
}

/// What is known of who has set the number that an option has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The program.
    Program,
    /// The program, unless it is this number, the kernel's default; the program where the default is unknown.
    UnlessDefault(Option<u32>),
}

impl Step {
    /// Returns what the policy makes of an option that has the number `from`, of which it says `ours`. The option stays as it
    /// is where [`Step::is_change`] is false.
    pub(crate) fn new(mode: Mode, option: SocketOption, ours: u32, from: u32, origin: Origin) -> Self {
        let to = match origin {
            Origin::Program => mode.resolve(option, ours, from),
            Origin::UnlessDefault(default) => resolve(mode, option, ours, from, default),
        };
        Self { option, from, to }
    }

    /// Whether it changes anything.
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
    /// Whether the number `current` is known to be the program's own.
    pub(crate) fn is_program(self, current: u32) -> bool {
        match self {
            Self::Program => true,
            Self::UnlessDefault(default) => default.is_some_and(|default| default != current),
        }
    }
}
