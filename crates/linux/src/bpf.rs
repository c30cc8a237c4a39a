//! eBPF programs that give TCP connections their settings in the kernel, and bpf(2), which loads them.

mod apply;
pub mod assembler;
mod branches;
pub mod call;
pub mod clamp;
pub mod established;
pub mod existing;
pub mod fields;
pub mod file_system;
mod info;
pub mod kernel_types;
pub mod listing;
mod map;
pub mod probe;
pub mod record;
pub mod wish;
