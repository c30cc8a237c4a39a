//! Reads the environment variables. The library ignores invalid values; the command rejects them.
//!
//! The variables of libdontdie and of msantos/libkeepalive are supported too, with their own units and defaults. They
//! set the options that our variables leave unset. To migrate, it is enough to replace the library's file.

use crate::mode::Mode;
use crate::option::{OPTIONS, SocketOption};
use crate::settings::{self, Invalid, Keepalive, Number, Problem, Settings};

/// The settings that the environment requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment<'a> {
    ours: Settings,
    libdontdie: Settings,
    msantos: Settings,
    /// The value of `KEEPALIVE_LOG`.
    pub log: Option<&'a [u8]>,
    /// The value of `KEEPALIVE_RULES`: lines of the grammar of rules.
    pub rules: Option<&'a [u8]>,
    /// The value of `KEEPALIVE_CONFIG`: the path of a rules file.
    pub config: Option<&'a [u8]>,
    seen: u32,
}

/// A variable whose value is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidVariable<'a> {
    /// The variable's name.
    pub name: &'a [u8],
    /// The variable's value.
    pub value: &'a [u8],
    /// What is wrong with the value.
    pub reason: &'static str,
    /// The values that are valid.
    pub expected: &'static str,
}

impl InvalidVariable<'_> {
    /// Whether other products use the variable too. Then the value may be meant for one of them, and is not a mistake.
    pub fn is_shared(&self) -> bool {
        self.name == b"KEEPALIVE" || !self.name.starts_with(b"KEEP")
    }
}

/// A variable that [`Environment::read`] evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Option(SocketOption),
    Mode,
    Log,
    Rules,
    Config,
    /// A variable of libdontdie. The unit is seconds or probes.
    Dontdie(SocketOption),
    DontdieSwitch,
    DontdieDebug,
    /// A variable of msantos/libkeepalive. The unit is the kernel's; 0 is the kernel's default.
    Msantos(SocketOption),
    MsantosDebug,
}

/// Defines the variables that the table of options does not contain, and their names in the same order. The names are
/// one text, because an array of texts would need one relocation per text in the library.
macro_rules! variables {
    ($($name:literal $(as $constant:ident)? = $variable:expr;)+) => {
        $($(
            /// The name of one of our variables.
            pub const $constant: &str = $name;
        )?)+
        const VARIABLES: [Variable; [$($name),+].len()] = [$($variable),+];
        const NAMES: &[u8] = concat!($($name, "="),+).as_bytes();
    };
}

variables! {
    "KEEPALIVE_MODE" as MODE = Variable::Mode;
    "KEEPALIVE_LOG" as LOG = Variable::Log;
    "KEEPALIVE_RULES" as RULES = Variable::Rules;
    "KEEPALIVE_CONFIG" as CONFIG = Variable::Config;
    "DD_USE_KEEPALIVE" = Variable::DontdieSwitch;
    "DD_DEBUG" = Variable::DontdieDebug;
    "DD_TCP_KEEPALIVE_TIME" = Variable::Dontdie(SocketOption::Idle);
    "DD_TCP_KEEPALIVE_INTVL" = Variable::Dontdie(SocketOption::Interval);
    "DD_TCP_KEEPALIVE_PROBES" = Variable::Dontdie(SocketOption::Count);
    "LIBKEEPALIVE_DEBUG" = Variable::MsantosDebug;
    "TCP_KEEPIDLE" = Variable::Msantos(SocketOption::Idle);
    "TCP_KEEPINTVL" = Variable::Msantos(SocketOption::Interval);
    "TCP_KEEPCNT" = Variable::Msantos(SocketOption::Count);
    "TCP_USER_TIMEOUT" = Variable::Msantos(SocketOption::UserTimeout);
    "TCP_SYNCNT" = Variable::Msantos(SocketOption::SynCount);
    "TCP_DEFER_ACCEPT" = Variable::Msantos(SocketOption::DeferAccept);
    "TCP_MAXSEG" = Variable::Msantos(SocketOption::MaxSegment);
    "TCP_WINDOW_CLAMP" = Variable::Msantos(SocketOption::WindowClamp);
}

/// The first letters of the names of all variables.
pub const INITIALS: &[u8] = b"KDTL";

/// The defaults of msantos/libkeepalive for its unset variables, if at least one of them is set.
const MSANTOS: Settings = Settings::timings(15, 15, 9).with(SocketOption::UserTimeout, Number::Auto);

