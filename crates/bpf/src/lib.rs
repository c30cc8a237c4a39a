//! The eBPF programs that set TCP connections' options in the kernel: an assembler, the compiler from a
//! policy to programs, and the maps that they share. `keepalive_sys::bpf` loads them.
#![forbid(unsafe_code)]

mod apply;
pub mod assembler;
pub mod clamp;
mod decision_list;
pub mod ended;
pub mod established;
pub mod existing;
pub mod fields;
pub mod kernel_types;
pub mod listing;
mod matching;
pub mod probe;
pub mod record;
pub mod sock_settings;
pub mod tracing;
