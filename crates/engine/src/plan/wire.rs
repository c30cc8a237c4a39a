//! Serializes the policy's types between a worker and its parent, which run the same program.

use keepalive_policy::{Mode, Moment, OPTIONS, SocketOption};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Moment")]
pub(crate) enum MomentWire {
    Create,
    Connect,
    Listen,
    Accept,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mode")]
pub(crate) enum ModeWire {
    Fill,
    Cap,
    Floor,
    Enforce,
}

/// Serializes an option as its index in the table.
pub(crate) mod option {
    use super::{Deserialize as _, Deserializer, OPTIONS, Serializer, SocketOption};
    use serde::de::Error as _;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(option: &SocketOption, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*option as u64)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<SocketOption, D::Error> {
        let place = usize::deserialize(deserializer)?;
        let option = OPTIONS.get(place).copied();
        option.ok_or_else(|| D::Error::custom("no such option"))
    }
}
