//! Runs the same program without keepalive and under every engine and mode: the results of its calls must not differ.

mod policy;
mod sequences;
mod setting;
mod table;
