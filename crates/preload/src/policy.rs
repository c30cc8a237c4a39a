//! Reads the policy of this process from the environment and the rules file, once, when the library is loaded. Parses
//! the rules at the first hooked call that depends on them, because most processes never create a socket.

use crate::{libc, log, next, own, supervised, sys};
use core::iter;
use core::net::IpAddr;
use keepalive_policy::environment::{INITIALS, InvalidVariable, RULES};
use keepalive_policy::option::{FOR_HANDSHAKES, WITH_SYSCTL};
use keepalive_policy::parse::{self, Kind};
use keepalive_policy::protocol::{CONFIG_PATH, IS_SUPERVISED, SUPERVISED};
use keepalive_policy::{
    Direction, Environment, Event, Keepalive, LIVE_ORDER, Mode, Moment, Network, Number, Ports, Rule, Settings,
    SocketOption, Source, decide, duration,
};

/// One call of `setsockopt(2)`.
#[derive(Clone, Copy)]
pub(crate) struct Assignment {
    pub(crate) level: i32,
    pub(crate) name: i32,
    pub(crate) value: u32,
}

/// The policy, prepared so that the common case is cheap.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question that one hook asks")]
pub(crate) struct Policy {
    /// The environment, then the file.
    sources: [Source<'static>; 2],
    /// The options to set on every new socket, in order.
    fresh: [Assignment; LIVE_ORDER.len()],
    fresh_count: usize,
    /// Whether the policy depends on the options that the program sets itself: a rule restricts the connection, a mode
    /// corrects the program, or there is a user timeout.
    pub(crate) is_watching: bool,
    /// The settings of new sockets.
    pub(crate) created: Settings,
    /// Whether the settings of an accepted socket may differ from those of its listener.
    pub(crate) is_watching_accept: bool,
    /// Whether any connection may get a user timeout.
    pub(crate) has_user_timeout: bool,
    /// Whether any socket may get an option that affects the handshake, and so must be set before connect(2) or
    /// listen(2).
    pub(crate) has_early_options: bool,
    /// Whether a rule restricts the direction, the address or the port.
    pub(crate) has_rules: bool,
    /// The options that are set on new sockets and that a later decision may revert to the kernel's default. One bit
    /// for each option, in the order of [`WITH_SYSCTL`].
    pub(crate) takes_back: u8,
}

impl Policy {
    /// Returns the options to set on every new socket.
    #[inline(always)]
    pub(crate) fn fresh(&self) -> &[Assignment] {
        self.fresh.get(..self.fresh_count).unwrap_or_default()
    }

    /// Returns the settings for `event`. The sources contain no rules for other programs.
    pub(crate) fn decide(&self, event: &Event<'_>) -> Settings {
        decide(&self.sources, event)
    }

    /// A policy that sets nothing.
    pub(crate) const EMPTY: Self = Self {
        sources: [Source {
            default: Settings::NONE,
            rules: &[],
        }; 2],
        fresh: [Assignment {
            level: 0,
            name: 0,
            value: 0,
        }; LIVE_ORDER.len()],
        fresh_count: 0,
        is_watching: false,
        created: Settings::NONE,
        is_watching_accept: false,
        has_user_timeout: false,
        has_early_options: false,
        has_rules: false,
        takes_back: 0,
    };

    /// Prepares this policy, which is [`Policy::EMPTY`] with sources. Works in place, because a hook may have little of the
    /// stack.
    #[inline(never)]
    fn prepare(&mut self) {
        let policy = self;
        policy.created = policy.decide(&CREATED);
        for option in LIVE_ORDER {
            if let (Some(value), Some(slot)) = (policy.created.number(option), policy.fresh.get_mut(policy.fresh_count))
            {
                let row = option.row();
                *slot = Assignment {
                    level: row.level,
                    name: row.optname,
                    value,
                };
                policy.fresh_count += 1;
            }
        }
        for index in 0..2 {
            let Some(Source { default, rules }) = policy.sources.get(index) else {
                break;
            };
            let rules = *rules;
            let default = *default;
            policy.note(&default);
            for rule in rules {
                policy.note(&rule.settings);
                let asks = rule.direction.is_some() || rule.network != Network::ANY || rule.ports != Ports::ANY;
                policy.has_rules |= asks;
                policy.is_watching_accept |= asks && rule.direction != Some(Direction::Connect);
            }
        }
        if policy.has_rules {
            policy.takes_back = (0..)
                .zip(WITH_SYSCTL)
                .filter(|(_, option)| policy.created.number(*option).is_some() && policy.may_omit(*option))
                .fold(0, |bits, (bit, _)| bits | 1_u8.wrapping_shl(bit));
        }
        policy.is_watching_accept |= policy.is_watching;
        // The value of a user timeout does not show whether the program has set 0 or nothing.
        policy.is_watching |= policy.has_rules || policy.has_user_timeout;
    }

