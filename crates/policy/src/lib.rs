//! Decides which options keepalive sets on a connection. Defines the options, the settings and their grammar. The
//! preload library and the command share this crate, so it contains no allocation, no system calls and no `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod decide;
pub mod duration;
pub mod environment;
pub mod mode;
pub mod option;
pub mod parse;
pub mod preset;
pub mod protocol;
pub mod rule;
pub mod settings;

pub use decide::{Event, Moment, Source, decide, resolve};
pub use environment::Environment;
pub use mode::Mode;
pub use option::{KernelDefault, LIVE_ORDER, OPTIONS, SocketOption, Unit};
pub use rule::{Direction, Network, Ports, Rule};
pub use settings::{Invalid, Keepalive, Number, Problem, Settings};
