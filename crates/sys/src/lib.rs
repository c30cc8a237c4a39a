//! Safe wrappers over the kernel interfaces that keepalive uses. Only this crate and `crates/preload` may
//! contain `unsafe`. This crate decides no policy and prints nothing.

pub mod apparmor;
pub mod arch;
pub mod background;
pub mod bpf;
pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod elf;
pub mod errno;
pub mod exec;
pub mod fork;
pub mod kernel_symbols;
mod layout;
pub mod libraries;
pub mod lock;
pub mod memory;
pub mod names;
pub mod netns;
pub mod pidfd;
pub mod proc;
pub mod proc_mount;
pub mod program;
pub mod regular;
pub mod rooted;
pub mod seccomp;
pub mod selinux;
pub mod signal;
pub mod sock_diag;
pub mod sockopt;
pub mod thread;
pub mod trial;
pub mod worker;
