//! bpf(2), which loads, attaches and pins eBPF programs, and the BPF file system.

pub mod call;
pub mod file_system;
mod info;
mod instruction;
mod map;

pub use instruction::Instruction;
