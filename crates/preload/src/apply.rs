//! Applies the settings to sockets. Ignores every failure: the program continues as without this library.

mod listener;

use crate::defaults::{self, Defaults};
use crate::policy::{CREATED, Policy, connection};
use crate::{log, own, policy, state, sys};
use core::ffi::{c_int, c_void};
use keepalive_policy::{Event, LIVE_ORDER, Mode, Moment, Settings, SocketOption};
pub(crate) use listener::{Undo, before_listen, not_listening};

/// Adopts the sockets that the process inherits at its start: inetd's descriptors 0 to 2, and the descriptors of a
/// service manager.
pub(crate) fn at_start() {
    for fd in 0..3 + policy::passed_descriptors() {
        if !sys::is_socket(fd) || !sys::is_tcp(fd) {
            continue;
        }
        let Some(work) = state::work() else { return };
        learn_from_a_fresh_socket();
        if adopt(&work, fd) && work.is_watching && sys::is_established(fd) {
            own::accepted(fd);
            apply_to_connection(&work, fd, Moment::Accept);
        }
    }
}

/// Reads the kernel's defaults from a new socket. Before the program runs, a descriptor of this library cannot disturb
/// the program. Later the library opens no such socket.
#[cold]
fn learn_from_a_fresh_socket() {
    if !defaults::are_known()
        && let Ok(fd) = sys::socket(sys::AF_INET, sys::SOCK_STREAM | sys::SOCK_CLOEXEC, 0)
    {
        defaults::learn(fd, 0);
        sys::close(fd);
    }
}

/// Applies the settings to a TCP socket that the program has just created.
#[inline(always)]
pub(crate) fn created(policy: &Policy, fd: c_int) {
    if policy.takes_back != 0 || !defaults::are_known() {
        own::keep_defaults(fd, defaults::learn(fd, policy.takes_back));
    }
    for assignment in policy.fresh() {
        let _ = sys::set_option(fd, assignment.level, assignment.name, assignment.value);
    }
    if policy.is_watching {
        own::tcp(fd);
    }
    log::socket(fd, "created");
}

/// Adopts a socket, TCP or not, that the program did not create through this library. Keeps values that another party
/// has set, and replaces the kernel's defaults by the settings. Returns whether the socket is TCP.
#[cold]
pub(crate) fn adopt(policy: &Policy, fd: c_int) -> bool {
    if !sys::is_tcp(fd) {
        return false;
    }
    let settings = policy.created;
    let mut before = Defaults::NONE;
    for option in LIVE_ORDER {
        let Some(current) = get(fd, option) else { continue };
        let ours = settings.number(option);
        let is_own = is_own(fd, option, current, ours);
        if is_own {
            own::mark(fd, option);
        } else if ours != Some(current) {
            before = before.with(option, current);
        }
        // With rules, a foreign value is resolved later, when the peer is known.
        if let Some(ours) = ours.filter(|_| !is_own || !policy.has_rules) {
            set_if_other(fd, option, current, target(&settings, option, ours, current, is_own));
        }
    }
    own::keep_defaults(fd, before.or(own::defaults(fd)));
    match get(fd, SocketOption::UserTimeout) {
        None | Some(0) => {}
        Some(current) if Some(current) == user_timeout(fd, &settings) => own::keep_user_timeout(fd, current),
        Some(_) => own::mark(fd, SocketOption::UserTimeout),
    }
    if sys::is_listening(fd) || sys::is_established(fd) {
        limit_unacknowledged(fd, &settings);
    }
    log::socket(fd, "taken over");
    true
}

/// Whether the socket `fd` was not created through this library, or the number `fd` now refers to another socket.
#[inline(always)]
pub(crate) fn is_foreign(policy: &Policy, fd: c_int) -> bool {
    if policy.is_watching && own::forget_if_replaced(fd) {
        state::forget(fd);
    }
    !state::is_remembered(fd)
}

/// Adopts the socket `fd` if it is foreign. The hooks call this before a call uses the socket. A listening socket stays
/// foreign, because connections that wait in its queue have older values.
#[cold]
pub(crate) fn adopt_if_foreign(policy: &Policy, fd: c_int) {
    if is_foreign(policy, fd) && adopt(policy, fd) && !sys::is_listening(fd) {
        state::remember(fd);
    }
}

