//! The messages, as `scripts/nri-messages` writes them.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

pub mod nri;
pub mod ttrpc;
