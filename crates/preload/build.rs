//! Links `libkeepalive.so` without start files, without libc and with as few pages as possible: every exec pays for each
//! mapping and each page that the loader touches.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in [
        // Nothing of the C library's start-up, and no library that the loader would have to find.
        "-nostartfiles",
        "-nostdlib",
        // One linker for one layout, whatever rustc's default: each mapping costs about 2 µs an exec.
        "-fuse-ld=bfd",
        "-Wl,-z,noseparate-code",
        // No second mprotect and mapping; three GOT slots stay writable (hooks are reached through the caller's GOT anyway).
        "-Wl,-z,norelro",
        "-Wl,-z,now",
        "-Wl,-z,noexecstack",
        // Hooks are called until the very end of a process.
        "-Wl,-z,nodelete",
        // Every strong reference must be our own; what libc gives is weak.
        "-Wl,-z,defs",
        "-Wl,--hash-style=gnu",
        "-Wl,--build-id=none",
        "-Wl,-soname,libkeepalive.so",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
