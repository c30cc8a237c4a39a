//! Giving sockets their settings. Every failure is ignored: the program goes on as it would without us.

use crate::policy::{CREATED, EARLY, Policy, connection};
use crate::{log, own, policy, state, sys};
use core::ffi::c_int;
use keepalive_policy::{Event, LIVE_ORDER, Mode, Moment, Settings, SocketOption};

/// The sockets that a process has when it starts: inetd's descriptors 0 to 2, and those of a service manager.
pub(crate) fn at_start(policy: &Policy) {
    if policy.is_watching {
        own::open();
    }
    for fd in 0..3 + policy::passed_descriptors() {
        if sys::file_type(fd) == sys::S_IFSOCK && adopt(policy, fd) && policy.is_watching && sys::is_established(fd) {
            own::accepted(fd);
            settle(policy, fd, Moment::Accept);
        }
    }
}

/// A TCP socket that the program made just now.
#[inline(always)]
pub(crate) fn created(policy: &Policy, fd: c_int) {
    for assignment in policy.fresh() {
        let _ = sys::set_option(fd, assignment.level, assignment.name, assignment.value);
    }
    if policy.is_watching {
        own::tcp(fd);
    }
    log::socket(fd, "created");
}

/// A socket that the program did not make through us, TCP or not. What somebody has set on it already stays; what is as
/// the kernel makes it gets our settings. Gives whether it is TCP.
#[cold]
pub(crate) fn adopt(policy: &Policy, fd: c_int) -> bool {
    if !sys::is_tcp(fd) {
        return false;
    }
    let settings = policy.created;
    let mut untouched = Untouched::default();
    for option in LIVE_ORDER {
        let Some(current) = get(fd, option) else { continue };
        let ours = settings.number(option);
        let is_own = is_own(fd, option, current, ours, &mut untouched);
        if is_own {
            own::mark(fd, option);
        }
        // Where there are rules, somebody else's value is judged when the peer is known.
        if let Some(ours) = ours.filter(|_| !is_own || !policy.has_rules) {
            set_if_other(fd, option, current, target(&settings, option, ours, current, is_own));
        }
    }
    if get(fd, SocketOption::UserTimeout)
        .is_some_and(|current| current != 0 && user_timeout(fd, &settings) != Some(current))
    {
        own::mark(fd, SocketOption::UserTimeout);
    }
    if sys::is_listening(fd) || sys::is_established(fd) {
        limit_unacknowledged(fd, &settings);
    }
    log::socket(fd, "taken over");
    true
}

/// What the hooks ask before a call is about to use a socket: one that came from elsewhere gets its settings. One that
/// listens already stays foreign: connections that wait in it have older values.
#[inline(always)]
pub(crate) fn adopt_if_foreign(policy: &Policy, fd: c_int) {
    if !state::is_remembered(fd) && adopt(policy, fd) && !sys::is_listening(fd) {
        state::remember(fd);
    }
}

/// The settings of a connection whose peer is known now, under the mode that the policy says.
#[cold]
pub(crate) fn settle(policy: &Policy, fd: c_int, moment: Moment) {
    let Some(event) = event(fd, moment) else { return };
    settle_for(policy, fd, &event);
}

/// As [`settle`], for a peer that the caller knows. The socket, if it is TCP, has what the policy says for new sockets.
#[cold]
pub(crate) fn settle_for(policy: &Policy, fd: c_int, event: &Event<'_>) {
    let before = policy.created;
    let settings = policy.decide(event);
    // What another decision has set on this socket, for another peer, is to be taken back.
    let is_same = !own::is_settled(fd) && settings == before && settings.mode.unwrap_or_default() == Mode::Fill;
    let inherits_user_timeout = policy.has_user_timeout && event.moment == Moment::Accept;
    if (is_same && !inherits_user_timeout) || !(own::is_tcp(fd) || sys::is_tcp(fd)) {
        return;
    }
    if !is_same {
        settle_options(fd, &settings, &before);
    }
    own::settled(fd, settings != before);
    // That of a connection from here is for [`established`].
    if inherits_user_timeout {
        limit_unacknowledged(fd, &settings);
    }
    let is_accepted = event.moment == Moment::Accept;
    log::socket(fd, if is_accepted { "accepted" } else { "connects" });
}

