//! End-to-end tests: real programs, real sockets, and what the kernel says about them afterwards.

#[macro_use]
mod support;

mod programs;
