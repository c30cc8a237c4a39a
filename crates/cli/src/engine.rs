//! The engines, one file each: the ways to reach a program's sockets.

pub(crate) mod preload;
