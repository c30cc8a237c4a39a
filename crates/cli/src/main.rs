//! The `keepalive` command.
#![forbid(unsafe_code)]

fn main() {}
