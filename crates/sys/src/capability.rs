//! The capabilities of this thread (capabilities(7)).

use rustix::thread::{CapabilitySet, capabilities};

/// Returns whether `capability` is effective; false if that cannot be read.
pub fn is_effective(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}
