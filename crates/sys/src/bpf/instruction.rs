//! The instructions of eBPF programs.

/// One instruction, as the kernel reads it (`struct bpf_insn` in `include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The class, and the fields that the class defines.
    pub code: u8,
    /// The destination register in the lower four bits, the source above.
    pub registers: u8,
    /// The offset in memory, or the number of instructions to jump over.
    pub offset: i16,
    /// The immediate value.
    pub immediate: i32,
}
