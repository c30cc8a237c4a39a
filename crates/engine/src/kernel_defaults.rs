//! What a socket has on which nobody has set anything.

use keepalive_policy::{OPTIONS, SocketOption};
use keepalive_sys::{netns, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// What sockets of a network namespace have where nobody has set anything: for the times its sysctls.
#[derive(Clone, Copy, Debug)]
pub struct KernelDefaults {
    /// What tells the namespace from others; absent before Linux 5.14 without the right to ask.
    pub namespace: Option<u64>,
    /// In the order of [`OPTIONS`].
    numbers: [Option<u32>; OPTIONS.len()],
}

impl KernelDefaults {
    /// As the kernel is built (`include/net/tcp.h`).
    pub const BUILT_IN: Self = Self {
        namespace: None,
        numbers: [None; OPTIONS.len()],
    };

    /// In the namespace of the calling thread, as a fresh socket has it.
    pub fn read() -> Self {
        let Ok(fresh) = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None) else {
            return Self::BUILT_IN;
        };
        Self {
            namespace: netns::cookie(&fresh).ok(),
            numbers: OPTIONS.map(|option| sockopt::get(&fresh, option).ok()),
        }
    }

    /// The number of `option`; `None` for those that belong to a connection's route.
    pub fn of(&self, option: SocketOption) -> Option<u32> {
        let built_in = option.row().kernel_default.built_in()?;
        self.numbers[option as usize].or(Some(built_in))
    }
}
