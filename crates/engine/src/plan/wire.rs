//! How the policy's words pass from a worker to its parent: both are this very program.

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

/// An option is its place in the table.
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
