//! The engines, which reach a program's sockets, and the sockets of running processes. This crate does not
//! parse command lines, print, or decide exit statuses.
#![forbid(unsafe_code)]

pub mod apparmor;
pub mod applier;
pub mod attach;
pub mod cgroup;
pub mod choice;
pub mod container;
pub mod error;
pub mod evidence;
pub mod handover;
pub mod idle_timeout;
pub mod kernel_defaults;
pub mod plan;
pub mod policy;
pub mod preload;
pub mod seccomp;
pub mod selinux;
pub mod sockets;
pub mod sysctl;
pub mod tcp_counters;
pub mod text;
pub mod timeline;
pub mod trace;
pub mod verify;

pub use error::{Error, describe};
