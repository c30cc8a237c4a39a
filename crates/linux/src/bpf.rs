//! eBPF programs that give TCP connections their settings in the kernel, and bpf(2), which loads them.

pub mod assembler;
mod branches;
pub mod call;
pub mod clamp;
pub mod established;
pub mod existing;
pub mod file_system;
pub mod kernel_types;
pub mod listing;
pub mod record;
pub mod wish;
