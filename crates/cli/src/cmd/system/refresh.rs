//! `keepalive system refresh`: updates the copies after an upgrade of the package.

use super::abi::present;
use super::library::is_setuid;
use super::{Root, enable, status};
use crate::error::Error;
use crate::output::print;

/// Enables the library again, in the mode of the present copies, if it is enabled; otherwise changes nothing.
///
/// # Errors
/// The state is unknown; or the library cannot be enabled again, and nothing has changed.
pub(super) fn run(root: &Root) -> Result<(), Error> {
    if !status::is_enabled(root)? {
        return print("Not enabled; nothing has changed.\n");
    }
    let serves_setuid = present(root).glibc.iter().any(|abi| {
        let about = abi.copy().about().ok().flatten();
        about.is_some_and(|about| is_setuid(&about))
    });
    enable::run(root, &[], serves_setuid)
}
