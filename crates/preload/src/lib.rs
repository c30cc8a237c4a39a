//! `libkeepalive.so`: TCP keepalive for every socket of a dynamically linked program.
//!
//! The loader puts the library between the program and its C library (`LD_PRELOAD`, `/etc/ld.so.preload`; ld.so(8)).
//! The program does not expect the library. So the library has no allocation, lock, thread, descriptor or thread-local
//! variable of its own, and no strong reference to any library. It makes its own system calls directly, so they do not
//! change `errno` and are not cancellation points.
#![no_std]
// Descriptors, numbers and addresses are passed to the kernel as words.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]
// The code that runs at every call is small and must be inlined. The rest is compiled for size.
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

/// Starts the library. The loader calls this constructor after it has loaded all objects. The order of the libraries'
/// constructors is undefined.
extern "C" fn at_load() {
    state::start();
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// Proves at link time that a release build cannot panic. The handler refers to an undefined symbol, so a release build
/// in which the handler is reachable does not link.
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

// An ELF note (elf(5)) with the version identifies this library and its version. `keepalive system` reads the note.
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

// libcore was compiled for unwinding and may refer to this symbol. The symbol is never called. Without the definition,
// the loader would search for it.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:"
);
