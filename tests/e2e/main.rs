//! End-to-end tests: real programs, real sockets, and the values that the kernel then reports.
#![allow(
    unreachable_pub,
    reason = "nothing outside sees a test; plain `pub` reads better in its support code"
)]

#[macro_use]
mod support;

mod arguments;
mod attach;
mod cancel;
mod cgroup;
mod cgroup_load;
mod chained;
mod check;
mod compat;
mod connect_patience;
mod contexts;
mod cost;
mod cross;
mod descriptors;
mod differential;
mod doctor;
mod documentation;
mod elf_facts;
mod environment;
mod explain;
mod fill;
mod inherited;
mod kernel;
mod kubernetes;
mod list;
mod log;
mod messages;
mod modes;
mod monitoring;
mod nat;
mod nri;
mod packages;
mod presets;
mod probe;
mod programs;
mod recipes;
mod rules;
mod run;
mod seccomp;
mod secure;
mod stack;
mod summary;
mod supervised;
mod system;
mod trace;
mod transparency;
mod unit;
mod unloadable;
mod unseen;
mod user_timeout;
mod variables;
mod verify;
