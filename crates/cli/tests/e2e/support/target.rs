//! Compiling the small C programs and libraries of `tests/targets`.
