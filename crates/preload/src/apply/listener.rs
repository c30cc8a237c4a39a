//! Prepares sockets before listen(2): sets the options that affect the handshake, and the options that accepted
//! connections inherit.

use super::{get, is_own, set, set_if_other, target, user_timeout_to_set};
use crate::policy::{CREATED, Policy};
use crate::{log, own, sys};
use core::ffi::c_int;
use keepalive_policy::option::BEFORE_LISTEN;
use keepalive_policy::{Event, Moment, SocketOption};

/// What [`not_listening`] restores.
#[derive(Default)]
pub(crate) struct Undo {
    /// The values of changed options before listen(2), in the order of [`BEFORE_LISTEN`].
    values: [Option<u32>; BEFORE_LISTEN.len()],
    /// The user timeout that this library had set.
    user_timeout: u32,
}

impl Undo {
    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }
}

/// Sets the options that must be set before the socket `fd` listens. Returns the previous values.
#[cold]
pub(crate) fn before_listen(policy: &Policy, fd: c_int) -> Undo {
    let mut undo = Undo::default();
    // A connection cannot listen, and keeps its values.
    if !sys::is_tcp(fd) || !sys::may_listen(fd) {
        return undo;
    }
    undo.user_timeout = own::user_timeout(fd);
    let before = policy.created;
    let settings = policy.decide(&Event {
        moment: Moment::Listen,
        port: sys::local_port(fd),
        ..CREATED
    });
    for (option, slot) in BEFORE_LISTEN.into_iter().zip(&mut undo.values) {
        let Some(current) = get(fd, option) else { continue };
        let wanted = if option == SocketOption::UserTimeout {
            user_timeout_to_set(fd, &settings, current)
        } else if let Some(ours) = settings.number(option) {
            let is_own = is_own(fd, option, current, before.number(option));
            target(&settings, option, ours, current, is_own)
        } else {
            current
        };
        if set_if_other(fd, option, current, wanted) {
            *slot = Some(written(policy, fd, option, current));
        }
    }
    log::socket(fd, "listens");
    undo
}

/// Returns the number that setsockopt(2) accepts to restore `current`, a result of getsockopt(2). For an unset maximum
/// segment size, getsockopt(2) returns the size that the kernel would use; setsockopt(2) requires 0.
fn written(policy: &Policy, fd: c_int, option: SocketOption, current: u32) -> u32 {
    let is_set = own::is_marked(fd, option) != Some(false) || policy.created.number(option).is_some();
    if option == SocketOption::MaxSegment && !is_set {
        0
    } else {
        current
    }
}

/// Restores the previous values of a socket on which listen(2) failed. The socket may still connect.
#[cold]
pub(crate) fn not_listening(fd: c_int, undo: &Undo) {
    for (option, before) in BEFORE_LISTEN.into_iter().zip(undo.values) {
        if let Some(before) = before {
            set(fd, option, before);
        }
    }
    own::keep_user_timeout(fd, undo.user_timeout);
}
