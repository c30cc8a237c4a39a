//! Reads the TCP sockets of other processes from the kernel (`pidfd_getfd` and `getsockopt`).

use keepalive_policy::SocketOption;
use keepalive_policy::option::KEEPALIVE;
use keepalive_sys::proc;
use keepalive_sys::sockopt::{self, TcpSocket};
use std::os::fd::AsFd;

/// One TCP socket of a process.
#[derive(Clone, Debug)]
pub struct Seen {
    pub socket: TcpSocket,
}

impl Seen {
    /// Returns (keepalive, idle, interval, count), which most tests compare.
    pub fn timing(&self) -> (bool, u64, u64, u32) {
        let number = |option| self.socket.numbers.get(option).unwrap_or(0);
        (
            self.socket.numbers.is_on(),
            number(SocketOption::Idle).into(),
            number(SocketOption::Interval).into(),
            number(SocketOption::Count),
        )
    }

    /// Returns the user timeout in milliseconds; 0 for none.
    pub fn user_timeout(&self) -> u32 {
        self.socket.numbers.get(SocketOption::UserTimeout).unwrap_or(0)
    }
}

/// Returns all TCP sockets of `pid` and its descendants. Ignores processes that end during the call.
pub fn tcp_sockets(pid: u32) -> Vec<Seen> {
    let mut seen = Vec::new();
    for pid in family(pid) {
        for fd in proc::fds(pid).unwrap_or_default() {
            let Ok(duplicate) = sockopt::duplicate(pid, fd) else {
                continue;
            };
            if let Ok(Some(socket)) = sockopt::read(&duplicate) {
                seen.push(Seen { socket });
            }
        }
    }
    seen
}

/// Returns `pid` and all its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() {
        all.extend(proc::children(all[next]).unwrap_or_default());
        next += 1;
    }
    all
}

/// Returns keepalive, idle, interval, count and user timeout of a descriptor of `pid`; `-` for a missing value.
#[track_caller]
pub fn has(pid: u32, fd: i32) -> String {
    show(sockopt::duplicate(pid, fd).unwrap_or_else(|error| panic!("descriptor {fd} of {pid}: {error}")))
}

/// Returns the same values for a descriptor of this process.
pub fn show(socket: impl AsFd) -> String {
    let numbers = sockopt::numbers(socket).expect("a TCP socket");
    let text = KEEPALIVE
        .map(|option| numbers.get(option))
        .map(|number| number.map_or_else(|| String::from("-"), |number| number.to_string()));
    text.join(" ")
}
