//! What a comparison of a socket with its policy found, in words.

use crate::attach::Warning;
use crate::timeline::spell;
use keepalive_policy::{SocketOption, Unit};
use serde::{Deserialize, Serialize};

/// How a socket compares with its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The socket has what the policy wants.
    Set,
    /// The policy does not concern the socket, for this reason.
    Excluded(String),
    /// Keepalive works, with values of the program, which the policy's mode keeps.
    Differs(Own),
    /// The socket lacks what the policy wants.
    Missing(Missing),
    /// The values are unknown, for this reason.
    Unknown(String),
}

/// A verdict without its details. JSON has its name in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// [`Verdict::Set`].
    Set,
    /// [`Verdict::Excluded`].
    Excluded,
    /// [`Verdict::Differs`].
    Differs,
    /// [`Verdict::Missing`].
    Missing,
    /// [`Verdict::Unknown`].
    Unknown,
}

/// A value of the program that differs from the policy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The option.
    #[serde(with = "crate::plan::wire::option")]
    pub(super) option: SocketOption,
    pub(super) theirs: u32,
    /// The value of the policy; absent if the policy has none.
    pub(super) ours: Option<u32>,
    /// Whether the value is the kernel's default.
    pub(super) is_kernel_default: bool,
}

/// Why a socket lacks what the policy wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// No engine reaches the process.
    Unreached {
        /// Whether the library should have been in the process.
        is_library_expected: bool,
    },
    /// The library is in the process, and has not set the socket.
    UnseenByLibrary {
        /// Whether the process is under a seccomp filter, after which the library makes no system call.
        is_filtered: bool,
        /// The idle time of the kernel, in seconds, if the program has switched keepalive on.
        idle: Option<u32>,
    },
    /// A supervisor serves the process, and has not set the socket.
    UnseenBySupervisor,
    /// The cgroup of the process has a policy, and its programs have not set the socket.
    NotEstablishedUnderPolicy {
        /// Whether the socket was created in another cgroup.
        is_from_elsewhere: bool,
    },
    /// The socket was inherited from this process, which keepalive does not reach.
    Inherited(u32),
    /// The program has done this.
    Undone(Warning),
    /// Keepalive is off, and the values do not show why.
    Off,
    /// One option differs, and the values do not show why.
    Value {
        /// The option.
        #[serde(with = "crate::plan::wire::option")]
        option: SocketOption,
        /// The value of the socket.
        has: u32,
        /// The value of the policy.
        wants: u32,
    },
}

impl Verdict {
    /// Returns the verdict without its details.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Set => Outcome::Set,
            Self::Excluded(_) => Outcome::Excluded,
            Self::Differs(_) => Outcome::Differs,
            Self::Missing(_) => Outcome::Missing,
            Self::Unknown(_) => Outcome::Unknown,
        }
    }

    /// Returns whether an engine that is still at work on the socket cannot change the verdict.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Missing(missing) => matches!(missing, Missing::Undone(_)),
            _ => true,
        }
    }

    /// Returns the options of `keepalive run` that prevent the difference, if options can.
    pub(super) fn options(&self) -> Remedy {
        match self {
            Self::Set | Self::Excluded(_) | Self::Unknown(_) => Remedy::default(),
            Self::Differs(own) => own.options(),
            Self::Missing(missing) => missing.options(),
        }
    }

    /// Returns the reason as a clause in which "it" is the socket; `None` if the socket is set.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Set => None,
            Self::Excluded(reason) | Self::Unknown(reason) => Some(reason.clone()),
            Self::Differs(own) => Some(own.reason()),
            Self::Missing(missing) => Some(missing.reason()),
        }
    }

    /// Returns what the user can do for a socket of the process `pid`.
    pub fn advice(&self, pid: u32) -> Option<String> {
        match self {
            Self::Set | Self::Excluded(_) | Self::Unknown(_) => None,
            Self::Differs(own) => own.advice(pid),
            Self::Missing(missing) => Some(missing.advice(pid)),
        }
    }
}

/// Options of `keepalive run`.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remedy {
    pub(super) seccomp: bool,
    pub(super) cap: bool,
    pub(super) floor: bool,
    pub(super) user_timeout: bool,
}

impl Own {
    fn options(&self) -> Remedy {
        let is_mode =
            !self.is_kernel_default && !matches!(self.option, SocketOption::Keepalive | SocketOption::UserTimeout);
        Remedy {
            cap: is_mode && !self.is_shorter(),
            floor: is_mode && self.is_shorter(),
            ..Remedy::default()
        }
    }