/// Changes what `settings` say from what was set `before`.
fn settle_options(fd: c_int, settings: &Settings, before: &Settings) {
    let is_settled = own::is_settled(fd);
    let mut untouched = Untouched::default();
    for option in LIVE_ORDER {
        let (ours, earlier) = (settings.number(option), before.number(option));
        // Where the decision is the same, only the program's own values are left to be judged by the mode.
        if !is_settled && ours == earlier && own::is_marked(fd, option) == Some(false) {
            continue;
        }
        let Some(current) = get(fd, option) else { continue };
        let is_own = is_own(fd, option, current, earlier, &mut untouched);
        let target = match ours {
            Some(ours) => target(settings, option, ours, current, is_own),
            None if is_own => current,
            // What was set before the peer was known is taken back.
            None => untouched.get(option).unwrap_or(current),
        };
        set_if_other(fd, option, current, target);
    }
}

/// Whether the `current` number of an option is somebody else's, who has set it on this socket (or on the one that it is a
/// duplicate of): neither what we set `earlier` nor what the kernel gives.
fn is_own(fd: c_int, option: SocketOption, current: u32, earlier: Option<u32>, untouched: &mut Untouched) -> bool {
    own::is_marked(fd, option) == Some(true)
        || (!own::is_settled(fd)
            && earlier != Some(current)
            && untouched.get(option).is_some_and(|default| default != current))
}

/// The user timeout of a connection, once it is complete: before, it would limit the connecting too. Does nothing while
/// the connection is under way.
#[inline(always)]
pub(crate) fn established(policy: &Policy, fd: c_int) {
    if policy.has_user_timeout {
        limit_established(policy, fd);
    }
}

#[cold]
fn limit_established(policy: &Policy, fd: c_int) {
    if !sys::is_established(fd) {
        return;
    }
    if let Some(event) = event(fd, moment(fd))
        && limit_unacknowledged(fd, &policy.decide(&event))
    {
        log::socket(fd, "connected");
    }
}

/// What a socket that is about to listen gets beside the rest: what acts on the handshakes, and what the connections that
/// it accepts inherit. Gives whether a user timeout was set.
#[inline(always)]
pub(crate) fn before_listen(policy: &Policy, fd: c_int) -> bool {
    (policy.has_user_timeout || policy.has_early_options) && prepare_listener(policy, fd)
}

#[cold]
fn prepare_listener(policy: &Policy, fd: c_int) -> bool {
    if !sys::is_tcp(fd) {
        return false;
    }
    let before = policy.created;
    let settings = policy.decide(&Event {
        moment: Moment::Listen,
        port: sys::local_port(fd),
        ..CREATED
    });
    let mut untouched = Untouched::default();
    for option in EARLY {
        if let (Some(ours), Some(current)) = (settings.number(option), get(fd, option)) {
            let is_own = is_own(fd, option, current, before.number(option), &mut untouched);
            set_if_other(fd, option, current, target(&settings, option, ours, current, is_own));
        }
    }
    let limited = limit_unacknowledged(fd, &settings);
    log::socket(fd, "listens");
    limited
}

/// Takes the user timeout back: the socket does not listen after all, and may connect.
#[cold]
pub(crate) fn not_listening(fd: c_int) {
    set(fd, SocketOption::UserTimeout, 0);
}

/// The program has set an option itself: notes it, and where the policy's mode says so, corrects it.
#[cold]
pub(crate) fn corrected(policy: &Policy, fd: c_int, level: c_int, name: c_int) {
    let Some(option) = SocketOption::from_number(level, name) else {
        return;
    };
    own::mark(fd, option);
    let event = match event(fd, moment(fd)) {
        Some(event) => event,
        // A rule may say another mode when the peer is known: until then the program's value is only noted.
        None if policy.has_rules => return,
        None => CREATED,
    };
    let settings = policy.decide(&event);
    if settings.mode.unwrap_or_default() == Mode::Fill || !sys::is_tcp(fd) {
        return;
    }
    if option == SocketOption::UserTimeout {
        if sys::is_established(fd) {
            limit_unacknowledged(fd, &settings);
        }
    } else if let (Some(ours), Some(current)) = (settings.number(option), get(fd, option))
        && set_if_other(fd, option, current, target(&settings, option, ours, current, true))
    {
        log::socket(fd, "corrected");
    }
}