impl<'a> Environment<'a> {
    /// Reads one entry of the environment, `NAME=value`. Ignores the variables of other programs. As in `getenv(3)`,
    /// the first of two entries with the same name wins. With `secure` (secure-execution mode, ld.so(8)), reads only
    /// the four variables of libkeepalive 0.3.
    ///
    /// # Errors
    /// [`InvalidVariable`] if the value is invalid; then the entry is ignored.
    pub fn read(&mut self, entry: &'a [u8], secure: bool) -> Result<(), InvalidVariable<'a>> {
        let Some((position, name, value)) = find(entry, secure) else {
            return Ok(());
        };
        let bit = 1 << position;
        if self.seen & bit != 0 {
            return Ok(());
        }
        self.seen |= bit;
        self.take(variable(position), value)
            .map_err(|(reason, expected)| InvalidVariable {
                name,
                value,
                reason,
                expected,
            })
    }

    /// Returns the resulting settings.
    pub fn settings(&self) -> Settings {
        let msantos = if self.msantos == Settings::NONE {
            Settings::NONE
        } else {
            self.msantos.or(MSANTOS)
        };
        self.ours.or(self.libdontdie).or(msantos)
    }

    /// Whether `KEEPALIVE=off` (or libdontdie's equivalent) disables the library.
    pub fn is_off(&self) -> bool {
        self.settings().keepalive == Some(Keepalive::Off)
    }

    fn take(&mut self, variable: Variable, value: &'a [u8]) -> Result<(), (&'static str, &'static str)> {
        let explain = |invalid: Invalid| (invalid.problem.reason(), invalid.expected());
        match variable {
            Variable::Option(option) => self.ours.set(option, value).map_err(explain)?,
            Variable::Mode => {
                let mode = Mode::from_name(value.trim_ascii());
                self.ours.mode = Some(mode.ok_or((Problem::UnknownWord.reason(), "fill, cap, floor or enforce"))?);
            }
            Variable::Log => self.log = Some(value),
            Variable::Rules => self.rules = Some(value),
            Variable::Config => self.config = Some(value),
            Variable::Dontdie(option) => self.libdontdie.set(option, value).map_err(explain)?,
            Variable::DontdieSwitch if value != b"1" => self.libdontdie.keepalive = Some(Keepalive::Off),
            Variable::DontdieDebug if value == b"1" => self.log = self.log.or(Some(b"syslog")),
            Variable::DontdieSwitch | Variable::DontdieDebug => {}
            Variable::Msantos(option) => {
                let number = kernel_number(option, value).map_err(|problem| explain(Invalid { option, problem }))?;
                self.msantos = self.msantos.with(option, number);
            }
            Variable::MsantosDebug => self.log = self.log.or(Some(b"stderr")),
        }
        Ok(())
    }
}

/// Parses a number in the kernel's unit. 0 becomes [`Number::Default`], so that the defaults of msantos/libkeepalive do
/// not replace it; such a number is never set on a socket.
fn kernel_number(option: SocketOption, text: &[u8]) -> Result<Number, Problem> {
    match text {
        b"0" => Ok(Number::Default),
        b"-1" if option == SocketOption::UserTimeout => Ok(Number::Auto),
        text => settings::in_range(option, crate::duration::parse_number(text)?).map(Number::Is),
    }
}

/// Returns the variable at `position`. The variables of the table of options come first, then [`VARIABLES`].
fn variable(position: usize) -> Variable {
    match OPTIONS.get(position) {
        Some(option) => Variable::Option(*option),
        None => VARIABLES
            .get(position - OPTIONS.len())
            .copied()
            .unwrap_or(Variable::Log),
    }
}

/// Finds the variable of an entry. Returns its position (see [`variable`]), name and value.
fn find(entry: &[u8], secure: bool) -> Option<(usize, &[u8], &[u8])> {
    // Most entries belong to other programs, and this code runs at every exec.
    if !matches!(
        entry,
        [b'K', b'E', b'E', b'P', ..] | [b'D', b'D', b'_', ..] | [b'T', b'C', b'P', b'_', ..]
    ) && !matches!(entry, [b'L', b'I', b'B', b'K', ..])
    {
        return None;
    }
    let split = |length: usize| {
        let (name, value) = entry.split_at_checked(length)?;
        Some((name, value.strip_prefix(b"=")?))
    };
    let ours = OPTIONS
        .into_iter()
        .enumerate()
        .filter(|(_, option)| !secure || *option as usize <= SocketOption::Count as usize);
    for (position, option) in ours {
        let name = option.row().variable;
        if !name.is_empty()
            && entry.starts_with(name.as_bytes())
            && let Some((name, value)) = split(name.len())
        {
            return Some((position, name, value));
        }
    }
    if secure {
        return None;
    }
    let names = NAMES.split_inclusive(|byte| *byte == b'=');
    let (position, name) = names.enumerate().find(|(_, name)| entry.starts_with(name))?;
    let (name, value) = split(name.len() - 1)?;
    Some((OPTIONS.len() + position, name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn read(entries: &[&'static str], secure: bool) -> (Environment<'static>, Vec<&'static str>) {
        let mut environment = Environment::default();
        let mut refused = Vec::new();
        for entry in entries {
            if let Err(variable) = environment.read(entry.as_bytes(), secure) {
                refused.push(core::str::from_utf8(variable.name).unwrap());
            }
        }
        (environment, refused)
    }

    #[test]
    fn the_variables_are_read_and_others_passed_over() {
        let entries = [
            "HOME=/",
            "KEEPIDLE=60",
            "KEEPINTVL=5s",
            "KEEPCNT=3",
            "KEEPIDLES=1",
            "KEEPALIVE_LOG=stderr",
        ];
        let (environment, refused) = read(&entries, false);
        assert!(refused.is_empty());
        assert_eq!(environment.settings(), Settings::timings(60, 5, 3));
        assert_eq!(environment.log, Some(&b"stderr"[..]));
    }

    #[test]
    fn the_switch_speaks_the_words_of_libkeepalive() {
        assert!(read(&["KEEPALIVE=OFF"], false).0.is_off());
        assert_eq!(
            read(&["KEEPALIVE=skip"], false).0.settings().keepalive,
            Some(Keepalive::Leave)
        );
        assert_eq!(
            read(&["KEEPALIVE=on"], false).0.settings().keepalive,
            Some(Keepalive::On)
        );
        assert_eq!(read(&["KEEPALIVE=0"], false).1, ["KEEPALIVE"]);
        assert_eq!(read(&["KEEPALIVE_MODE=cap"], false).0.settings().mode, Some(Mode::Cap));
        assert_eq!(read(&["KEEPALIVE_MODE=max"], false).1, ["KEEPALIVE_MODE"]);
    }

    #[test]
    fn one_bad_value_leaves_the_others() {
        let (environment, refused) = read(&["KEEPIDLE=60x", "KEEPCNT=4"], false);
        assert_eq!(refused, ["KEEPIDLE"]);
        assert_eq!(
            environment.settings(),
            Settings::NONE.with(SocketOption::Count, Number::Is(4))
        );
    }

    #[test]
    fn variables_of_other_products_are_ignored() {
        for (entry, is_shared) in [
            ("KEEPALIVE=65", true),
            ("KEEPIDLE=x", false),
            ("KEEPALIVE_MODE=max", false),
            ("KEEPALIVE_USER_TIMEOUT=x", false),
            ("DD_TCP_KEEPALIVE_TIME=x", true),
            ("TCP_KEEPIDLE=7200000", true),
            ("TCP_SYNCNT=128", true),
        ] {
            let invalid = Environment::default().read(entry.as_bytes(), false).unwrap_err();
            assert_eq!(invalid.is_shared(), is_shared, "{entry}");
        }
    }

    #[test]
    fn the_first_of_two_entries_counts() {
        let settings = read(&["KEEPIDLE=60", "KEEPIDLE=70"], false).0.settings();
        assert_eq!(settings.number(SocketOption::Idle), Some(60));
    }

    #[test]
    fn secure_execution_knows_the_four_variables_only() {
        let entries = [
            "KEEPALIVE_LOG=/etc/x",
            "KEEPALIVE_USER_TIMEOUT=auto",
            "KEEPALIVE_MODE=enforce",
            "KEEPALIVE_RULES=default idle=1",
            "KEEPALIVE_CONFIG=/tmp/x",
            "DD_TCP_KEEPALIVE_TIME=1",
            "TCP_KEEPCNT=1",
            "KEEPIDLE=60",
            "KEEPALIVE=skip",
        ];
        let (environment, _) = read(&entries, true);
        assert_eq!(
            (environment.log, environment.rules, environment.config),
            (None, None, None)
        );
        let only = Settings::NONE
            .with(SocketOption::Idle, Number::Is(60))
            .with_keepalive(Keepalive::Leave);
        assert_eq!(environment.settings(), only);
        let (environment, _) = read(&entries, false);
        assert_eq!(environment.settings().written(SocketOption::UserTimeout), Number::Auto);
        assert_eq!(environment.config, Some(&b"/tmp/x"[..]));
    }

    #[test]
    fn other_libraries_variables_count_where_ours_say_nothing() {
        let entries = [
            "DD_TCP_KEEPALIVE_TIME=4",
            "DD_TCP_KEEPALIVE_INTVL=5",
            "KEEPIDLE=60",
            "DD_DEBUG=1",
        ];
        let (environment, _) = read(&entries, false);
        let expected = Settings::NONE
            .with(SocketOption::Idle, Number::Is(60))
            .with(SocketOption::Interval, Number::Is(5));
        assert_eq!(environment.settings(), expected);
        assert_eq!(environment.log, Some(&b"syslog"[..]));
        assert!(read(&["DD_USE_KEEPALIVE=0"], false).0.is_off());
    }

    #[test]
    fn one_variable_of_msantos_brings_its_defaults() {
        let settings = read(&["TCP_KEEPIDLE=30", "TCP_KEEPCNT=0", "TCP_SYNCNT=2"], false)
            .0
            .settings();
        assert_eq!(settings.number(SocketOption::Idle), Some(30));
        assert_eq!(settings.number(SocketOption::Interval), Some(15));
        assert_eq!(settings.number(SocketOption::Count), None);
        assert_eq!(settings.number(SocketOption::SynCount), Some(2));
        assert_eq!(settings.written(SocketOption::UserTimeout), Number::Auto);
        let settings = read(&["TCP_USER_TIMEOUT=5000"], false).0.settings();
        assert_eq!(settings.user_timeout_ms(1, 1, 1), Some(5000));
        assert_eq!(
            read(&["TCP_USER_TIMEOUT=0"], false)
                .0
                .settings()
                .user_timeout_ms(1, 1, 1),
            None
        );
    }
}
