//! The environment variables, for the library (which ignores what it cannot read) and the command (which refuses it).

use crate::option::{OPTIONS, SocketOption};
use crate::settings::{Invalid, Settings};

/// The variable that names where the library writes what it did.
pub const LOG: &str = "KEEPALIVE_LOG";

/// What the environment asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Environment<'a> {
    /// The settings of the variables that could be read. With `KEEPALIVE=off` the library does nothing at all.
    pub settings: Settings,
    /// The value of `KEEPALIVE_LOG`.
    pub log: Option<&'a [u8]>,
    seen: u8,
}

/// A variable of ours whose value cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidVariable<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: &'a [u8],
    /// What is wrong with the value.
    pub invalid: Invalid,
}

impl<'a> Environment<'a> {
    /// Takes one entry of the environment, `NAME=value`. Other programs' variables are passed over. Of two entries with
    /// one name the first counts, as for `getenv(3)`. With `secure` (secure-execution mode, ld.so(8)) only the four
    /// variables of libkeepalive 0.3 are looked at.
    ///
    /// # Errors
    /// [`InvalidVariable`] when the value cannot be used; the entry is ignored then.
    pub fn read(&mut self, entry: &'a [u8], secure: bool) -> Result<(), InvalidVariable<'a>> {
        for (position, option) in OPTIONS.into_iter().enumerate() {
            if secure && option == SocketOption::UserTimeout {
                continue;
            }
            let name = option.row().variable;
            if let Some(value) = value_of(entry, name) {
                if !self.first(position) {
                    return Ok(());
                }
                return self
                    .settings
                    .set(option, value)
                    .map_err(|invalid| InvalidVariable { name, value, invalid });
            }
        }
        if !secure
            && let Some(value) = value_of(entry, LOG)
            && self.first(OPTIONS.len())
        {
            self.log = Some(value);
        }
        Ok(())
    }

    fn first(&mut self, position: usize) -> bool {
        let bit = 1 << position;
        let first = self.seen & bit == 0;
        self.seen |= bit;
        first
    }
}

fn value_of<'a>(entry: &'a [u8], name: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Keepalive, UserTimeout};

    fn read(entries: &[&'static str], secure: bool) -> (Environment<'static>, std::vec::Vec<&'static str>) {
        let mut environment = Environment::default();
        let mut refused = std::vec::Vec::new();
        for entry in entries {
            if let Err(variable) = environment.read(entry.as_bytes(), secure) {
                refused.push(variable.name);
            }
        }
        (environment, refused)
    }

    #[test]
    fn the_variables_are_read_and_others_passed_over() {
        let (environment, refused) = read(
            &[
                "HOME=/",
                "KEEPIDLE=60",
                "KEEPINTVL=5s",
                "KEEPCNT=3",
                "KEEPIDLES=1",
                "KEEPALIVE_LOG=stderr",
                "KEEPIDLE",
            ],
            false,
        );
        assert!(refused.is_empty());
        assert_eq!(
            environment.settings,
            Settings {
                keepalive: None,
                ..Settings::EVERYWHERE
            }
            .or_timing(60, 5, 3)
        );
        assert_eq!(environment.log, Some(&b"stderr"[..]));
    }

    impl Settings {
        fn or_timing(self, idle: u16, interval: u16, count: u8) -> Self {
            Self {
                idle: Some(idle),
                interval: Some(interval),
                count: Some(count),
                ..self
            }
        }
    }

    #[test]
    fn the_switch_speaks_the_words_of_libkeepalive() {
        assert_eq!(
            read(&["KEEPALIVE=OFF"], false).0.settings.keepalive,
            Some(Keepalive::Off)
        );
        assert_eq!(
            read(&["KEEPALIVE=skip"], false).0.settings.keepalive,
            Some(Keepalive::Leave)
        );
        assert_eq!(read(&["KEEPALIVE=on"], false).0.settings.keepalive, Some(Keepalive::On));
        assert_eq!(read(&["KEEPALIVE=0"], false).1, ["KEEPALIVE"]);
    }

    #[test]
    fn one_bad_value_leaves_the_others() {
        let (environment, refused) = read(&["KEEPIDLE=60x", "KEEPCNT=4"], false);
        assert_eq!(refused, ["KEEPIDLE"]);
        assert_eq!(environment.settings.count, Some(4));
        assert_eq!(environment.settings.idle, None);
    }

    #[test]
    fn the_first_of_two_entries_counts() {
        assert_eq!(read(&["KEEPIDLE=60", "KEEPIDLE=70"], false).0.settings.idle, Some(60));
    }

    #[test]
    fn secure_execution_knows_the_four_variables_only() {
        let entries = [
            "KEEPALIVE_LOG=/etc/x",
            "KEEPALIVE_USER_TIMEOUT=auto",
            "KEEPIDLE=60",
            "KEEPALIVE=skip",
        ];
        let (environment, _) = read(&entries, true);
        assert_eq!(environment.log, None);
        assert_eq!(environment.settings.user_timeout, None);
        assert_eq!(environment.settings.idle, Some(60));
        assert_eq!(environment.settings.keepalive, Some(Keepalive::Leave));
        assert_eq!(read(&entries, false).0.settings.user_timeout, Some(UserTimeout::Auto));
    }
}
