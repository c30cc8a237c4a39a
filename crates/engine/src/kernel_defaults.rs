//! The values of a socket on which no program has set an option.

use keepalive_policy::{OPTIONS, SocketOption};
use keepalive_sys::{netns, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The values of a network namespace's sockets on which no program has set an option: for the times, its sysctls.
#[derive(Clone, Copy, Debug)]
pub struct KernelDefaults {
    /// The cookie that identifies the namespace; absent before Linux 5.14 without the right to read it.
    pub namespace: Option<u64>,
    /// The values, in the order of [`OPTIONS`].
    numbers: [Option<u32>; OPTIONS.len()],
}

impl KernelDefaults {
    /// The kernel's built-in values (`include/net/tcp.h`).
    pub const BUILT_IN: Self = Self {
        namespace: None,
        numbers: [None; OPTIONS.len()],
    };

    /// Reads the values of a fresh socket in the namespace of the calling thread.
    pub fn read() -> Self {
        let Ok(fresh) = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None) else {
            return Self::BUILT_IN;
        };
        Self {
            namespace: netns::cookie(&fresh).ok(),
            numbers: OPTIONS.map(|option| sockopt::get(&fresh, option).ok()),
        }
    }

    /// Returns the value of `option`; `None` for options that belong to a connection's route.
    pub fn of(&self, option: SocketOption) -> Option<u32> {
        let built_in = option.row().kernel_default.built_in()?;
        self.numbers[option as usize].or(Some(built_in))
    }
}
