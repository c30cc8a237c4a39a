//! End-to-end tests: real programs, real sockets, and what the kernel says about them afterwards.
#![allow(
    unreachable_pub,
    reason = "nothing outside sees a test; plain `pub` reads better in its support code"
)]

#[macro_use]
mod support;

mod elf_facts;
mod nat;
mod programs;
mod run;