/// The number for an option of which the policy says `ours` and the socket has `current`, which is the program's own or
/// not.
fn target(settings: &Settings, option: SocketOption, ours: u32, current: u32, is_own: bool) -> u32 {
    if is_own {
        settings.mode.unwrap_or_default().settle(option, ours, current)
    } else {
        ours
    }
}

fn set_if_other(fd: c_int, option: SocketOption, current: u32, target: u32) -> bool {
    target != current && set(fd, option, target)
}

/// Sets the user timeout that `settings` say, under their mode. Gives whether it was set.
fn limit_unacknowledged(fd: c_int, settings: &Settings) -> bool {
    let Some(current) = get(fd, SocketOption::UserTimeout) else {
        return false;
    };
    let is_own = own::is_marked(fd, SocketOption::UserTimeout).unwrap_or(current != 0);
    let target = match user_timeout(fd, settings) {
        Some(ours) => target(settings, SocketOption::UserTimeout, ours, current, is_own),
        None if is_own => current,
        None => 0,
    };
    set_if_other(fd, SocketOption::UserTimeout, current, target)
}

/// The user timeout that `settings` say for a connection with the times of `fd`.
fn user_timeout(fd: c_int, settings: &Settings) -> Option<u32> {
    let effective = |option| get(fd, option).unwrap_or(0);
    settings.user_timeout_ms(
        effective(SocketOption::Idle),
        effective(SocketOption::Interval),
        effective(SocketOption::Count),
    )
}

/// Which way the connection of `fd` was opened, as far as is known.
fn moment(fd: c_int) -> Moment {
    if own::is_accepted(fd) {
        Moment::Accept
    } else {
        Moment::Connect
    }
}

/// The event of a connection, from its addresses; `None` without a peer.
fn event(fd: c_int, moment: Moment) -> Option<Event<'static>> {
    let (peer, peers_port) = sys::peer(fd)?;
    let port = if moment == Moment::Accept {
        sys::local_port(fd)?
    } else {
        peers_port
    };
    Some(connection(moment, peer, port))
}

fn get(fd: c_int, option: SocketOption) -> Option<u32> {
    let row = option.row();
    sys::option(fd, row.level, row.optname)
}

fn set(fd: c_int, option: SocketOption, value: u32) -> bool {
    let row = option.row();
    sys::set_option(fd, row.level, row.optname, value).is_ok()
}

/// A socket on which nobody has set anything: it tells the sysctls of this network namespace. Made when it is first asked.
#[derive(Default)]
struct Untouched {
    is_made: bool,
    socket: Option<c_int>,
}

impl Untouched {
    /// The value of `option` there. Without a free descriptor, what the kernel is built with (`include/net/tcp.h`). `None`
    /// for those that belong to a connection's route.
    fn get(&mut self, option: SocketOption) -> Option<u32> {
        let built_in = match option {
            SocketOption::Keepalive | SocketOption::UserTimeout | SocketOption::DeferAccept => return Some(0),
            SocketOption::MaxSegment | SocketOption::WindowClamp => return None,
            SocketOption::Idle => 7200,
            SocketOption::Interval => 75,
            SocketOption::Count => 9,
            SocketOption::SynCount => 6,
        };
        if !self.is_made {
            self.is_made = true;
            self.socket = sys::socket(sys::AF_INET, sys::SOCK_STREAM | sys::SOCK_CLOEXEC, 0).ok();
        }
        Some(self.socket.and_then(|fd| get(fd, option)).unwrap_or(built_in))
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        if let Some(fd) = self.socket {
            sys::close(fd);
        }
    }
}
