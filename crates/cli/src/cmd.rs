//! The subcommands, one file each.

pub(crate) mod presets;
pub(crate) mod run;
