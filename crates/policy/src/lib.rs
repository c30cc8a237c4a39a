//! What keepalive sets on which connection: the options, the settings made of them, how they are written, and the
//! decision. Shared by the preload library and the command, hence without allocation, system calls or `unsafe`.
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
