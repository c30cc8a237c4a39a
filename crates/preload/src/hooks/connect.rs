//! Hooks connect(2).

use super::syscall::Call;
use crate::next::next;
use crate::policy::connection;
use crate::sys::number;
use crate::{apply, libc, state, supervised, sys};
use core::ffi::{c_int, c_long, c_void};
use keepalive_policy::Moment;

next! {
    fn connect(fd: c_int, address: *const c_void, length: u32) -> c_int = number::CONNECT, [fd, address, length, 0, 0];
}

/// # Safety
/// As connect(2) requires.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const c_void, length: u32) -> c_int {
    before_connect(fd, address, length);
    let mut room = supervised::Room::new();
    let (given, given_length) = supervised::passing(fd, address, length, &mut room);
    // SAFETY: the caller's promise; a copy of the address is in `room`, which lives through the call.
    let returned = unsafe { next::connect(fd, given, given_length) };
    // SAFETY: the arguments are those of the call that returned this.
    unsafe { after_connect(fd, address, length, returned as _) };
    returned
}

/// # Safety
/// As the system call requires.
pub(super) unsafe fn by_number(call: &Call) -> c_long {
    let [_, address, length] = call.arguments;
    let (fd, address, length) = (call.fd(), address as *const c_void, length as u32);
    before_connect(fd, address, length);
    // SAFETY: the caller's promise.
    let returned = unsafe { call.make() };
    // SAFETY: the arguments are those of the call that returned this.
    unsafe { after_connect(fd, address, length, returned) };
    returned
}

/// Adopts a foreign socket, and sets the options that affect the handshake. The address is not validated yet.
fn before_connect(fd: c_int, address: *const c_void, length: u32) {
    let Some(policy) = state::policy() else { return };
    let has_rules_for_handshakes = policy.has_early_options && policy.has_rules;
    if !has_rules_for_handshakes && !apply::is_foreign(policy, fd) {
        return;
    }
    let Some(work) = state::work() else { return };
    apply::adopt_if_foreign(&work, fd);
    // A listening or connected socket will not connect to this peer, so the peer's settings do not apply.
    if has_rules_for_handshakes
        && let Some(domain) = sys::tcp_domain(fd)
        && sys::is_closed(fd)
        && let Some((peer, port)) = sys::try_read_address(domain, address, length)
    {
        apply::apply_to_event(&work, fd, &connection(Moment::Connect, peer, port));
    }
}

/// Applies the settings after connect(2), also after an error: the call may have completed the connection, found it
/// complete (EISCONN), or only begun it. If the connection is in progress, the hook of getsockopt(2) or of another
/// connect(2) continues this work.
///
/// # Safety
/// The arguments must be those of a connect(2) call, and `returned` its result.
unsafe fn after_connect(fd: c_int, address: *const c_void, length: u32, returned: c_long) {
    let Some(policy) = state::policy() else { return };
    if !policy.is_watching && !policy.has_user_timeout {
        return;
    }
    let Some(work) = state::work() else { return };
    if work.is_watching {
        match outcome(returned) {
            // SAFETY: the kernel has accepted the address.
            Outcome::Done => unsafe { apply::connected(&work, fd, address, length) },
            // SAFETY: the kernel has accepted the address.
            Outcome::UnderWay => unsafe { apply::connecting(&work, fd, address, length) },
            Outcome::Failed => apply::not_connected(fd),
            Outcome::Unchanged => {}
        }
    }
    apply::established(&work, fd);
}

/// The outcome of a connect(2) call.
enum Outcome {
    /// The call succeeded.
    Done,
    /// The call failed, and the connection is in progress.
    UnderWay,
    /// The call failed, and so did the connection.
    Failed,
    /// The call failed, and the state of the connection did not change.
    Unchanged,
}

/// Returns the outcome of a connect(2) call from its result and errno.
fn outcome(returned: c_long) -> Outcome {
    const EINTR: c_int = 4;
    const EALREADY: c_int = 114;
    const EINPROGRESS: c_int = 115;
    if returned == 0 {
        return Outcome::Done;
    }
    match libc::errno() {
        EINTR | EINPROGRESS => Outcome::UnderWay,
        EALREADY => Outcome::Unchanged,
        _ => Outcome::Failed,
    }
}
