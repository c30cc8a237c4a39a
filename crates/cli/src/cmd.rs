//! The subcommands, one file each.

pub(crate) mod attach;
pub(crate) mod cgroup;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod nri;
pub(crate) mod oci_hook;
pub(crate) mod presets;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod system;
pub(crate) mod trace;
pub(crate) mod unit;
