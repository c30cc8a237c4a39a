//! The same program without keepalive and under every engine and mode: what it sees of its calls must not differ.

mod policy;
mod sequences;
mod setting;
mod table;
