//! Giving sockets their settings. Every failure is ignored: the program goes on as it would without us.

use crate::sys;
use crate::{env, log, state};
use core::ffi::c_int;
use keepalive_policy::{Event, LIVE_ORDER, Moment, Policy, Settings, SocketOption, decide};

/// The sockets that a process has when it starts: inetd's descriptors 0 to 2, and those of a service manager.
pub(crate) fn at_start(policy: &Policy) {
    for fd in 0..3 + env::passed_descriptors() {
        adopt(policy, fd, Moment::Inherit);
    }
}

/// A TCP socket that the program made just now.
#[inline]
pub(crate) fn created(policy: &Policy, fd: c_int) {
    let settings = decide(policy, &event(Moment::Create));
    for option in LIVE_ORDER {
        if let Some(value) = settings.number(option) {
            set(fd, option, value);
        }
    }
    log::socket(fd, "created");
}

/// A socket that the program did not make through us, TCP or not. What somebody has set on it already stays; what is as
/// the kernel makes it gets our settings.
#[cold]
pub(crate) fn adopt(policy: &Policy, fd: c_int, moment: Moment) {
    if !sys::is_tcp(fd) {
        return;
    }
    let settings = decide(policy, &event(moment));
    let untouched = Untouched::new();
    for option in LIVE_ORDER {
        if let Some(value) = settings.number(option)
            && get(fd, option).is_some_and(|current| current != value && untouched.get(option) == current)
        {
            set(fd, option, value);
        }
    }
    if sys::is_listening(fd) || sys::is_established(fd) {
        limit_unacknowledged(&settings, fd);
    }
    log::socket(fd, "taken over");
}

/// The user timeout of a connection, once it is complete: before, it would limit the connecting too. Does nothing while
/// the connection is under way, or where the program has set a user timeout itself.
#[inline]
pub(crate) fn established(policy: &Policy, fd: c_int) {
    let settings = decide(policy, &event(Moment::Connect));
    if settings.user_timeout.is_some() && sys::is_established(fd) && limit_unacknowledged(&settings, fd) {
        log::socket(fd, "connected");
    }
}

/// The user timeout of a socket that is about to listen: the connections that it accepts inherit it. Gives whether it was
/// set here.
#[inline]
pub(crate) fn before_listen(policy: &Policy, fd: c_int) -> bool {
    let settings = decide(policy, &event(Moment::Listen));
    let set = settings.user_timeout.is_some() && sys::is_tcp(fd) && limit_unacknowledged(&settings, fd);
    if set {
        log::socket(fd, "listens");
    }
    set
}

/// Takes the user timeout back: the socket does not listen after all, and may connect.
#[cold]
pub(crate) fn not_listening(fd: c_int) {
    set(fd, SocketOption::UserTimeout, 0);
}

fn limit_unacknowledged(settings: &Settings, fd: c_int) -> bool {
    let effective = |option| get(fd, option).unwrap_or(0);
    if effective(SocketOption::UserTimeout) != 0 {
        return false;
    }
    let milliseconds = settings.user_timeout_ms(
        effective(SocketOption::Idle),
        effective(SocketOption::Interval),
        effective(SocketOption::Count),
    );
    milliseconds != 0 && set(fd, SocketOption::UserTimeout, milliseconds)
}

fn event(moment: Moment) -> Event<'static> {
    Event {
        moment,
        local: None,
        peer: None,
        program: b"",
    }
}

fn get(fd: c_int, option: SocketOption) -> Option<u32> {
    let row = option.row();
    sys::option(fd, row.level, row.optname)
}

fn set(fd: c_int, option: SocketOption, value: u32) -> bool {
    let row = option.row();
    sys::set_option(fd, row.level, row.optname, value).is_ok()
}

/// A socket on which nobody has set anything: it tells the sysctls of this network namespace.
struct Untouched(Option<c_int>);

impl Untouched {
    fn new() -> Self {
        Self(sys::socket(sys::AF_INET, sys::SOCK_STREAM | sys::SOCK_CLOEXEC, 0).ok())
    }

    /// The value of `option` there. Without a free descriptor, what the kernel is built with (`include/net/tcp.h`).
    fn get(&self, option: SocketOption) -> u32 {
        self.0.and_then(|fd| get(fd, option)).unwrap_or(match option {
            SocketOption::Idle => 7200,
            SocketOption::Interval => 75,
            SocketOption::Count => 9,
            SocketOption::Keepalive | SocketOption::UserTimeout => 0,
        })
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            sys::close(fd);
        }
    }
}

/// What the hooks ask before they do anything to a socket that a call is about to use: whether it came from elsewhere.
#[inline]
pub(crate) fn adopt_if_foreign(policy: &Policy, fd: c_int, moment: Moment) {
    if !state::is_remembered(fd) {
        adopt(policy, fd, moment);
        state::remember(fd);
    }
}
