//! connect(2)

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
/// As connect(2) asks.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const c_void, length: u32) -> c_int {
    before_connect(fd, address, length);
    let mut room = supervised::Room::new();
    let (given, given_length) = supervised::passing(fd, address, length, &mut room);
    // SAFETY: the caller's promise; or a copy of what it promises, in room that lives through the call.
    let returned = unsafe { next::connect(fd, given, given_length) };
    // SAFETY: the arguments are those of the call that returned this.
    unsafe { after_connect(fd, address, length, returned as _) };
    returned
}

/// # Safety
/// As the system call asks.
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

/// A socket that came from elsewhere gets its settings now, and any socket those that act on the handshake. The address
/// may be anything yet.
fn before_connect(fd: c_int, address: *const c_void, length: u32) {
    let Some(policy) = state::policy() else { return };
    let has_rules_for_handshakes = policy.has_early_options && policy.has_rules;
    if !has_rules_for_handshakes && !apply::is_foreign(policy, fd) {
        return;
    }
    let Some(work) = state::work() else { return };
    apply::adopt_if_foreign(&work, fd);
    // A socket that listens or is connected gets no settings for a peer that it will not have.
    if has_rules_for_handshakes
        && let Some(domain) = sys::tcp_domain(fd)
        && sys::is_closed(fd)
        && let Some((peer, port)) = sys::try_read_address(domain, address, length)
    {
        apply::settle_for(&work, fd, &connection(Moment::Connect, peer, port));
    }
}

/// Whatever the call returned: it may have completed the connection, found it complete (EISCONN), or only begun it. A
/// connection that is under way is seen again by getsockopt(2), or here by another connect(2).
///
/// # Safety
/// The arguments must be those of a call of connect(2), and `returned` what it gave.
unsafe fn after_connect(fd: c_int, address: *const c_void, length: u32, returned: c_long) {
    let Some(policy) = state::policy() else { return };
    if !policy.is_watching && !policy.has_user_timeout {
        return;
    }
    let Some(work) = state::work() else { return };
    if work.is_watching {
        match outcome(returned) {
            // SAFETY: the kernel has taken the address.
            Outcome::Done => unsafe { apply::connected(&work, fd, address, length) },
            // SAFETY: the kernel has taken the address.
            Outcome::UnderWay => unsafe { apply::connecting(&work, fd, address, length) },
            Outcome::Failed => apply::not_connected(fd),
            Outcome::Unchanged => {}
        }
    }
    apply::established(&work, fd);
}

/// What a call of connect(2) did.
enum Outcome {
    /// It succeeded.
    Done,
    /// It failed, and the connection goes on being made.
    UnderWay,
    /// It failed, and so did the connection.
    Failed,
    /// It failed, and nothing else happened.
    Unchanged,
}

/// What a call of connect(2) did that `returned` this, and set errno.
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
