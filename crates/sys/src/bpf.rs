//! bpf(2), which loads, attaches and pins eBPF programs, and the BPF file system.

mod btf;
pub mod call;
pub mod file_system;
mod info;
mod instruction;
mod map;
mod mapping;
mod ring;

pub use btf::Btf;
pub use instruction::Instruction;
pub use ring::Ring;