    /// Returns whether the program's value is lower than the policy's.
    fn is_shorter(&self) -> bool {
        self.ours.is_some_and(|ours| self.theirs < ours)
    }

    fn reason(&self) -> String {
        if self.option == SocketOption::Keepalive {
            return String::from("the program switched it off, which mode floor allows");
        }
        let name = match self.option {
            SocketOption::Idle => "idle time",
            option => option.row().name,
        };
        let theirs = number(self.option, self.theirs);
        let whose = if self.is_kernel_default {
            "the kernel's"
        } else {
            "the program's own"
        };
        match self.ours {
            None => format!("{whose} {name} is {theirs}"),
            Some(ours) => {
                let ours = number(self.option, ours);
                let compared = match (self.is_shorter(), self.option) {
                    (true, SocketOption::Count) => "lower",
                    (false, SocketOption::Count) => "higher",
                    (true, _) => "shorter",
                    (false, _) => "longer",
                };
                format!("{whose} {name} of {theirs} is {compared} than the policy's {ours}")
            }
        }
    }

    fn advice(&self, pid: u32) -> Option<String> {
        match self.option {
            _ if self.is_kernel_default => Some(format!("keepalive attach {pid} sets it now")),
            SocketOption::Keepalive | SocketOption::UserTimeout => None,
            _ if self.is_shorter() => Some(String::from("--mode floor")),
            _ => Some(String::from("--mode cap")),
        }
    }
}

impl Missing {
    fn options(&self) -> Remedy {
        let user_timeout = matches!(self, Self::Undone(Warning::UserTimeout { .. }));
        Remedy {
            seccomp: matches!(
                self,
                Self::UnseenByLibrary { .. }
                    | Self::Unreached {
                        is_library_expected: true
                    }
            ),
            cap: matches!(self, Self::Undone(Warning::SwitchedOff)),
            floor: user_timeout,
            user_timeout,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Unreached {
                is_library_expected: true,
            } => String::from("the library is not in its process"),
            Self::Unreached { .. } => String::from("no engine reaches its process"),
            Self::UnseenByLibrary { is_filtered: true, .. } => String::from(
                "it was made by a call that the library does not see, or after the program had put itself under a seccomp \
                 filter",
            ),
            Self::UnseenByLibrary { idle: Some(idle), .. } => format!(
                "it has only SO_KEEPALIVE, with the kernel's idle time of {idle} s: it existed before the library, or was made \
                 by a call that the library does not see"
            ),
            Self::UnseenByLibrary { .. } => String::from("it was made by a call that the library does not see"),
            Self::UnseenBySupervisor => {
                String::from("it was made by a call that the supervisor does not see, such as one of io_uring")
            }
            Self::NotEstablishedUnderPolicy {
                is_from_elsewhere: true,
            } => String::from("it was made in another cgroup"),
            Self::NotEstablishedUnderPolicy { .. } => {
                String::from("it was connected before the policy of the cgroup was active")
            }
            Self::Inherited(pid) => format!("it was inherited from process {pid}, in which the library is not"),
            Self::Undone(warning) => warning.reason(),
            Self::Off => String::from("it is off; its values do not show why"),
            Self::Value { option, has, wants } => format!(
                "its {} is {}, that of the policy is {}",
                option.row().name,
                number(*option, *has),
                number(*option, *wants)
            ),
        }
    }

    fn advice(&self, pid: u32) -> String {
        match self {
            Self::Unreached {
                is_library_expected: true,
            }
            | Self::UnseenByLibrary { idle: None, .. } => String::from("use --engine seccomp"),
            Self::UnseenByLibrary { .. } => format!("keepalive attach {pid} sets it now; or use --engine seccomp"),
            Self::UnseenBySupervisor => format!("keepalive attach --watch {pid}, or --engine cgroup"),
            Self::Undone(warning) => warning.advice().to_owned(),
            Self::Off => format!("--mode cap; keepalive attach {pid} sets it now"),
            Self::Unreached { .. }
            | Self::NotEstablishedUnderPolicy { .. }
            | Self::Inherited(_)
            | Self::Value { .. } => {
                format!("keepalive attach {pid} sets it now")
            }
        }
    }
}

/// Returns a value with its unit.
fn number(option: SocketOption, number: u32) -> String {
    match option.row().unit {
        Unit::Seconds => format!("{number} s"),
        Unit::Milliseconds if number == 0 => String::from("none"),
        Unit::Milliseconds => spell(number.into()),
        Unit::Count => number.to_string(),
        Unit::Switch if number == 0 => String::from("off"),
        Unit::Switch => String::from("on"),
    }
}