    /// Whether the decision for any connection may leave `option` unset.
    fn may_omit(&self, option: SocketOption) -> bool {
        let mut all_omit = true;
        for source in &self.sources {
            let mut omits = false;
            for settings in iter::once(&source.default).chain(source.rules.iter().map(|rule| &rule.settings)) {
                // `off` leaves all options unset, independently of the other source.
                if settings.keepalive == Some(Keepalive::Off) {
                    return true;
                }
                omits |= settings.number(option).is_none();
            }
            all_omit &= omits;
        }
        all_omit
    }

    fn note(&mut self, settings: &Settings) {
        self.is_watching |= settings.mode.is_some_and(|mode| mode != Mode::Fill);
        self.has_user_timeout |= settings.written(SocketOption::UserTimeout) != Number::Unset;
        self.has_early_options |= FOR_HANDSHAKES
            .into_iter()
            .any(|option| settings.written(option) != Number::Unset);
    }
}

/// A new socket, without known facts about its connection.
pub(crate) const CREATED: Event<'static> = Event {
    moment: Moment::Create,
    peer: None,
    port: None,
    program: b"",
};

/// Returns the event of a connection with this peer. `port` is the peer's port if the program connects, and the local
/// port if the program accepts.
pub(crate) fn connection(moment: Moment, peer: IpAddr, port: u16) -> Event<'static> {
    Event {
        moment,
        peer: Some(peer),
        port: Some(port),
        ..CREATED
    }
}

/// What the start of the library has read. The texts of the rules are not parsed yet.
pub(crate) struct Texts {
    /// The settings of the environment.
    settings: Settings,
    /// The value of `KEEPALIVE_RULES`.
    rules: &'static [u8],
    /// The content of the rules file.
    file: &'static [u8],
    /// The name of the program; empty if there are no rules.
    program: &'static [u8],
}

/// The names of both texts in the log; without them, nothing is logged.
pub(crate) type Names<'a> = Option<[&'a [u8]; 2]>;

/// Reads the environment and the rules file; `None` if the library must do nothing. Passes the texts, and if there is a
/// log their names, to `then`.
pub(crate) fn read() -> Option<(Texts, Names<'static>)> {
    let secure = libc::is_secure();
    // In this mode the loader accepts only names without a slash from LD_PRELOAD, and requires the set-user-ID bit on
    // their files. It does not check the bit of a path in /etc/ld.so.preload (glibc, elf/rtld.c). So the library checks
    // the bit itself.
    if secure && !sys::is_set_user_id(next::own_path()) {
        return None;
    }
    // A second pass reports invalid values, when the destination of the log is known.
    let environment = read_variables(secure, |_| {});
    let settings = environment.settings();
    if settings.keepalive == Some(Keepalive::Off) {
        return None;
    }
    let supervisor = variables(b"K").find_map(|entry| entry.strip_prefix(SUPERVISED.as_bytes())?.strip_prefix(b"="));
    let supervisor = supervisor.filter(|value| !secure && value.starts_with(IS_SUPERVISED.as_bytes()));
    if supervisor.is_some() {
        supervised::note();
    }
    if let Some(destination) = environment.log {
        log::open(destination);
        read_variables(secure, |invalid| log::ignored_variable(&invalid));
    }
    if let Some(value) = supervisor {
        supervised::report_lost_privilege(value);
    }
    let path = environment.config.unwrap_or(CONFIG_PATH.to_bytes_with_nul());
    // The path ends with a NUL: both the environment's entries and the constant do.
    let file = match sys::RegularFile::open(path.as_ptr()) {
        Ok(file) => Some(file),
        // The supervisor can read the file, so it handles the connections.
        Err(sys::EACCES) if supervised::is_supervised() => {
            log::ignored_file(path, sys::EACCES);
            return None;
        }
        Err(error) => {
            // Only the default file may be missing.
            if environment.config.is_some() || error != sys::ENOENT {
                log::ignored_file(path, error);
            }
            None
        }
    };
    let mut texts = Texts {
        settings,
        rules: b"",
        file: b"",
        program: b"",
    };
    let rules = environment.rules.unwrap_or_default();
    if file.is_some() || !rules.is_empty() {
        let program = libc::program();
        let length = file.as_ref().map_or(0, sys::RegularFile::room) + rules.len();
        // The texts are copied, because the program may overwrite its arguments and its environment (setproctitle).
        if let Some(mut room) = sys::Room::at_start(length + program.len()) {
            texts.rules = room.copy(rules);
            texts.program = room.copy(program);
            texts.file = file.map_or(b"", |file| room.read(&file));
        }
    }
    let names = [RULES.as_bytes(), path.strip_suffix(b"\0").unwrap_or(path)];
    Some((texts, log::is_on().then_some(names)))
}

