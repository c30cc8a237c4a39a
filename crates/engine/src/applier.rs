//! Giving a socket that is about to be used its settings, and those that a command inherits.

use crate::kernel_defaults::KernelDefaults;
use crate::plan::{Origin, Step};
use keepalive_policy::option::FOR_LISTENERS;
use keepalive_policy::{Event, Keepalive, LIVE_ORDER, Moment, OPTIONS, Settings, SocketOption, Source, decide};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::sockopt::{self, cookie, get, set};
use keepalive_sys::{netns, proc};
use rustix::fd::OwnedFd;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sets options on sockets, and knows what they have where nobody has set any.
pub struct Applier<'a> {
    /// Of the network namespaces that were met, this process's own first.
    defaults: Vec<KernelDefaults>,
    switched_off: &'a SwitchedOff,
}

/// Namespaces beyond these are forgotten again: a program can make any number of them.
const MOST_NAMESPACES: usize = 64;

/// The sockets, by cookie, on which the program has switched keepalive off itself: they look as if nothing had set them.
#[derive(Default)]
pub struct SwitchedOff(Mutex<HashSet<u64>>);

/// More than this are forgotten: a program that switches keepalive off on so many sockets keeps few of them.
const MOST_SWITCHED_OFF: usize = 4096;

impl SwitchedOff {
    /// Notes that the program has switched keepalive on or off itself.
    pub fn note(&self, cookie: u64, is_on: bool) {
        let mut sockets = self.sockets();
        if is_on {
            sockets.remove(&cookie);
            return;
        }
        if sockets.len() >= MOST_SWITCHED_OFF {
            sockets.clear();
        }
        sockets.insert(cookie);
    }

    fn contains(&self, socket: &OwnedFd) -> bool {
        let is_empty = self.sockets().is_empty();
        !is_empty && cookie(socket).is_ok_and(|cookie| self.sockets().contains(&cookie))
    }

    fn sockets(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was changed on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The numbers before, in the order of [`OPTIONS`].
    before: [Option<u32>; OPTIONS.len()],
    /// Whether the program's own numbers are among them, or options that make sense on a listener only.
    must_be_undone: bool,
}

impl Changes {
    /// Whether a socket that does not listen in the end must have back what it had. Keepalive that the program had left unset
    /// may stay: a connection would get it too.
    pub fn must_be_undone(&self) -> bool {
        self.must_be_undone
    }
}

impl<'a> Applier<'a> {
    /// Creates one for the network namespace of the calling thread.
    pub fn new(switched_off: &'a SwitchedOff) -> Self {
        Self {
            defaults: vec![KernelDefaults::read()],
            switched_off,
        }
    }

    /// Sets what `settings` say, but for the user timeout, which would limit connecting.
    pub fn settle(&mut self, socket: &OwnedFd, settings: &Settings) -> Changes {
        let mut changes = Changes::default();
        if settings.keepalive != Some(Keepalive::Off) {
            self.set_all(socket, settings, LIVE_ORDER, &mut changes);
        }
        changes
    }

    /// The same for a socket that is about to listen, whose connections inherit it all.
    pub fn apply_to_listener(&mut self, socket: &OwnedFd, settings: &Settings) -> Changes {
        let mut changes = self.settle(socket, settings);
        self.set_all(socket, settings, FOR_LISTENERS, &mut changes);
        changes
    }

    /// Sets the user timeout that `settings` say for a connection with the times of `socket`.
    pub fn limit_unacknowledged(&mut self, socket: &OwnedFd, settings: &Settings) {
        self.set_all(socket, settings, [SocketOption::UserTimeout], &mut Changes::default());
    }

    /// Gives `socket` back what it had before `changes`.
    pub fn restore(&mut self, socket: &OwnedFd, changes: &Changes) {
        for option in OPTIONS {
            let Some(before) = changes.before[option as usize] else {
                continue;
            };
            // The kernel reports the segment size of an unset option; 0 unsets it (`net/ipv4/tcp.c`, TCP_MAXSEG).
            let is_unset = option == SocketOption::MaxSegment && {
                let namespace = self.namespace(socket);
                self.kernel_default(namespace, option, before) == Some(before)
            };
            let _ = set(socket, option, if is_unset { 0 } else { before });
        }
    }

    fn set_all<const N: usize>(
        &mut self,
        socket: &OwnedFd,
        settings: &Settings,
        options: [SocketOption; N],
        changes: &mut Changes,
    ) {
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
            let origin = if option == SocketOption::Keepalive && self.switched_off.contains(socket) {
                Origin::Program
            } else {
                let namespace = *namespace.get_or_insert_with(|| self.namespace(socket));
                Origin::UnlessDefault(self.kernel_default(namespace, option, current))
            };
            let step = Step::new(mode, option, ours, current, origin);
            // What the kernel refuses stays as it was.
            if step.is_change() && step.apply(socket).is_ok() {
                changes.before[option as usize] = Some(current);
                changes.must_be_undone |= origin.is_program(current) || FOR_LISTENERS.contains(&option);
            }
        }
    }

    /// The index of the namespace of `socket` among those that were met.
    fn namespace(&mut self, socket: &OwnedFd) -> usize {
        let namespace = netns::cookie(socket).ok();
        let mut known = self.defaults.iter();
        known.position(|known| known.namespace == namespace).unwrap_or_else(|| {
            let inside = netns::of_socket(socket).and_then(|namespace| netns::within(&namespace, KernelDefaults::read));
            let mut defaults = inside.unwrap_or(KernelDefaults::BUILT_IN);
            defaults.namespace = namespace;
            if self.defaults.len() >= MOST_NAMESPACES {
                self.defaults.truncate(1);
            }
            self.defaults.push(defaults);
            self.defaults.len() - 1
        })
    }

    /// What `option` is in this namespace where nobody has set it.
    fn kernel_default(&mut self, namespace: usize, option: SocketOption, current: u32) -> Option<u32> {
        let number = self.defaults.get(namespace)?.of(option);
        if namespace == 0 && number.is_some_and(|number| number != current) {
            // It looks like the program's own; or the sysctl was changed.
            self.defaults[0] = KernelDefaults::read();
            return self.defaults[0].of(option);
        }
        number
    }
}

/// The number that `settings` say for `option` of `socket`.
pub fn number(socket: &OwnedFd, settings: &Settings, option: SocketOption) -> Option<u32> {
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
pub fn apply_to_inherited(sources: &[Source<'_>], program: &[u8]) {
    let (Ok(handle), Ok(sockets)) = (PidFd::open(std::process::id()), proc::own_sockets()) else {
        return;
    };
    let switched_off = SwitchedOff::default();
    let mut applier = None;
    for socket in sockets.into_iter().filter_map(|(fd, _)| handle.duplicate(fd).ok()) {
        let Ok(Some(tcp)) = sockopt::read(&socket) else {
            continue;
        };
        let applier = applier.get_or_insert_with(|| Applier::new(&switched_off));
        let event = |moment| Event {
            moment,
            peer: tcp.peer.map(|peer| peer.ip()),
            port: tcp.local.map(|local| local.port()),
            program,
        };
        if tcp.listening {
            applier.apply_to_listener(&socket, &decide(sources, &event(Moment::Listen)));
        } else if tcp.peer.is_some() {
            // Who hands on a connection has accepted it (inetd).
            let settings = decide(sources, &event(Moment::Accept));
            applier.settle(&socket, &settings);
            applier.limit_unacknowledged(&socket, &settings);
        } else {
            applier.settle(&socket, &decide(sources, &event(Moment::Create)));
        }
    }
}
