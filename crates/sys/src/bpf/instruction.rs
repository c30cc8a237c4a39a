//! The unit of eBPF programs.

/// One instruction, as the kernel reads it (`struct bpf_insn` in `include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, and what the class makes of the rest.
    pub code: u8,
    /// The destination register in the lower four bits, the source above.
    pub registers: u8,
    /// Of memory, or how many instructions to jump over.
    pub offset: i16,
    /// A number.
    pub immediate: i32,
}