impl Texts {
    /// Whether there are no rules.
    pub(crate) fn are_empty(&self) -> bool {
        self.rules.is_empty() && self.file.is_empty()
    }

    /// Prepares `policy`, which is [`Policy::EMPTY`], without rules.
    pub(crate) fn prepare(&self, policy: &mut Policy) {
        let [variable, _] = &mut policy.sources;
        variable.default = self.settings;
        policy.prepare();
        if policy.is_watching
            && let Some(mut room) = sys::Room::at_start(own::SIZE)
        {
            own::open(&mut room);
        }
    }

    /// Parses the rules. Returns the policy; `None` if there is no memory.
    #[inline(always)]
    pub(crate) fn parse(&self, names: Names<'_>) -> Option<&'static Policy> {
        let mut room = sys::Room::apart(self.room_to_parse())?;
        let policy = room.place(Policy::EMPTY)?;
        let [variable, file] = &mut policy.sources;
        read_rules(
            self.rules,
            self.program,
            names.map(|[name, _]| name),
            &mut room,
            variable,
        );
        read_rules(self.file, self.program, names.map(|[_, name]| name), &mut room, file);
        let mut default = self.settings;
        default.complete(&variable.default);
        variable.default = default;
        policy.prepare();
        if policy.is_watching {
            own::open(&mut room);
        }
        Some(policy)
    }

    /// Returns the size of the memory that [`Texts::parse`] needs. Memory that is not touched costs nothing.
    // Inlined, it would keep the lengths on the stack while the rules are parsed.
    #[inline(never)]
    fn room_to_parse(&self) -> usize {
        /// The length of the shortest rule with the character that separates it from the next.
        const SHORTEST: usize = b"accept off;".len();
        // The last rule of a text has no separator, and one slot is used to read the end of the text.
        let most = (self.rules.len() + self.file.len()) / SHORTEST + 3;
        most * size_of::<Rule<'_>>() + size_of::<Policy>() + align_of::<Policy>() + own::SIZE + sys::Room::ALIGNMENT
    }
}

fn read_variables(secure: bool, refused: fn(InvalidVariable<'_>)) -> Environment<'static> {
    let mut environment = Environment::default();
    for entry in variables(INITIALS) {
        if let Err(invalid) = environment.read(entry, secure) {
            refused(invalid);
        }
    }
    environment
}

/// Reads the rules of `text` for `program`, and the default, into `source`. The rules are in `room`. Ignores invalid
/// lines; with the `name` of the text, logs them.
#[inline(never)]
fn read_rules(
    text: &'static [u8],
    program: &[u8],
    name: Option<&[u8]>,
    room: &mut sys::Room,
    source: &mut Source<'static>,
) {
    let mut lines = parse::parse(text);
    source.rules = room.fill(Rule::EMPTY, |rule| {
        loop {
            match lines.read_into(rule) {
                None => return false,
                Some(Ok(Kind::Rule)) if rule.program.is_none_or(|name| name == program) => {
                    rule.program = None;
                    return true;
                }
                Some(Ok(Kind::Rule)) => {}
                Some(Ok(Kind::Default)) => source.default = rule.settings,
                Some(Err(error)) => {
                    if let Some(name) = name {
                        log::ignored_line(name, &error);
                    }
                }
            }
        }
    });
}

/// Returns how many descriptors a service manager passes to this process, from number 3 on (`LISTEN_FDS`,
/// sd_listen_fds(3)). Returns 0 in secure-execution mode, because the user controls the variable. The maximum is 1024.
pub(crate) fn passed_descriptors() -> i32 {
    if libc::is_secure() {
        return 0;
    }
    variables(b"L")
        .find_map(|entry| entry.strip_prefix(b"LISTEN_FDS="))
        .and_then(|count| duration::parse_number(count).ok())
        .and_then(|count| i32::try_from(count).ok())
        .map_or(0, |count| count.min(1024))
}

fn variables(initials: &'static [u8]) -> libc::Variables {
    // SAFETY: this runs in a constructor, or in a hook that a constructor calls. A program that changes its environment
    // in another thread at that time would also break its own getenv(3). The data that outlives `read` is copied.
    unsafe { libc::variables(initials) }
}
