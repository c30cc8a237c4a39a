//! Applies settings to sockets that are about to be used, and to those that a command inherits.

use crate::kernel_defaults::KernelDefaults;
use crate::plan::{Origin, Step};
use keepalive_policy::option::{FOR_LISTENERS, KernelDefault};
use keepalive_policy::{Event, Keepalive, LIVE_ORDER, Moment, OPTIONS, Settings, SocketOption, Source, decide};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::sockopt::{self, cookie, get, set};
use keepalive_sys::{netns, proc};
use rustix::fd::OwnedFd;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sets options on sockets, and knows the kernel's defaults.
pub struct Applier<'a> {
    /// The defaults of the known network namespaces; that of this process comes first.
    defaults: Vec<KernelDefaults>,
    switched_off: &'a SwitchedOff,
    set: Set,
}

/// How an option is set: [`sockopt::set`] or [`sockopt::set_past_supervisor`].
pub type Set = fn(&OwnedFd, SocketOption, u32) -> std::io::Result<()>;

/// The limit of known namespaces: a program can create any number of them.
const MOST_NAMESPACES: usize = 64;

/// The sockets, by cookie, on which the program has switched keepalive off. The kernel does not distinguish
/// them from unset ones.
#[derive(Default)]
pub struct SwitchedOff(Mutex<HashSet<u64>>);

/// The limit of remembered sockets. A program that switches keepalive off on so many sockets keeps few of them open.
const MOST_SWITCHED_OFF: usize = 4096;

impl SwitchedOff {
    /// Records that the program has switched keepalive on or off.
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

/// The changes on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The previous values, in the order of [`OPTIONS`].
    before: [Option<u32>; OPTIONS.len()],
    /// Whether they include values that the program has set, or options that only affect a listener.
    must_be_undone: bool,
}

impl Changes {
    /// Returns whether the changes must be undone if the socket does not listen in the end. Keepalive that
    /// the program had left unset may stay: a connection would get it too.
    pub fn must_be_undone(&self) -> bool {
        self.must_be_undone
    }
}

impl<'a> Applier<'a> {
    /// Creates an applier for the network namespace of the calling thread.
    pub fn new(switched_off: &'a SwitchedOff) -> Self {
        Self {
            defaults: vec![KernelDefaults::read()],
            switched_off,
            set: |socket, option, number| set(socket, option, number),
        }
    }

    /// Applies `settings` except the user timeout, which would limit connecting.
    pub fn apply(&mut self, socket: &OwnedFd, settings: &Settings) {
        if settings.keepalive != Some(Keepalive::Off) {
            self.set_all(socket, settings, LIVE_ORDER, None);
        }
    }

    /// Applies `settings` to a socket that is about to listen, whose connections inherit them.
    pub fn apply_to_listener(&mut self, socket: &OwnedFd, settings: &Settings) -> Changes {
        let mut changes = Changes::default();
        if settings.keepalive != Some(Keepalive::Off) {
            self.set_all(socket, settings, LIVE_ORDER, Some(&mut changes));
        }
        self.set_all(socket, settings, FOR_LISTENERS, Some(&mut changes));
        changes
    }

    /// Sets the user timeout of `settings` for a connection with the times of `socket`.
    pub fn limit_unacknowledged(&mut self, socket: &OwnedFd, settings: &Settings) {
        self.set_all(socket, settings, [SocketOption::UserTimeout], None);
    }

    /// Restores the values that `socket` had before `changes`.
    pub fn restore(&mut self, socket: &OwnedFd, changes: &Changes) {
        for option in OPTIONS {
            let Some(before) = changes.before[option as usize] else {
                continue;
            };
            // For an unset segment size, the kernel reports its current value; 0 unsets it (`net/ipv4/tcp.c`,
            // TCP_MAXSEG).
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
        mut changes: Option<&mut Changes>,
    ) {
        let mode = settings.mode.unwrap_or_default();
        let mut namespace = None;
        for option in options {
            let Some(ours) = number(socket, settings, option) else {
                continue;
            };
            let current = match (option, &changes) {
                // It is off, or it is on and setting it changes nothing.
                (SocketOption::Keepalive, None) => 0,
                _ => match get(socket, option) {
                    Ok(current) => current,
                    Err(_) => continue,
                },
            };
            if ours == current {
                continue;
            }
            let origin = if option == SocketOption::Keepalive && self.switched_off.contains(socket) {
                Origin::Program
            } else if let KernelDefault::Fixed(number) = option.row().kernel_default {
                Origin::UnlessDefault(Some(number))
            } else {
                let namespace = *namespace.get_or_insert_with(|| self.namespace(socket));
                Origin::UnlessDefault(self.kernel_default(namespace, option, current))
            };
            let step = Step::new(mode, option, ours, current, origin);
            // An option that the kernel refuses keeps its value.
            if step.is_change()
                && (self.set)(socket, option, step.to).is_ok()
                && let Some(changes) = &mut changes
            {
                changes.before[option as usize] = Some(current);
                changes.must_be_undone |= origin.is_program(current) || FOR_LISTENERS.contains(&option);
            }
        }
    }

    /// Returns the index of the namespace of `socket` among the known ones.
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

    /// Returns the default of `option` in this namespace.
    fn kernel_default(&mut self, namespace: usize, option: SocketOption, current: u32) -> Option<u32> {
        let number = self.defaults.get(namespace)?.of(option);
        if namespace == 0 && number.is_some_and(|number| number != current) {
            // The value looks like one that the program has set; or the sysctl was changed.
            self.defaults[0] = KernelDefaults::read();
            return self.defaults[0].of(option);
        }
        number
    }
}

/// Returns the value of `option` in `settings` for `socket`.
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

/// The sockets that the command will inherit.
pub struct Inherited(Option<(PidFd, Vec<(i32, u64)>)>);

impl Inherited {
    /// Finds the sockets of this process.
    pub fn find() -> Self {
        let handle = PidFd::open(std::process::id());
        Self(handle.and_then(|handle| Ok((handle, proc::own_sockets()?))).ok())
    }

    /// Applies settings to those of TCP.
    pub fn apply(self, sources: &[Source<'_>], program: &[u8], set: Set) {
        let Some((handle, sockets)) = self.0 else { return };
        let switched_off = SwitchedOff::default();
        let mut applier = None;
        for socket in sockets.into_iter().filter_map(|(fd, _)| handle.duplicate(fd).ok()) {
            let Ok(Some(tcp)) = sockopt::read(&socket) else {
                continue;
            };
            let applier = applier.get_or_insert_with(|| Applier {
                set,
                ..Applier::new(&switched_off)
            });
            let event = |moment| Event {
                moment,
                peer: tcp.peer.map(|peer| peer.ip()),
                port: tcp.local.map(|local| local.port()),
                program,
            };
            if tcp.listening {
                applier.apply_to_listener(&socket, &decide(sources, &event(Moment::Listen)));
            } else if tcp.peer.is_some() {
                // A process that passes on a connection has accepted it (inetd).
                let settings = decide(sources, &event(Moment::Accept));
                applier.apply(&socket, &settings);
                applier.limit_unacknowledged(&socket, &settings);
            } else {
                applier.apply(&socket, &decide(sources, &event(Moment::Create)));
            }
        }
    }
}
