//! Follows every TCP connection of the machine, in all network namespaces, and reports each end with its cause.

pub mod ending;
pub mod summary;