/// Applies the settings and the mode of the policy to a connection when its peer is known.
#[cold]
pub(crate) fn apply_to_connection(policy: &Policy, fd: c_int, moment: Moment) {
    let Some(event) = event(fd, moment) else { return };
    apply_to_event(policy, fd, &event);
}

/// Applies the settings as [`apply_to_connection`], for a peer that the caller knows. If the socket is TCP, it already has the
/// settings for new sockets.
#[cold]
pub(crate) fn apply_to_event(policy: &Policy, fd: c_int, event: &Event<'_>) {
    let before = policy.created;
    let settings = policy.decide(event);
    // An earlier decision for another peer may have set options on this socket; they must be reverted.
    let is_same = !own::is_decided(fd) && settings == before && settings.mode.unwrap_or_default() == Mode::Fill;
    let inherits_user_timeout = policy.has_user_timeout && event.moment == Moment::Accept;
    if is_same && !inherits_user_timeout {
        return;
    }
    // Reading the first option of a known TCP socket also shows whether the number still refers to one.
    let first = own::is_tcp(fd).then(|| get(fd, FIRST)).flatten();
    if first.is_none() && !sys::is_tcp(fd) {
        return;
    }
    if !is_same {
        change_options(fd, &settings, &before, first);
    }
    own::decided(fd, settings != before);
    // On a connection that the program opens, [`established`] sets the user timeout.
    if inherits_user_timeout {
        limit_unacknowledged(fd, &settings);
    }
    let is_accepted = event.moment == Moment::Accept;
    log::socket(fd, if is_accepted { "accepted" } else { "connects" });
}

/// The first option that [`change_options`] changes. Only TCP sockets have it.
const FIRST: SocketOption = LIVE_ORDER[0];
const _: () = assert!(FIRST.row().level == sys::IPPROTO_TCP);

/// Changes the options of a socket from the settings `before` to `settings`. `first` is the value of the option
/// [`FIRST`], if known.
fn change_options(fd: c_int, settings: &Settings, before: &Settings, mut first: Option<u32>) {
    let is_decided = own::is_decided(fd);
    for option in LIVE_ORDER {
        let (ours, earlier) = (settings.number(option), before.number(option));
        let known = first.take();
        // If the decision is the same, the mode needs to resolve only the program's own values.
        if !is_decided && ours == earlier && own::is_marked(fd, option) == Some(false) {
            continue;
        }
        let Some(current) = known.or_else(|| get(fd, option)) else {
            continue;
        };
        let is_own = is_own(fd, option, current, earlier);
        let target = match ours {
            Some(ours) => target(settings, option, ours, current, is_own),
            None if is_own => current,
            // The value that was set before the peer was known is reverted.
            None => defaults::value(fd, option).unwrap_or(if is_decided || earlier == Some(current) {
                0
            } else {
                current
            }),
        };
        set_if_other(fd, option, current, target);
    }
}

/// Whether the `current` number of an option is foreign: another party has set it on this socket or on a duplicate. A
/// foreign number is neither the number that this library set `earlier` nor the kernel's default.
fn is_own(fd: c_int, option: SocketOption, current: u32, earlier: Option<u32>) -> bool {
    own::is_marked(fd, option) == Some(true)
        || (!own::is_decided(fd)
            && earlier != Some(current)
            && defaults::is_default(fd, option, current) == Some(false))
}

/// Handles a successful connect(2) of the program to `address`: the socket is connected, or with `AF_UNSPEC`
/// disconnected.
///
/// # Safety
/// `address` must point to `length` bytes.
#[cold]
pub(crate) unsafe fn connected(policy: &Policy, fd: c_int, address: *const c_void, length: u32) {
    // If a connection was already in progress, the call waited for it, and the kernel did not evaluate the call's
    // address.
    let peer = if own::connected(fd) {
        sys::peer(fd)
    // SAFETY: the caller's promise.
    } else if unsafe { sys::is_unspecified(address, length) } {
        disconnected(policy, fd);
        None
    } else {
        // SAFETY: the caller's promise.
        unsafe { sys::read_address(address, length) }
    };
    if let Some((peer, port)) = peer {
        apply_to_event(policy, fd, &connection(Moment::Connect, peer, port));
    }
}

