//! The engines, one file each: the ways to reach a program's sockets.

pub(crate) mod apparmor;
pub(crate) mod attach;
pub(crate) mod cgroup;
pub(crate) mod choice;
pub(crate) mod preload;
pub(crate) mod seccomp;
pub(crate) mod settle;
