//! Giving a socket that is about to be used its settings, and those that a command inherits.

use crate::untouched::Untouched;
use keepalive_linux::pidfd::PidFd;
use keepalive_linux::sockopt::{self, cookie, get, set};
use keepalive_linux::{netns, proc};
use keepalive_policy::{Event, Keepalive, LIVE_ORDER, Moment, Settings, SocketOption, Source, decide, judge};
use rustix::fd::OwnedFd;
use std::collections::HashSet;

/// Sets options on sockets, and knows what they have where nobody has set any.
pub(crate) struct Settler {
    /// Of the network namespaces that were met, this process's own first.
    untouched: Vec<Untouched>,
    /// The sockets, by cookie, on which the program has switched keepalive off itself: they look untouched.
    switched_off: HashSet<u64>,
}

/// More than this are forgotten: a program that switches keepalive off on so many sockets keeps few of them.
const MOST_SWITCHED_OFF: usize = 4096;

impl Settler {
    pub(crate) fn new() -> Self {
        Self {
            untouched: vec![Untouched::read()],
            switched_off: HashSet::new(),
        }
    }

    /// Notes that the program has switched keepalive on or off itself.
    pub(crate) fn note_switch(&mut self, cookie: u64, is_on: bool) {
        if is_on {
            self.switched_off.remove(&cookie);
            return;
        }
        if self.switched_off.len() >= MOST_SWITCHED_OFF {
            self.switched_off.clear();
        }
        self.switched_off.insert(cookie);
    }

    /// Sets what `settings` say, but for the user timeout, which would limit connecting.
    pub(crate) fn settle(&mut self, socket: &OwnedFd, settings: &Settings) {
        if settings.keepalive != Some(Keepalive::Off) {
            self.set_all(socket, settings, LIVE_ORDER);
        }
    }

    /// The same for a socket that is about to listen, whose connections inherit it all.
    pub(crate) fn settle_listener(&mut self, socket: &OwnedFd, settings: &Settings) {
        self.settle(socket, settings);
        self.set_all(socket, settings, [SocketOption::DeferAccept]);
        self.limit_unacknowledged(socket, settings);
    }

    /// Sets the user timeout that `settings` say for a connection with the times of `socket`.
    pub(crate) fn limit_unacknowledged(&mut self, socket: &OwnedFd, settings: &Settings) {
        self.set_all(socket, settings, [SocketOption::UserTimeout]);
    }

    fn set_all<const N: usize>(&mut self, socket: &OwnedFd, settings: &Settings, options: [SocketOption; N]) {
        let mode = settings.mode.unwrap_or_default();
        let mut namespace = None;
        for option in options {
            let Some(ours) = number(socket, settings, option) else {
                continue;
            };
            let Ok(current) = get(socket, option) else { continue };
            if ours == current {
                continue;
            }
            let target = if option == SocketOption::Keepalive && self.is_switched_off(socket) {
                mode.settle(option, ours, current)
            } else {
                let namespace = *namespace.get_or_insert_with(|| self.namespace(socket));
                judge(mode, option, ours, current, self.untouched(namespace, option, current))
            };
            if target != current {
                // What the kernel refuses stays as it was.
                let _ = set(socket, option, target);
            }
        }
    }

    fn is_switched_off(&self, socket: &OwnedFd) -> bool {
        !self.switched_off.is_empty() && cookie(socket).is_ok_and(|cookie| self.switched_off.contains(&cookie))
    }

    /// The index of the namespace of `socket` among those that were met.
    fn namespace(&mut self, socket: &OwnedFd) -> usize {
        let namespace = netns::cookie(socket).ok();
        let mut known = self.untouched.iter();
        known.position(|known| known.namespace == namespace).unwrap_or_else(|| {
            let inside = netns::of_socket(socket).and_then(|namespace| netns::within(&namespace, Untouched::read));
            let mut untouched = inside.unwrap_or(Untouched::BUILT_IN);
            untouched.namespace = namespace;
            self.untouched.push(untouched);
            self.untouched.len() - 1
        })
    }

    /// What `option` is in this namespace where nobody has set it.
    fn untouched(&mut self, namespace: usize, option: SocketOption, current: u32) -> Option<u32> {
        let number = self.untouched.get(namespace)?.of(option);
        if namespace == 0 && number.is_some_and(|number| number != current) {
            // It looks like the program's own; or the sysctl was changed.
            self.untouched[0] = Untouched::read();
            return self.untouched[0].of(option);
        }
        number
    }
}

/// The number that `settings` say for `option` of `socket`.
pub(crate) fn number(socket: &OwnedFd, settings: &Settings, option: SocketOption) -> Option<u32> {
    if option != SocketOption::UserTimeout {
        return settings.number(option);
    }
    let effective = |option| get(socket, option).unwrap_or(0);
    settings.user_timeout_ms(
        effective(SocketOption::Idle),
        effective(SocketOption::Interval),
        effective(SocketOption::Count),
    )
}

/// Gives the TCP sockets that the command will inherit their settings.
pub(crate) fn settle_inherited(sources: &[Source<'_>], program: &[u8]) {
    let own = std::process::id();
    let (Ok(handle), Ok(sockets)) = (PidFd::open(own), proc::sockets(own, own)) else {
        return;
    };
    let mut settler = None;
    for socket in sockets.into_iter().filter_map(|(fd, _)| handle.duplicate(fd).ok()) {
        let Ok(Some(tcp)) = sockopt::read(&socket) else {
            continue;
        };
        let settler = settler.get_or_insert_with(Settler::new);
        let event = |moment| Event {
            moment,
            peer: tcp.peer.map(|peer| peer.ip()),
            port: tcp.local.map(|local| local.port()),
            program,
        };
        if tcp.listening {
            settler.settle_listener(&socket, &decide(sources, &event(Moment::Listen)));
        } else if tcp.peer.is_some() {
            // Who hands on a connection has accepted it (inetd).
            let settings = decide(sources, &event(Moment::Accept));
            settler.settle(&socket, &settings);
            settler.limit_unacknowledged(&socket, &settings);
        } else {
            settler.settle(&socket, &decide(sources, &event(Moment::Create)));
        }
    }
}
