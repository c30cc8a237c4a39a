//! `libkeepalive.so`: TCP keepalive for every socket of a dynamically linked program.
//!
//! It stands between the program and its C library (`LD_PRELOAD`, `/etc/ld.so.preload`; ld.so(8)) and lives in processes
//! that know nothing of it. Hence: no allocation, lock, thread, descriptor or thread-local variable of its own; no strong
//! reference to any library; its own system calls are made directly, so that `errno` and cancellation stay the program's.
#![no_std]
// Values cross the kernel's interface here: descriptors, numbers and addresses are all words to it.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]
// What runs at every call is small and must be one piece; all else is compiled for size.
#![allow(clippy::inline_always)]

mod apply;
mod arch;
mod defaults;
mod hooks;
mod libc;
mod log;
mod mem;
mod next;
mod own;
mod policy;
mod state;
mod supervised;
mod sys;

/// What the loader calls when all objects are in place, in no certain order among the libraries.
extern "C" fn at_load() {
    state::start();
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// There is no panic in a release: this refers to a symbol that nobody defines, so that a release with a path to it does
/// not link.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(not(debug_assertions))]
    {
        unsafe extern "C" {
            safe fn keepalive_has_a_path_to_panic() -> !;
        }
        keepalive_has_a_path_to_panic()
    }
    #[cfg(debug_assertions)]
    loop {}
}

// What tells this library from others of its name, and its versions from each other: an ELF note (elf(5)) that has the
// version. `keepalive system` reads it.
core::arch::global_asm!(
    ".pushsection .note.keepalive, \"a\", %note",
    ".balign 4",
    ".long 2f - 1f",
    ".long 4f - 3f",
    ".long 1",
    "1: .asciz \"keepalive\"",
    "2: .balign 4",
    concat!("3: .asciz \"", env!("CARGO_PKG_VERSION"), "\""),
    "4: .balign 4",
    ".popsection",
);

// libcore was compiled to unwind and may refer to this; it is never called. Without it the loader would look for it.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:"
);