/// Handles a connect(2) of the program that continues after the call has returned. The peer is `address`, unless an
/// earlier call has begun the connection.
///
/// # Safety
/// `address` must point to `length` bytes.
#[cold]
pub(crate) unsafe fn connecting(policy: &Policy, fd: c_int, address: *const c_void, length: u32) {
    if !own::connecting(fd)
        // SAFETY: the caller's promise.
        && let Some((peer, port)) = unsafe { sys::read_address(address, length) }
    {
        apply_to_event(policy, fd, &connection(Moment::Connect, peer, port));
    }
}

/// Handles a connect(2) of the program that has failed. No connection is in progress.
pub(crate) fn not_connected(fd: c_int) {
    own::connected(fd);
}

/// Restores the settings for new sockets after the program has ended the connection of `fd` with `AF_UNSPEC`. The
/// program may connect the socket again.
#[cold]
fn disconnected(policy: &Policy, fd: c_int) {
    if own::is_decided(fd) {
        change_options(fd, &policy.created, &policy.created, None);
        own::decided(fd, false);
    }
    if policy.has_user_timeout
        && let Some(current) = get(fd, SocketOption::UserTimeout)
        && !own::has_own_user_timeout(fd, current)
    {
        set_if_other(fd, SocketOption::UserTimeout, current, 0);
    }
}

/// Sets the user timeout of an established connection. An earlier user timeout would also limit the handshake, so this
/// does nothing while the handshake is in progress.
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

/// Handles a successful setsockopt(2) of the program: corrects the value if the policy's mode requires it, and logs what
/// the socket has now.
#[cold]
pub(crate) fn changed(policy: &Policy, fd: c_int, option: SocketOption) {
    if policy.is_watching {
        correct(policy, fd, option);
    }
    if log::is_on() && sys::is_tcp(fd) {
        log::socket(fd, "changed");
    }
}

/// Records that the program has set an option itself, and corrects the value if the policy's mode requires it.
fn correct(policy: &Policy, fd: c_int, option: SocketOption) {
    own::mark(fd, option);
    let event = match event(fd, moment(fd)) {
        Some(event) => event,
        // A rule may set another mode when the peer is known. Until then the program's value is only recorded.
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
    } else if let (Some(ours), Some(current)) = (settings.number(option), get(fd, option)) {
        set_if_other(fd, option, current, target(&settings, option, ours, current, true));
    }
}

/// Returns the number for an option. The policy sets `ours`; the socket has `current`. With `is_own`, the program has
/// set `current`, and the mode resolves it.
fn target(settings: &Settings, option: SocketOption, ours: u32, current: u32, is_own: bool) -> u32 {
    if is_own {
        settings.mode.unwrap_or_default().resolve(option, ours, current)
    } else {
        ours
    }
}

fn set_if_other(fd: c_int, option: SocketOption, current: u32, target: u32) -> bool {
    let is_set = target != current && set(fd, option, target);
    if is_set && option == SocketOption::UserTimeout {
        own::keep_user_timeout(fd, target);
    }
    is_set
}

/// Sets the user timeout by `settings` and their mode. Returns whether the value was changed.
fn limit_unacknowledged(fd: c_int, settings: &Settings) -> bool {
    let Some(current) = get(fd, SocketOption::UserTimeout) else {
        return false;
    };
    let target = user_timeout_to_set(fd, settings, current);
    set_if_other(fd, SocketOption::UserTimeout, current, target)
}

/// Returns the user timeout for `fd` by `settings` and their mode. `current` is the socket's present user timeout.
fn user_timeout_to_set(fd: c_int, settings: &Settings, current: u32) -> u32 {
    let is_own = own::has_own_user_timeout(fd, current);
    match user_timeout(fd, settings) {
        Some(ours) => target(settings, SocketOption::UserTimeout, ours, current, is_own),
        None if is_own => current,
        None => 0,
    }
}

/// Returns the user timeout of `settings` for a connection with the timings of `fd`.
fn user_timeout(fd: c_int, settings: &Settings) -> Option<u32> {
    let effective = |option| get(fd, option).unwrap_or(0);
    settings.user_timeout_ms(
        effective(SocketOption::Idle),
        effective(SocketOption::Interval),
        effective(SocketOption::Count),
    )
}

/// Returns `Accept` if the connection of `fd` is known to be accepted; otherwise `Connect`.
fn moment(fd: c_int) -> Moment {
    if own::is_accepted(fd) {
        Moment::Accept
    } else {
        Moment::Connect
    }
}

/// Returns the event of a connection with its addresses; `None` if the socket has no peer.
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
