//! `keepalive system refresh`: updates the copies after an upgrade of the package.

use super::abi::present;
use super::{Root, enable, status};
use crate::error::Error;
use crate::output::print;
use keepalive_sys::rooted::Place;

/// Enables the library again, in the mode of the present copies, if it is enabled; otherwise changes nothing.
///
/// # Errors
/// The state is unknown; or the library cannot be enabled again, and nothing has changed.
pub(super) fn run(root: &Root) -> Result<(), Error> {
    if !status::is_enabled(root)? {
        return print("Not enabled; nothing has changed.\n");
    }
    let is_setuid = present(root).glibc.iter().any(|abi| has_setuid_bit(&abi.copy()));
    enable::run(root, &[], is_setuid)
}

fn has_setuid_bit(copy: &Place) -> bool {
    let about = copy.about().ok().flatten();
    about.is_some_and(|about| about.st_mode & 0o4000 != 0)
}
